"""Alignment beyond the label: does an image show the sex, age, side or image type that its record states?

Readers are logistic regressions on fixed features, fitted on real training images; beside each figure stands the same
reader on real test images. A reader that hardly reads real images can't judge synthetic ones, and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.evaluation.alignment import LEAST_IN_CLASS, Reading, measure_skill, scored
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.group_columns import group_values
from synthcohort.evaluation.inputs import Inputs, patients, sample_images
from synthcohort.evaluation.part_config import DemographicsConfig
from synthcohort.evaluation.retrieval import retrieval_entries
from synthcohort.metrics.classification import macro_recall_of
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.logistic import balanced_weights, fit_logistic
from synthcohort.metrics.principal import Principal

DIMS = 128  # principal directions of the real training features
RIDGE = 10.0
MOST_VALUES = 12


@dataclass(frozen=True)
class Views:
    """Training, test and synthetic images, with features in the training images' principal directions."""

    cohorts: dict[str, Cohort]
    features: dict[str, np.ndarray]


def demographics(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: DemographicsConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: scores of each stated fact, and of captions; they gate nothing."""
    settings = settings or DemographicsConfig()
    views = _views(inputs, eyes, config, settings, seed)
    scores = []
    for column in settings.columns:
        facts = {name: group_values(view, column, settings.age_bands) for name, view in views.cohorts.items()}
        scores += _column(column, facts, views, config, seed)
    if settings.captions:
        scores += retrieval_entries(views.cohorts, views.features, config.bootstrap, seed)
    return {"scores": scores, "families": {}}


def _views(inputs: Inputs, eyes: Any, config: EvaluateConfig, settings: DemographicsConfig, seed: int) -> Views:
    """Natural-image features where there are any: the grader's were made for the label alone."""
    encoder = "packaged" if "packaged" in config.encoders else "self_trained"
    cohorts = {
        "train": sample_images(inputs.real.select(split="train"), settings.images, seed, "demographics"),
        "test": sample_images(inputs.real.select(split="test"), config.max_images, seed, "test"),
        "synthetic": sample_images(inputs.synthetic, config.max_images, seed, "synthetic"),
    }
    features = {name: eyes.see(encoder, view).features for name, view in cohorts.items()}
    directions = Principal.fit(features["train"], DIMS)
    return Views(cohorts, {name: directions(found) for name, found in features.items()})


def _column(
    column: str, facts: dict[str, list[str | None]], views: Views, config: EvaluateConfig, seed: int
) -> list[dict[str, Any]]:
    """Nothing for a fact that either side does not state, or of which all real images have the same value."""
    names = sorted({name for name in facts["train"] if name is not None})
    enough = [
        name
        for name in names
        if facts["train"].count(name) >= config.min_class_images and facts["test"].count(name) >= LEAST_IN_CLASS
    ]
    if len(enough) < 2 or len(enough) > MOST_VALUES or not any(name in enough for name in facts["synthetic"]):
        return []
    sides = {name: _reading_rows(values, enough) for name, values in facts.items()}
    rows, classes = sides["train"]
    reader = fit_logistic(views.features["train"][rows], classes, len(enough), RIDGE, balanced_weights(classes))
    readings = {}
    for name in ("test", "synthetic"):
        rows, truth = sides[name]
        owners = patients(views.cohorts[name])
        predicted = reader.probabilities(views.features[name][rows]).argmax(axis=1)
        readings[name] = Reading(truth, predicted, [owners[i] for i in rows])
    real, made = readings["test"], readings["synthetic"]
    num, skill = len(enough), measure_skill(real, made, len(enough), config.bootstrap, seed)
    note = "" if skill.ratio.value is not None else "; no ratio: the reader may be guessing on real images"
    shared: dict[str, Any] = {
        "group": "alignment", "n_real": len(real.truth), "n_synthetic": len(made.truth), "better": "higher",
        "computed_on": f"a logistic regression fitted on real training images tells {column} ({', '.join(enough)}); "
        f"floor: the same on real test images{note}",
    }  # fmt: skip
    floor, recall = (
        scored(side, macro_recall_of, num, config.bootstrap, name, column, seed) for name, side in readings.items()
    )
    return [
        entry(
            f"shows_{column}", title=f"Mean recall of the stated {column}", score=recall, floor=floor,
            good="Good is close to the floor: images show what their record says as well as real ones do.", **shared,
        ),
        entry(
            f"shows_{column}_ratio", title=f"Reader's skill at {column}, synthetic over real", score=skill.ratio,
            floor=Score(1.0), good="Good is close to 1: the stated fact is seen as well as in real images.", **shared,
        ),
    ]  # fmt: skip


def _reading_rows(values: Sequence[str | None], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the images with one of these values, and its number."""
    place = {name: number for number, name in enumerate(names)}
    rows = np.array([i for i, name in enumerate(values) if name in place], np.int64)
    return rows, np.array([place[str(values[i])] for i in rows], np.int64)
