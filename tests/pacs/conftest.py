import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "pacs.py"


@pytest.fixture(scope="session")
def script():
    """scripts/pacs.py as a module."""
    spec = importlib.util.spec_from_file_location("pacs_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
