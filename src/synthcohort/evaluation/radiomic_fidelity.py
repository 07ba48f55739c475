"""Fidelity in radiomic features, which need no network: the nine figures of an encoder, and the radiomics distance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthcohort.core.policy import Policy
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.feature_fidelity import encoder_entries
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.image_rows import radiomic_rows, scale_of
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.part_config import FidelityConfig
from synthcohort.evaluation.sides import Figure, Sides, measured, sides_of, unmeasured
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.radiomic import radiomics_distance_interval, standardized

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes

ENCODER = "radiomic"
FIGURES: dict[str, Figure] = {
    "frd": Figure(
        "Radiomics distance (FRD, logarithm of d)",
        "lower",
        "Good is close to the floor: the measurements that radiologists' software takes are distributed as in real "
        "images.",
    ),
    "frd_squared": Figure(
        "Radiomics distance (FRD, logarithm of d squared)",
        "lower",
        "Good is close to the floor: the same distance on the scale of the package frd-score, twice the other.",
    ),
}


def radiomic_fidelity(
    inputs: Inputs,
    eyes: "Eyes",
    config: EvaluateConfig,
    policy: Policy,
    cache: Path,
    seed: int,
    settings: FidelityConfig = FidelityConfig(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """Figures in standardized radiomic features of at most `radiomic_images` images of each side."""
    sides = sides_of(inputs, eyes, config, seed).sampled(settings.radiomic_images, seed)
    try:
        seen = radiomic_sides(inputs, sides, cache)
    except ValueError as error:
        return {"scores": [unmeasured(name, figure, str(error), sides, ENCODER) for name, figure in FIGURES.items()]}
    scores = encoder_entries(ENCODER, sides, seen, config, settings, seed)
    reference, made, base = (side.sample(config.folds, seed) for side in seen)
    for name, figure in FIGURES.items():
        squared = name == "frd_squared"
        found, floor = (
            radiomics_distance_interval(real=reference, synthetic=side, squared=squared) for side in (made, base)
        )
        scores.append(
            measured(
                name,
                figure,
                Score(found.value, found.low, found.high, floor),
                computed_on=f"{seen[0].features.shape[1]} radiomic features (first order, co-occurrence, run length), "
                "standardized by real test images",
                n_real=len(sides.reference),
                n_synthetic=len(sides.synthetic),
                encoder=ENCODER,
            )
        )
    return {"scores": scores}


def radiomic_sides(inputs: Inputs, sides: Sides, cache: Path) -> list[Seen]:
    """Standardized radiomic features of each side. Raises ValueError for several shapes, or constant real images."""
    values = scale_of(inputs)
    rows = standardized(*(radiomic_rows(view, values, cache) for view in sides.views()))
    return [
        Seen(features, patients(view), inputs.classes(view)) for features, view in zip(rows, sides.views(), strict=True)
    ]
