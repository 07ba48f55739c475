"""A study's figures: from tables of answers to named numbers with intervals, of each reader and of all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synthcohort.metrics.intervals import Score, clopper_pearson
from synthcohort.metrics.readers import share
from synthcohort.metrics.readers_mrmc import Estimate, mean_figures, single

ALL_READERS = None


@dataclass(frozen=True)
class Figure:
    """`reader` None: all readers together; `subset` None: all cases that count (degraded ones never do)."""

    name: str
    title: str
    reader: str | None
    subset: str | None
    score: Score
    cases: int
    readers: int
    method: str

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "title": self.title, "reader": self.reader, "subset": self.subset,
            "value": _plain(self.score.value), "low": _plain(self.score.low), "high": _plain(self.score.high),
            "confidence": 0.95,
            "cases": self.cases, "readers": self.readers, "method": self.method,
        }  # fmt: skip


def _plain(number: float | None) -> float | None:
    """Without the last digits, in which machines differ."""
    return None if number is None else round(float(number), 10) + 0.0


METHODS = {
    "wilson": "share of cases, Wilson interval",
    "or": "mean of readers, Obuchowski-Rockette, random readers and cases, Hillis degrees of freedom",
    "or-fixed": "one reader: error over cases, by the jackknife",
    "jackknife": "jackknife over cases on Fisher's z; these readers",
    "mover": "rates with half a case added, intervals of both rates combined",
    "logit": "jackknife over cases on the logit scale",
    "binormal": "binormal curve of greatest likelihood, interval from its curvature",
    "nested": "difference of the readers' means, Obuchowski-Rockette with cases nested within kinds",
}


def pooled(
    name: str, title: str, values: np.ndarray, left_out: np.ndarray, subset: str | None, lowest: float = -np.inf,
    highest: float = np.inf,
) -> Figure:  # fmt: skip
    """The mean of all readers: values [J], left_out [J, C]."""
    found = single(values, left_out)
    score = found.score(lowest, highest)
    num, count = left_out.shape
    return Figure(name, title, ALL_READERS, subset, score, count, num, "or" if num > 1 else "or-fixed")


def shares(name: str, title: str, right: np.ndarray, readers: Sequence[str], subset: str | None) -> list[Figure]:
    """A share of cases, of each reader and of all: right [J, C] bool. Without cases there is no figure."""
    if right.shape[1] == 0:
        return []
    each = [
        Figure(name, title, reader, subset, share(int(row.sum()), len(row)), len(row), 1, "wilson")
        for reader, row in zip(readers, right, strict=True)
    ]
    if right.shape[1] < 2:
        return each
    together = pooled(name, title, *mean_figures(right), subset, 0.0, 1.0)
    if together.score.low is None:  # all readers alike on all cases: as certain as one of them
        exact = clopper_pearson(float(right.mean()) * right.shape[1], right.shape[1])
        together = replace(together, score=Score(together.score.value, *exact))
    return [together, *each]


def agreement(name: str, title: str, score: Score, cases: int, readers: int, subset: str | None, who: str | None = None
              ) -> Figure:  # fmt: skip
    return Figure(name, title, who, subset, score, cases, readers, "jackknife")


def of_difference(name: str, title: str, found: Estimate, cases: int, readers: int) -> Figure:
    return Figure(name, title, ALL_READERS, "real minus synthetic", found.score(), cases, readers, "nested")
