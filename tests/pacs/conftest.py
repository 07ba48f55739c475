import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pacs.py"


def pytest_configure(config):
    config.addinivalue_line("markers", "pacs: needs Orthanc; run by make test-pacs")


def pytest_collection_modifyitems(config, items):
    """These tests are run by name alone, `-m pacs`: they need a program that is not of Python's world."""
    if "pacs" in (config.option.markexpr or "") and "not pacs" not in config.option.markexpr:
        return
    mine = [item for item in items if item.get_closest_marker("pacs")]
    if mine:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if not item.get_closest_marker("pacs")]


@pytest.fixture(scope="session")
def script():
    """scripts/pacs.py as a module."""
    spec = importlib.util.spec_from_file_location("pacs_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
