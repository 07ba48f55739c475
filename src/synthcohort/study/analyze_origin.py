"""The phases about origin: can readers tell real from synthetic, and how do they rate them?"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from synthcohort.metrics.readers import criterion, d_prime, decisions
from synthcohort.metrics.readers_equivalence import tost
from synthcohort.metrics.readers_mrmc import (
    Estimate,
    d_prime_figures,
    difference,
    figures,
    mean_figures,
    single,
)
from synthcohort.metrics.readers_roc import area_score, binormal, points
from synthcohort.study.answers import Table
from synthcohort.study.figures import Figure, of_difference, pooled, shares

CURVE = np.linspace(0.0, 1.0, 41)


def ratings(table: Table) -> np.ndarray:
    """How sure each reader is that each image is synthetic, [J, C]: −K … −1 real, 1 … K synthetic."""
    sign = np.where(table.values["answer"] == "synthetic", 1.0, -1.0)
    if "confidence" not in table.values:
        return sign
    return sign * table.values["confidence"].astype(np.float64)


def origin_figures(table: Table) -> tuple[list[Figure], dict[str, Any]]:
    """Figures and, for the plots, each reader's ROC curve. The signal is a synthetic image."""
    counted = table.of(table.origin != "degraded")
    truth, said = counted.origin == "synthetic", counted.values["answer"] == "synthetic"
    found = shares("accuracy", "Told apart", said == truth, table.readers, None)
    found += shares("sensitivity", "Synthetic, and called so", said[:, truth], table.readers, None)
    found += shares("specificity", "Real, and called so", ~said[:, ~truth], table.readers, None)
    curves: dict[str, Any] = {}
    if min(truth.sum(), (~truth).sum()) >= 2 and table.readers:
        rated = ratings(counted)
        found += _detection(table, truth, said, rated)
        curves = {reader: _curve(truth, row) for reader, row in zip(table.readers, rated, strict=True)}
    for value in counted.classes:
        part = counted.label == value
        right = (said == truth)[:, part]
        found += shares("accuracy", "Told apart", right, table.readers, f"{table.phase.label}={value}")
    worse = table.of(table.origin == "degraded")
    called = worse.values["answer"] == "synthetic"
    return found + shares("called_synthetic", "Called synthetic", called, table.readers, "degraded"), curves


def _detection(table: Table, truth: np.ndarray, said: np.ndarray, rated: np.ndarray) -> list[Figure]:
    count = len(truth)
    found = [
        pooled("d_prime", "d′", *d_prime_figures(truth=truth, said=said), None),
        pooled("auc", "Area under the ROC curve", *figures(truth=truth, ratings=rated), None, 0.0, 1.0),
    ]
    for reader, decided, row in zip(table.readers, said, rated, strict=True):
        counts = decisions(truth=truth, said=decided)
        found.append(Figure("d_prime", "d′", reader, None, d_prime(*counts), count, 1, "mover"))
        found.append(Figure("criterion", "Criterion c", reader, None, criterion(*counts), count, 1, "mover"))
        score = area_score(truth=truth, ratings=row)
        found.append(Figure("auc", "Area under the ROC curve", reader, None, score, count, 1, "logit"))
        fitted = binormal(truth=truth, ratings=row)
        if fitted is not None:
            title = "Area under the binormal curve"
            found.append(Figure("auc_binormal", title, reader, None, fitted.area, count, 1, "binormal"))
    return found


def _curve(truth: np.ndarray, row: np.ndarray) -> dict[str, Any]:
    fitted = binormal(truth=truth, ratings=row)
    smooth = None if fitted is None else np.stack([CURVE, fitted.curve(CURVE)], axis=1).tolist()
    parameters = None if fitted is None else {"a": fitted.a, "b": fitted.b}
    return {"points": points(truth=truth, ratings=row).tolist(), "binormal": smooth, "parameters": parameters}


def origin_equivalence(table: Table, margin: float) -> dict[str, Any] | None:
    """Whether the readers' mean area is shown to be within the margin of 0.5: what they can tell does not matter."""
    counted = table.of(table.origin != "degraded")
    truth = counted.origin == "synthetic"
    if not table.readers or min(truth.sum(), (~truth).sum()) < 2:
        return None
    found = single(*figures(truth=truth, ratings=ratings(counted)))
    away = Estimate(found.value - 0.5, found.error, found.df, found.low - 0.5, found.high - 0.5)
    df = None if math.isinf(found.df) else found.df
    return asdict(tost(away, margin)) | {"figure": "auc minus 0.5", "df": df, "error": found.error}


def rating_figures(table: Table) -> list[Figure]:
    """Mean ratings of real and of synthetic images, 1 to 5, and their difference."""
    found = []
    for name, title in (("alignment", "Shows what the words say"), ("realism", "Looks like practice")):
        rated = table.values[name].astype(np.float64)
        parts = [rated[:, table.origin == kind] for kind in ("real", "synthetic")]
        for kind, part in zip(("real", "synthetic"), parts, strict=True):
            if part.shape[1] < 2 or not table.readers:
                continue
            found.append(pooled(name, title, *mean_figures(part), kind, 1.0, 5.0))
            for reader, row in zip(table.readers, part, strict=True):
                values, left_out = mean_figures(row[None])
                score = single(values, left_out).score(1.0, 5.0)
                found.append(Figure(name, title, reader, kind, score, len(row), 1, "or-fixed"))
        if min(part.shape[1] for part in parts) >= 2 and table.readers:
            measured = [mean_figures(part) for part in parts]
            gap = difference(np.stack([values for values, _ in measured]), [out for _, out in measured])
            found.append(of_difference(name, title, gap, rated.shape[1], len(table.readers)))
    return found


def pair_figures(table: Table) -> list[Figure]:
    """How often the real image of a pair was found; 0.5 is chance."""
    right = table.values["answer"] == "left"  # the tables turn every pair so
    found = shares("found_real", "The real one of a pair was found", right, table.readers, None)
    for value in table.classes:
        part = right[:, table.label == value]
        found += shares(
            "found_real", "The real one of a pair was found", part, table.readers, f"{table.phase.label}={value}"
        )
    return found
