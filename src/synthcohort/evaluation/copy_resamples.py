"""How the copy verdict falls over resamples of patients, from similarities that were computed once.

Three questions: do copies planted among new people end in `fail`; does one patient copied again and again; and do real
control patients, offered as synthetic, not? No image is looked at again, so that hundreds of resamples take seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthcohort.core.policy import CopiesThresholds
from synthcohort.core.seeds import rng
from synthcohort.evaluation.privacy import Audit, judge
from synthcohort.metrics.intervals import clopper_pearson, group_index


@dataclass(frozen=True)
class Sample:
    """Similarities of images to the training images, and whom each image depends on."""

    similarity: np.ndarray  # [N]
    owners: Sequence[str]  # [N]


def members(sample: Sample) -> list[np.ndarray]:
    """The positions of each owner's images."""
    index = group_index(list(sample.owners))
    order = np.argsort(index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(index))[:-1])


def resampled(sample: Sample, generator: np.random.Generator) -> np.ndarray:
    """Similarities of as many patients as there are, drawn with replacement."""
    groups = members(sample)
    chosen = generator.integers(0, len(groups), len(groups))
    return sample.similarity[np.concatenate([groups[i] for i in chosen])]


def planted_verdicts(
    audit: Audit,
    clean: Sample,
    control: Sample,
    planted: np.ndarray,
    thresholds: CopiesThresholds,
    share: float = 0.01,
    draws: int = 100,
    seed: int = 0,
) -> list[str]:
    """Verdicts when a share of clean images is replaced by copies, patients of both sides resampled each time.

    `audit` gives the threshold, the sensitivity and the strangers' counts; `planted` [P] are the similarities of copies
    (of all kinds, or all of one patient), drawn with replacement. The share is rounded, to one copy at least.
    """
    verdicts = []
    for draw in range(draws):
        generator = rng("planted verdicts", seed, draw)
        offered = resampled(clean, generator)
        copies = max(1, round(share * len(offered)))
        offered[generator.permutation(len(offered))[:copies]] = generator.choice(planted, copies)
        verdicts.append(_verdict(audit, offered, resampled(control, generator), thresholds))
    return verdicts


def null_verdicts(
    audit: Audit, control: Sample, thresholds: CopiesThresholds, draws: int = 200, seed: int = 0
) -> list[str]:
    """Verdicts when a random half of the control patients is offered as synthetic and the other half is the floor."""
    verdicts, groups = [], members(control)
    for draw in range(draws):
        order = rng("null verdicts", seed, draw).permutation(len(groups))
        halves = (order[: len(order) // 2], order[len(order) // 2 :])
        offered, floor = (control.similarity[np.concatenate([groups[i] for i in half])] for half in halves)
        verdicts.append(_verdict(audit, offered, floor, thresholds))
    return verdicts


def _verdict(audit: Audit, offered: np.ndarray, control: np.ndarray, thresholds: CopiesThresholds) -> str:
    return str(judge(replace(audit, synthetic=offered, control=control), thresholds)["verdict"])


def counted(verdicts: Sequence[str], wanted: str) -> dict[str, Any]:
    """How many verdicts are the wanted one, with the Clopper-Pearson interval of their share."""
    counts = Counter(verdicts)
    low, high = clopper_pearson(counts[wanted], len(verdicts))
    return {
        "wanted": wanted,
        "count": counts[wanted],
        "draws": len(verdicts),
        "low": low,
        "high": high,
        "verdicts": dict(sorted(counts.items())),
    }
