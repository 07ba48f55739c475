"""One entry of scores.json: a figure with its interval, its floor, and what it was computed on (docs/formats.md)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from synthcohort.metrics.intervals import Score

CONFIDENCE = 0.95


def entry(
    name: str,
    *,
    title: str,
    group: Literal["fidelity", "utility", "privacy", "alignment", "fairness", "stress", "readers"],
    score: Score,
    good: str,
    better: Literal["lower", "higher", "none"],
    computed_on: str,
    family: str | None = None,
    encoder: str | None = None,
    subset: str | None = None,
    floor: Score | None = None,
    control: Score | None = None,
    n_real: int | None = None,
    n_synthetic: int | None = None,
    split: str | None = "test",
    verdict: str | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """`floor` defaults to the score's own; numbers that do not exist become None."""
    floor = score.floor if floor is None else floor
    return {
        "name": name,
        "title": title,
        "group": group,
        "family": family,
        "encoder": encoder,
        "subset": subset,
        **numbers(score),
        "confidence": confidence,
        "floor": None if floor is None else numbers(floor),
        "control": None if control is None else numbers(control),
        "n_real": n_real,
        "n_synthetic": n_synthetic,
        "split": split,
        "better": better,
        "computed_on": computed_on,
        "good": good,
        "verdict": verdict,
    }


def numbers(score: Score) -> dict[str, float | None]:
    """Value and interval for JSON."""
    return {name: _number(getattr(score, name)) for name in ("value", "low", "high")}


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def interval_words(score: Score | Mapping[str, Any], digits: int = 2) -> str:
    """0.71 (0.66 to 0.75), for the reasons of verdicts."""
    found = numbers(score) if isinstance(score, Score) else score
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "not computable"
    if low is None or high is None:
        return f"{value:.{digits}f} (no interval)"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def without_folders(error: Exception, *paths: Path | None) -> str:
    """What an error says, with the last part of these paths alone: scores.json names no folder of this machine."""
    said = str(error)
    for path in (Path(path) for path in paths if path is not None):
        said = said.replace(path.as_posix(), path.name)
    return said
