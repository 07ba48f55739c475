"""Groups of patients: which columns tell them apart, and how a cohort is composed of them, also within each class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.evaluation.part_config import SubgroupsConfig

MOST_VALUES = 12  # of a column; with more they are no groups


def group_values(view: Cohort, column: str, bands: Sequence[int]) -> list[str | None]:
    """The group that each image belongs to by one column: bands of years for ages, words otherwise."""
    if column not in view.records.column_names:
        return [None] * len(view)
    values = view.column(column)
    if column == "age":
        return [age_band(value, bands) for value in values]
    return [None if value is None or value == "" else str(value) for value in values]


def age_band(age: float | None, bands: Sequence[int]) -> str | None:
    """`below 18`, `18-39`, …, `80 and above`; None for an unknown age."""
    if age is None or not math.isfinite(age):
        return None
    number = sum(age >= start for start in bands)
    if not bands:
        return "all"
    if number == 0:
        return f"below {bands[0]}"
    return f"{bands[-1]} and above" if number == len(bands) else f"{bands[number - 1]}-{bands[number] - 1}"


@dataclass(frozen=True)
class Columns:
    """The columns that tell groups apart on both sides, with their values; and why the others do not."""

    values: dict[str, tuple[str, ...]]
    absent: tuple[str, ...]  # sentences
    bands: tuple[int, ...]

    def codes(self, view: Cohort) -> dict[str, np.ndarray]:
        """Number of each image's value, -1 for an unknown one or a value that no group stands for."""
        result = {}
        for column, names in self.values.items():
            place = {name: number for number, name in enumerate(names)}
            found = group_values(view, column, self.bands)
            result[column] = np.array([place.get(name, -1) if name is not None else -1 for name in found], np.int64)
        return result


def usable_columns(real: Cohort, synthetic: Cohort, settings: SubgroupsConfig, least: int) -> Columns:
    """Columns with two or more groups of at least `least` real images, which the synthetic images name too."""
    values: dict[str, tuple[str, ...]] = {}
    unnamed_real, unnamed, alone = [], [], []
    for column in settings.columns:
        counts: dict[str, int] = {}
        for name in group_values(real, column, settings.age_bands):
            if name is not None:
                counts[name] = counts.get(name, 0) + 1
        large = tuple(sorted(name for name, count in counts.items() if count >= least))
        if not counts:
            unnamed_real.append(column)
        elif len(large) < 2 or len(large) > MOST_VALUES:
            alone.append(column)
        elif not any(name is not None for name in group_values(synthetic, column, settings.age_bands)):
            unnamed.append(column)
        else:
            values[column] = large
    absent = []
    if unnamed_real:
        absent.append(f"the real cohort names no {_list(unnamed_real)}")
    if alone:
        absent.append(f"the real cohort has no two groups of {least} or more images by {_list(alone)}")
    if unnamed:
        absent.append(f"the synthetic cohort names no {_list(unnamed)}")
    return Columns(values, tuple(absent), settings.age_bands)


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def expected_share(
    members: np.ndarray, known: np.ndarray, classes: np.ndarray, synthetic_known: np.ndarray, made: np.ndarray
) -> float:
    """The group's share that the synthetic mix of classes makes likely: Σ over classes, share of class × real share.

    members, known [N] bool and classes [N] of real images; synthetic_known [M] bool and classes `made` [M].
    """
    total, used = 0.0, 0
    for value in np.unique(made[synthetic_known]):
        images = known & (classes == value)
        count = int((synthetic_known & (made == value)).sum())
        if images.any():
            total += count * float(members[images].mean())
            used += count
    return total / used if used else float(members[known].mean())
