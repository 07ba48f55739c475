"""The demo: a procedural hospital and the study of it, from settings that ship beside this file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthcohort.core.config import apply_overrides, build, load_toml
from synthcohort.pipeline.config import StudyConfig
from synthcohort.pipeline.run import run_study

FOLDER = Path(__file__).parent


def demo_study(tiny: bool, overrides: Sequence[str] = ()) -> StudyConfig:
    """The settings of the demo, or of the one that takes about a minute."""
    return build(StudyConfig, apply_overrides(load_toml(FOLDER / ("tiny.toml" if tiny else "demo.toml")), overrides))


def run_demo(out: Path, tiny: bool = False, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Runs the whole pipeline offline in `out`; the same call again resumes. Returns what `run_study` returns."""
    return run_study(demo_study(tiny, overrides), None, out, demo=True)
