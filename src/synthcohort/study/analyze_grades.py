"""The phase of grades: how right, how alike, and whether real and synthetic images are graded alike."""

from dataclasses import asdict
from typing import Any

import numpy as np

from synthcohort.metrics.readers_agreement import (
    fleiss_kappa,
    icc,
    krippendorff_alpha,
    mean_weighted_kappa,
    weighted_kappa,
)
from synthcohort.metrics.readers_equivalence import tost
from synthcohort.metrics.readers_mrmc import difference, mean_figures
from synthcohort.study.answers import Table
from synthcohort.study.figures import Figure, agreement, of_difference, pooled, shares


def grade_figures(table: Table) -> list[Figure]:
    """All figures of a table of grades, for all cases, real, synthetic, and each class."""
    found: list[Figure] = []
    counted = table.of(table.origin != "degraded")
    subsets: list[tuple[str | None, Table]] = [(None, counted)]
    subsets += [(kind, counted.of(counted.origin == kind)) for kind in ("real", "synthetic")]
    for subset, part in subsets:
        if part.label.size:
            found += _rightness(part, subset)
            found += _alike(part, subset)
    for value in counted.classes:
        found += _one_class(counted, value)
    worse = table.of(table.origin == "degraded")
    right = worse.values["answer"] == worse.label
    found += shares("accuracy", "Grade as the label says", right, table.readers, "degraded")
    return found + _within(counted)


def _numbers(table: Table, values: np.ndarray) -> np.ndarray:
    """Places of values in the order of the classes; NaN for no answer."""
    place = {value: float(i) for i, value in enumerate(table.classes)}
    return np.array([[place.get(value, np.nan) for value in row] for row in np.atleast_2d(values)]).reshape(
        np.atleast_2d(values).shape
    )


def _weights(table: Table) -> Any:
    return "quadratic" if table.phase.ordered else "none"


def _rightness(table: Table, subset: str | None) -> list[Figure]:
    answers = table.values["answer"]
    found = shares("accuracy", "Grade as the label says", answers == table.label, table.readers, subset)
    truth, given, kind = _numbers(table, table.label)[0], _numbers(table, answers), _weights(table)
    for reader, row in zip(table.readers, given, strict=True):
        score = weighted_kappa(truth, row, len(table.classes), kind)
        found.append(agreement("kappa", "κ with the label", score, len(row), 1, subset, reader))
    if table.phase.ordered and len(table.label) > 1 and len(table.readers):
        signed = given - truth
        found.append(pooled("bias", "Grade minus label", *mean_figures(signed), subset))
        found.append(pooled("distance", "Distance from the label, in grades", *mean_figures(abs(signed)), subset, 0.0))
    return found


def _alike(table: Table, subset: str | None) -> list[Figure]:
    """Agreement between readers; nothing is said with one reader."""
    if len(table.readers) < 2:
        return []
    given, classes = _numbers(table, table.values["answer"]), len(table.classes)
    level = "interval" if table.phase.ordered else "nominal"
    scores = {
        ("kappa_between", "κ between readers, mean of pairs"): mean_weighted_kappa(given, classes, _weights(table)),
        ("fleiss", "Fleiss’ κ"): fleiss_kappa(given, classes),
        ("krippendorff", f"Krippendorff’s α ({level})"): krippendorff_alpha(given, classes, level),  # type: ignore[arg-type]
    }
    if table.phase.ordered:
        scores["icc", "ICC(2,1)"] = icc(given)
    return [
        agreement(name, title, score, given.shape[1], len(table.readers), subset)
        for (name, title), score in scores.items()
    ]


def _one_class(table: Table, value: str) -> list[Figure]:
    of_class, said = table.label == value, table.values["answer"] == value
    subset = f"{table.phase.label}={value}"
    found = shares("sensitivity", "Found where it is", said[:, of_class], table.readers, subset)
    found += shares("specificity", "Not said where it is not", ~said[:, ~of_class], table.readers, subset)
    for kind in ("real", "synthetic"):
        part = of_class & (table.origin == kind)
        found += shares("sensitivity", "Found where it is", said[:, part], table.readers, f"{subset}, {kind}")
    return found


def _within(table: Table) -> list[Figure]:
    """Agreement of each reader with their own second reading."""
    found = []
    for j, reader in enumerate(table.readers):
        twice = table.again["answer"][j] != ""
        if twice.sum() < 3:
            continue
        first = _numbers(table, table.values["answer"][j][twice])[0]
        second = _numbers(table, table.again["answer"][j][twice])[0]
        score = weighted_kappa(first, second, len(table.classes), _weights(table))
        found.append(agreement("kappa_within", "κ with oneself", score, int(twice.sum()), 1, None, reader))
    right = [
        np.array([a == b for a, b in zip(first, second, strict=True) if b])
        for first, second in zip(table.values["answer"], table.again["answer"], strict=True)
    ]
    sizes = {len(row) for row in right}
    if len(sizes) == 1 and sizes.pop() >= 2:
        found += [f for f in shares("same_again", "Same grade again", np.stack(right), table.readers, None) if f.reader]
    return found


def grade_equivalence(table: Table, margin: float) -> tuple[dict[str, Any] | None, list[Figure]]:
    """Whether right grades are as frequent on real as on synthetic images, by two one-sided tests."""
    parts = [table.of(table.origin == kind) for kind in ("real", "synthetic")]
    if not table.readers or min(part.label.size for part in parts) < 2:
        return None, []
    measured = [mean_figures(part.values["answer"] == part.label) for part in parts]
    found = difference(np.stack([values for values, _ in measured]), [left_out for _, left_out in measured])
    count = sum(part.label.size for part in parts)
    figures = [of_difference("accuracy_difference", "Right grades", found, count, len(table.readers))]
    if table.phase.ordered:
        far = [
            mean_figures(abs(_numbers(p, p.values["answer"]) - _numbers(p, p.label)[0])) for p in parts
        ]  # of each kind
        gap = difference(np.stack([values for values, _ in far]), [left_out for _, left_out in far])
        title = "Distance from the label, in grades"
        figures.append(of_difference("distance_difference", title, gap, count, len(table.readers)))
    return asdict(tost(found, margin)) | {"figure": "accuracy", "df": found.df, "error": found.error}, figures
