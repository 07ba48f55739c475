"""Two cohorts in, evidence out: fidelity, alignment, usefulness and privacy, each score with interval and floor."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig


def evaluate(
    real: Path,
    synthetic: Path,
    out: Path,
    config: "EvaluateConfig | None" = None,
    policy: str | Path | None = None,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Compares a synthetic cohort with the real one it stands for; see evaluation.evaluate. Imports torch when called."""
    from synthcohort.evaluation.evaluate import evaluate as run

    return run(real, synthetic, out, config, policy, seed)
