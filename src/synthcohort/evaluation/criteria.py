"""The FDA's criteria of a synthetic data scorecard, as far as images and their records can be measured.

Congruence, coverage, constraint and consistency are read off simple and radiomic statistics of each image; completeness
off the records. Compliance is not a measurement (the toolbox says so too), and comprehension is a matter of the
documents that release writes: both are said in words. Source: 10.1038/s44172-025-00450-1.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.image_rows import looks, radiomic_rows, scale_of
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.part_config import FidelityConfig
from synthcohort.evaluation.sides import Figure, Sides, measured, sides_of, unmeasured
from synthcohort.metrics.criteria import completeness, congruence, consistency, constraint, range_coverage, usable
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.left_out import of_sets
from synthcohort.metrics.scored import Sample, sample

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes

FOLDS = 10  # each value is computed anew without each fold: fewer folds than elsewhere
LEAST_IMAGES = 50  # the 1st and 99th percentile of fewer images are their least and greatest value
SUBGROUPS = ("sex", "laterality", "site", "manufacturer", "modality", "body_part")
FIELDS = (
    "modality", "body_part", "laterality", "view", "sex", "age", "ethnicity", "caption", "pixel_spacing_mm",
    "bits_stored", "window_center", "window_width",
)  # fmt: skip
WORDS = {
    "compliance": "not measured: rules on privacy and consent are kept by people; see the privacy families and release",
    "comprehension": "not measured here: release writes the datasheet and cards, and checks that nothing is left out",
}
FIGURES: dict[str, Figure] = {
    "criterion_congruence": Figure(
        "Congruence",
        "higher",
        "Good is close to the floor, near 1: what can be measured in an image is distributed as in real images.",
    ),
    "criterion_coverage": Figure(
        "Coverage of the real range",
        "higher",
        "Good is close to the floor, near 1: rare but real appearances occur among the synthetic images too.",
    ),
    "criterion_constraint": Figure(
        "Outside the real range",
        "lower",
        "Good is close to the floor, about 0.02: few measurements lie where hardly any real patient's do.",
    ),
    "criterion_completeness": Figure(
        "Completeness of the records",
        "higher",
        "Good is 1: what real records usually state, the synthetic ones state too.",
    ),
    "criterion_consistency": Figure(
        "Spread of congruence over subgroups",
        "lower",
        "Good is close to the floor: no group of patients is rendered less faithfully than another.",
    ),
}
COMPARED: dict[str, tuple[Callable[..., float], str]] = {
    "criterion_congruence": (congruence, "1 less the Kolmogorov-Smirnov distance, mean over"),
    "criterion_coverage": (range_coverage, "share of the real 1st to 99th percentile that is reached, mean over"),
    "criterion_constraint": (constraint, "share outside the real 1st to 99th percentile, mean over"),
}


def criteria(
    inputs: Inputs,
    eyes: "Eyes",
    config: EvaluateConfig,
    policy: Policy,
    cache: Path,
    seed: int,
    settings: FidelityConfig = FidelityConfig(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """Five criteria as scores, the other two in words (`figures`)."""
    sides = sides_of(inputs, eyes, config, seed).sampled(settings.radiomic_images, seed)
    scores = [_completeness(inputs, sides)]
    smallest = min(len(view) for view in sides.views())
    reason = f"{smallest} images on one side; needed: {LEAST_IMAGES}" if smallest < LEAST_IMAGES else ""
    if not reason:
        try:
            statistics = image_statistics(inputs, sides, cache)
        except ValueError as error:
            reason = str(error)
    if reason:
        names = (*COMPARED, "criterion_consistency")
        scores += [unmeasured(name, FIGURES[name], reason, sides) for name in names]
        return {"scores": scores, "figures": {"criteria": WORDS}}
    groups = [patients(view) for view in sides.views()]
    both = [sample(rows, owners, FOLDS, seed) for rows, owners in zip(statistics, groups, strict=True)]
    for name, (function, how) in COMPARED.items():
        found, floor = (
            of_sets(_keyed(function), real=both[0], synthetic=other, lowest=0.0, highest=1.0) for other in both[1:]
        )
        scores.append(_entry(name, found, floor, f"{how} {statistics[0].shape[1]} statistics of each image", sides))
    scores += _consistency(inputs, sides, both, config.min_class_images)
    return {"scores": scores, "figures": {"criteria": WORDS}}


def image_statistics(inputs: Inputs, sides: Sides, cache: Path) -> list[np.ndarray]:
    """Simple and radiomic statistics of each side [N, K] that differ between real images."""
    values = scale_of(inputs)
    rows = [
        np.concatenate([looks(view, values, cache).statistics, radiomic_rows(view, values, cache)], axis=1)
        for view in sides.views()
    ]
    kept = usable(rows[0])
    if not kept.any():
        raise ValueError("all real images have the same statistics")
    return [side[:, kept] for side in rows]


def _keyed(function: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda a, b: function(real=a, synthetic=b)


def _entry(
    name: str, found: Score, floor: Score | None, words: str, sides: Sides, subset: str | None = None
) -> dict[str, Any]:
    return measured(
        name,
        FIGURES[name],
        Score(found.value, found.low, found.high, floor),
        computed_on=words,
        n_real=len(sides.reference),
        n_synthetic=len(sides.synthetic),
        subset=subset,
    )


def _completeness(inputs: Inputs, sides: Sides) -> dict[str, Any]:
    name = "criterion_completeness"
    fields = [*FIELDS, *(label for label in inputs.real.labels if label in inputs.synthetic.labels)]
    missing = [label for label in inputs.real.labels if label not in inputs.synthetic.labels]
    columns = [[view.column(field) for field in fields] for view in (sides.reference, sides.synthetic)]
    value = completeness(columns[0], columns[1])
    if not np.isfinite(value):
        return unmeasured(name, FIGURES[name], "no field is filled in most real records", sides)
    words = f"records; fields that are filled in most real ones, among {', '.join(fields)}"
    if missing:
        words += f"; the synthetic cohort has no column {', '.join(missing)}"
    return _entry(name, Score(value), None, words, sides)


def _consistency(inputs: Inputs, sides: Sides, both: Sequence[Sample], least: int) -> list[dict[str, Any]]:
    """One entry for the label and for each column of subgroups that both cohorts have."""
    name = "criterion_consistency"
    columns = ([inputs.label.name] if inputs.label is not None else []) + list(SUBGROUPS)
    entries = []
    for column in columns:
        numbers = subgroup_numbers(column, sides.views(), least)
        if numbers is None:
            continue
        found, floor = (_spread(both[0], both[side], numbers[0], numbers[side]) for side in (1, 2))
        words = "best less worst congruence among the subgroups with enough images on every side"
        entries.append(_entry(name, found, floor, words, sides, f"by {column}"))
    if not entries:
        reason = f"no column has two subgroups of {least} images on every side"
        entries.append(unmeasured(name, FIGURES[name], reason, sides))
    return entries


def subgroup_numbers(column: str, views: Sequence[Cohort], least: int) -> list[np.ndarray] | None:
    """Each image's subgroup as a number, -1 for small ones; None when fewer than two are large enough on every side."""
    sides = [view.column(column) for view in views]
    names = sorted({value for value in sides[0] if value is not None}, key=str)
    large = [name for name in names if min(side.count(name) for side in sides) >= least]
    if len(large) < 2:
        return None
    place = {name: number for number, name in enumerate(large)}
    return [np.array([place.get(value, -1) for value in side], np.int64) for side in sides]


def _spread(real: Sample, synthetic: Sample, real_groups: np.ndarray, synthetic_groups: np.ndarray) -> Score:
    """The groups travel as a last column, so that folds leave them out together with the rows."""
    a = Sample(np.column_stack([real.features, real_groups]), real.folds, real.num_groups)
    b = Sample(np.column_stack([synthetic.features, synthetic_groups]), synthetic.folds, synthetic.num_groups)

    def statistic(rows: np.ndarray, others: np.ndarray) -> float:
        return consistency(
            real=rows[:, :-1],
            synthetic=others[:, :-1],
            real_groups=rows[:, -1].astype(np.int64),
            synthetic_groups=others[:, -1].astype(np.int64),
        )

    return of_sets(statistic, real=a, synthetic=b, lowest=0.0, highest=1.0)
