"""The house rules that a machine can hold: layers, module sizes, import time, packaging of data files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src" / "synthcohort").rglob("*.py"))


def test_layers_hold() -> None:
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_modules_are_short_and_explained(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500
    if text.strip() and path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(text)), "a module opens with a docstring"
    assert path.stem not in {"utils", "helpers", "common", "base", "manager"}


def test_import_takes_milliseconds_and_no_torch() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import synthcohort; d = time.perf_counter() - t; "
        "print(d, 'torch' in sys.modules)"
    )
    seconds, has_torch = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.1
    assert has_torch == "False"


def test_stages_without_torch_run_without_torch() -> None:
    names = ["ingest", "release", "study", "phantoms", "formats", "imaging", "pages", "metrics", "core"]
    imports = "; ".join(f"import synthcohort.{name}" for name in names)
    code = f"import sys; {imports}; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
