"""Everything that fidelity measures in an encoder's features: distances, neighbourhoods, variety, and a classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.policy import Policy
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.fidelity import FIGURES as FIDELITY
from synthcohort.evaluation.fidelity import WHOLE, Seen, class_entries, reached_entries, whole_entries
from synthcohort.evaluation.inputs import Inputs
from synthcohort.evaluation.part_config import FidelityConfig
from synthcohort.evaluation.sides import Figure, Sides, measured, parts_of, sides_of, unmeasured
from synthcohort.metrics.diversity import mean_distance_interval, vendi_interval
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.scored import sample
from synthcohort.metrics.two_sample import two_sample_auc

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes

# With fewer images on a side, figures of distributions say more about the number than about the images.
LEAST_IMAGES = 12
FIGURES: dict[str, Figure] = {
    "vendi": Figure(
        "Number of truly different images (Vendi score)",
        "higher",
        "Good is close to the floor: as many truly different images as among as many real ones; far below it, the "
        "generator repeats itself.",
    ),
    "distance_within_class": Figure(
        "Distance of two images of one class",
        "higher",
        "Good is close to the floor: two synthetic patients with one diagnosis differ as two real ones do.",
    ),
    "two_sample_auc": Figure(
        "Can a classifier tell synthetic from real?",
        "lower",
        "Good is close to the floor, near 0.5: a simple classifier can't tell synthetic images from real ones; 1 means "
        "that it always can.",
    ),
}


def feature_fidelity(
    inputs: Inputs,
    eyes: "Eyes",
    config: EvaluateConfig,
    policy: Policy,
    cache: Path,
    seed: int,
    *,
    encoder: str,
    settings: FidelityConfig = FidelityConfig(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """All figures of one encoder; classes get theirs where the encoder is cheap (`self_trained`)."""
    sides = sides_of(inputs, eyes, config, seed)
    seen = [eyes.see(encoder, view) for view in sides.views()]
    scores = encoder_entries(encoder, sides, seen, config, settings, seed)
    if encoder != "self_trained":
        return {"scores": scores}
    label, least = inputs.label, config.min_class_images
    name, values = (label.name, label.values) if label else ("", ())
    train = eyes.see(encoder, eyes.train)
    reference, made, base = seen
    scores += reached_entries(encoder, name, values, reference, made, base, least, config.folds, seed)
    scores += class_entries(encoder, name, values, reference, made, train, least, config.folds, seed)
    for part in parts_of(inputs, sides, least, seed):
        chosen = made.take(part.synthetic), base.take(part.floor)
        scores.append(_vendi(encoder, sides, *chosen, config.folds, seed, part.subset))
    return {"scores": scores}


def encoder_entries(
    encoder: str,
    sides: Sides,
    seen: Sequence[Seen],
    config: EvaluateConfig,
    settings: FidelityConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """The nine figures of all images in one encoder's features, in words where they mean nothing.

    `seen`: the reference, the synthetic images and the floor.
    """
    reference, made, base = seen
    smallest = min(len(side.owners) for side in (reference, made, base))
    figures = {name: Figure(FIDELITY[name].title, FIDELITY[name].better, FIDELITY[name].good) for name in WHOLE}
    reason = ""
    if smallest < LEAST_IMAGES:
        reason = f"{smallest} images on one side; needed: {LEAST_IMAGES}"
    elif not (np.ptp(reference.features, axis=0) > 0).any():
        reason = "all real images look the same to this encoder"
    if reason:
        return [unmeasured(name, figure, reason, sides, encoder) for name, figure in {**figures, **FIGURES}.items()]
    scores = whole_entries(encoder, reference, made, base, config.folds, seed)
    scores.append(_vendi(encoder, sides, made, base, config.folds, seed))
    scores.append(_distance(encoder, sides, made, base, settings.distance_images, config.folds, seed))
    scores.append(_two_sample(encoder, sides, reference, made, base, config.folds, seed))
    return scores


def _on(encoder: str, side: Seen) -> str:
    words = f"{side.features.shape[1]} features of each image"
    if encoder == "self_trained":
        words += "; the floor's training images are those the encoder was fitted on"
    return words


def _vendi(
    encoder: str, sides: Sides, made: Seen, base: Seen, folds: int, seed: int, subset: str | None = None
) -> dict[str, Any]:
    name = "vendi"
    try:
        found, floor = (vendi_interval(side.sample(folds, seed)) for side in (made, base))
    except ValueError as error:
        return unmeasured(name, FIGURES[name], str(error), sides, encoder, subset)
    return measured(
        name,
        FIGURES[name],
        Score(found.value, found.low, found.high, floor),
        computed_on=f"cosines of {_on(encoder, made)}",
        n_real=len(base.owners),
        n_synthetic=len(made.owners),
        encoder=encoder,
        subset=subset,
    )


def _distance(encoder: str, sides: Sides, made: Seen, base: Seen, most: int, folds: int, seed: int) -> dict[str, Any]:
    """Within classes where there are any, else among all."""
    name = "distance_within_class"
    found, num = [], []
    for side in (made, base):
        few = side.take(np.arange(min(most, len(side.owners))))
        classes = few.classes if (few.classes >= 0).any() else None
        owners = np.array(few.owners)
        found.append(mean_distance_interval(sample(few.features, few.owners, folds, seed), classes, owners))
        num.append(len(few.owners))
    if found[0].value is None or found[1].value is None:
        return unmeasured(name, FIGURES[name], "no class has images of two patients", sides, encoder)
    return measured(
        name,
        FIGURES[name],
        Score(found[0].value, found[0].low, found[0].high, found[1]),
        computed_on=f"Euclidean distances of {_on(encoder, made)}",
        n_real=num[1],
        n_synthetic=num[0],
        encoder=encoder,
    )


def _two_sample(
    encoder: str, sides: Sides, reference: Seen, made: Seen, base: Seen, folds: int, seed: int
) -> dict[str, Any]:
    name, real = "two_sample_auc", reference.sample(folds, seed)
    try:
        found, floor = (
            two_sample_auc(
                real=real,
                synthetic=side.sample(folds, seed),
                real_groups=reference.owners,
                synthetic_groups=side.owners,
                seed=seed,
            )
            for side in (made, base)
        )
    except ValueError as error:
        return unmeasured(name, FIGURES[name], str(error), sides, encoder)
    return measured(
        name,
        FIGURES[name],
        Score(found.value, found.low, found.high, floor),
        computed_on=f"logistic regression, cross-fitted by patient, on {_on(encoder, made)}",
        n_real=len(reference.owners),
        n_synthetic=len(made.owners),
        encoder=encoder,
    )
