"""Which labels the images get: apportioned, not drawn, so that every cohort of a size has the same label counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.core.seeds import rng
from synthcohort.models.condition import PROMPT, Vocabulary


def plan_conditions(
    vocabulary: Vocabulary,
    label_counts: Sequence[Mapping[str, Any]],
    count: int,
    seed: int,
    where: Mapping[str, Any] | None = None,
    balance: str | None = None,
    prompt: str | None = None,
) -> list[dict[str, Any]]:
    """`count` conditions in the proportions of the training images, to within one image of each combination of columns.

    `label_counts` is what training wrote: condition and count of each combination. `where` fixes columns, numbers such
    as age at any value; `balance` gives each value of a column the same share. With `prompt` the text says what is
    shown, and columns that `where` does not fix are not said. Raises InputError for unknown columns and values, and for
    a combination that no training image has, naming what is allowed.
    """
    if count < 1:
        raise InputError(Problem("count", str(count), "1 or more"))
    fixed = vocabulary.check({**(where or {}), **({PROMPT: prompt} if prompt else {})})
    numbers = {c.label.name for c in vocabulary.columns if c.label.kind == "continuous"} | {PROMPT}
    chosen = [
        ({**item["condition"], **fixed}, float(item["count"]))
        for item in label_counts
        if all(item["condition"][name] == value for name, value in fixed.items() if name not in numbers)
    ]
    if not chosen:
        words = ", ".join(f"{name}={value}" for name, value in fixed.items() if name not in numbers)
        raise InputError(
            Problem("where", f"no training image has {words}", remedy="ask for labels that occur together")
        )
    if balance is not None:
        chosen = _balanced(vocabulary, chosen, balance, fixed)
    if prompt:
        said = {*fixed, balance}
        chosen = [({name: value for name, value in row.items() if name in said}, weight) for row, weight in chosen]
    chosen.sort(key=lambda item: [_sort_key(item[0].get(name)) for name in vocabulary.names])
    edges = np.cumsum([weight for _, weight in chosen])
    points = (np.arange(count) + 0.5) * edges[-1] / count
    conditions = [chosen[i][0] for i in np.minimum(np.searchsorted(edges, points), len(chosen) - 1)]
    return [conditions[i] for i in rng("plan", seed).permutation(count)]


def _balanced(
    vocabulary: Vocabulary, chosen: list[tuple[dict[str, Any], float]], balance: str, fixed: Mapping[str, Any]
) -> list[tuple[dict[str, Any], float]]:
    """The same combinations, weighted so that every value of `balance` has the same total."""
    allowed = [c.label.name for c in vocabulary.columns if c.label.kind != "continuous"]
    if balance not in allowed:
        raise InputError(Problem("balance", f"column {balance!r}", ", ".join(allowed) or "none: no categorical labels"))
    if balance in fixed:
        raise InputError(Problem("balance", f"column {balance!r} is fixed by where", remedy="give one of the two"))
    known = [(condition, weight) for condition, weight in chosen if condition[balance] is not None]
    totals: dict[Any, float] = {}
    for condition, weight in known:
        totals[condition[balance]] = totals.get(condition[balance], 0.0) + weight
    return [(condition, weight / totals[condition[balance]]) for condition, weight in known]


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Missing values first, then numbers, then words."""
    if value is None:
        return (0, 0.0, "")
    return (1, float(value), "") if isinstance(value, (int, float)) else (2, 0.0, str(value))
