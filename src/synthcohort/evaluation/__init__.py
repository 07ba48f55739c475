"""Two cohorts in, evidence out: fidelity, alignment, usefulness and privacy, each score with interval and floor."""

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
    trained_on: tuple[str, ...] = ("train",),
    run: Path | None = None,
    study: Path | None = None,
) -> dict[str, Any]:
    """Compares a synthetic cohort with the real one it stands for: scores.json, report.html and the owner's folder.

    `trained_on`: the roles of the real cohort whose images the generator may have learned from.
    `run`: the generator's run folder, whose model is then attacked too.
    `study`: study.json of a finished reader study of the two cohorts, whose figures are added.
    Returns {scores, verdict, failed, inconclusive}. A killed evaluation goes on when called again the same way.
    """
    from synthcohort.evaluation.scorecard import make_scorecard

    return make_scorecard(real, synthetic, out, config, policy, seed, trained_on, run, study)
