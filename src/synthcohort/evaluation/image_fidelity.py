"""Fidelity of the pixels themselves: intensities, sharpness, power spectra, and how alike the images of a class are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.image_rows import STATISTICS, Looks, gray_of, looks, scale_of, shape_of, unit_images
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.part_config import FidelityConfig
from synthcohort.evaluation.sides import Figure, Part, Sides, measured, parts_of, sides_of, unmeasured
from synthcohort.imaging.intensity import ValueRange
from synthcohort.imaging.similarity import WINDOW, ms_ssim, num_scales
from synthcohort.metrics.intensity import (
    band_difference,
    histogram_distance,
    outside_share,
    spectral_gap,
    value_distance,
)
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.left_out import of_means, of_set, of_sets
from synthcohort.metrics.scored import Sample, sample

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes

LEAST_PAIRS = 10
BANDS = {"low": (0.0, 0.25), "middle": (0.25, 0.5), "high": (0.5, 1.0)}  # of the frequencies up to half a cycle a pixel
FIGURES: dict[str, Figure] = {
    "intensity_distance": Figure(
        "Difference of gray values",
        "lower",
        "Good is close to the floor: light and dark are distributed over the images as in real ones.",
    ),
    "intensity_outside": Figure(
        "Gray values that real images do not show",
        "lower",
        "Good is close to the floor: hardly any pixel is darker or brighter than pixels of real images are.",
    ),
    "brightness_distance": Figure(
        "Difference of brightness",
        "lower",
        "Good is close to the floor: synthetic images are as bright as real ones, and vary as much among themselves.",
    ),
    "contrast_distance": Figure(
        "Difference of contrast",
        "lower",
        "Good is close to the floor: synthetic images have the contrast of real ones, neither flat nor harsh.",
    ),
    "sharpness_distance": Figure(
        "Difference of sharpness",
        "lower",
        "Good is close to the floor: edges are as steep as in real images, neither blurred nor overdrawn.",
    ),
    "spectral_gap": Figure(
        "Difference of detail at all sizes",
        "lower",
        "Good is close to the floor: coarse shapes, texture and noise are all as strong as in real images.",
    ),
    "spectrum_low": Figure(
        "Strength of coarse shapes",
        "none",
        "Good is close to 0: large structures stand out as much as in real images.",
    ),
    "spectrum_middle": Figure(
        "Strength of texture",
        "none",
        "Good is close to 0: below it, texture such as trabeculae is washed out; above it, texture is overdrawn.",
    ),
    "spectrum_high": Figure(
        "Strength of the finest detail and noise",
        "none",
        "Good is close to 0: below it, the images are blurred; above it, they are noisier than real ones.",
    ),
    "similarity_within_class": Figure(
        "Likeness of two images of one class",
        "lower",
        "Good is close to the floor: two synthetic patients look as different from each other as two real ones; "
        "far above it, the generator repeats itself.",
    ),
}


def image_fidelity(
    inputs: Inputs,
    eyes: "Eyes",
    config: EvaluateConfig,
    policy: Policy,
    cache: Path,
    seed: int,
    settings: FidelityConfig = FidelityConfig(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """Ten figures of all images, and two of each class and image type with enough images."""
    sides = sides_of(inputs, eyes, config, seed)
    try:
        shapes = {shape_of(view) for view in sides.views()}
    except ValueError as error:
        shapes, reason = set(), str(error)
    else:
        reason = "images of several shapes"
    if len(shapes) != 1:
        return {"scores": [unmeasured(name, figure, reason, sides) for name, figure in FIGURES.items()]}
    values = scale_of(inputs)
    seen = [looks(view, values, cache) for view in sides.views()]
    owners = [patients(view) for view in sides.views()]
    everything = [np.arange(len(view)) for view in sides.views()]
    scores = _look_entries(seen, owners, everything, None, FIGURES, config.folds, seed)
    scores.append(_similarity(inputs, sides, values, settings.similarity_pairs, config.folds, seed))
    for part in parts_of(inputs, sides, config.min_class_images, seed):
        chosen = [part.reference, part.synthetic, part.floor]
        names = ("intensity_distance", "spectral_gap")
        scores += _look_entries(seen, owners, chosen, part, names, config.folds, seed)
    return {"scores": scores}


def _look_entries(
    seen: Sequence[Looks],
    owners: Sequence[list[str]],
    chosen: Sequence[np.ndarray],
    part: Part | None,
    names: Sequence[str] | dict[str, Figure],
    folds: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The figures of these positions of each side, each beside its floor."""

    def sides_by(rows: Callable[[Looks], np.ndarray]) -> list[Sample]:
        return [
            sample(rows(look)[at], [owner[i] for i in at], folds, seed)
            for look, owner, at in zip(seen, owners, chosen, strict=True)
        ]

    channels, bins = seen[0].histograms.shape[1:]
    histograms = sides_by(lambda look: look.histograms.reshape(len(look.histograms), -1))
    spectra = sides_by(lambda look: look.spectra)

    def over_channels(function: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float]:
        return lambda a, b: function(real=a.reshape(channels, bins), synthetic=b.reshape(channels, bins))

    def score(name: str, other: int) -> Score:
        if name == "intensity_distance":
            statistic = over_channels(histogram_distance)
            return of_means(statistic, real=histograms[0], synthetic=histograms[other], lowest=0.0, highest=100.0)
        if name == "intensity_outside":
            statistic = over_channels(outside_share)
            return of_means(statistic, real=histograms[0], synthetic=histograms[other], lowest=0.0, highest=1.0)
        if name == "spectral_gap":
            statistic = lambda a, b: spectral_gap(real=a, synthetic=b)  # noqa: E731
            return of_means(statistic, real=spectra[0], synthetic=spectra[other], lowest=0.0)
        if name.startswith("spectrum_"):
            low, high = BANDS[name.removeprefix("spectrum_")]
            statistic = lambda a, b: band_difference(real=a, synthetic=b, low=low, high=high)  # noqa: E731
            return of_means(statistic, real=spectra[0], synthetic=spectra[other])
        column = STATISTICS.index(name.removesuffix("_distance"))
        one = sides_by(lambda look: look.statistics[:, column])
        statistic = lambda a, b: value_distance(real=a, synthetic=b)  # noqa: E731
        return of_sets(statistic, real=one[0], synthetic=one[other], lowest=0.0)

    how = {
        "intensity_distance": "mean shift of a pixel in percent of the intensity range",
        "intensity_outside": "share of pixels beyond the darkest and brightest 0.1 % of real test pixels",
        "spectral_gap": "mean absolute difference in decibels over rings of spatial frequency",
    }
    entries = []
    for name in names:
        if name == "similarity_within_class":
            continue
        found, floor = score(name, 1), score(name, 2)
        words = how.get(name) or (
            "power in decibels, synthetic less real"
            if name.startswith("spectrum_")
            else "distance of the images' values in standard deviations of real ones"
        )
        entries.append(
            measured(
                name,
                FIGURES[name],
                Score(found.value, found.low, found.high, floor),
                computed_on=f"pixels; {words}",
                n_real=len(chosen[0]),
                n_synthetic=len(chosen[1]),
                subset=None if part is None else part.subset,
            )
        )
    return entries


def class_pairs(classes: np.ndarray, owners: Sequence[str], limit: int, *purpose: str | int) -> np.ndarray:
    """Up to `limit` pairs of images of one class and of different patients, each in one pair of a class: [P, 2].

    Every pair is independent of every other within its class, so that their mean has an honest interval.
    Images without a class (-1) are left out.
    """
    generator = rng("class pairs", *purpose)
    pairs: list[tuple[int, int]] = []
    for number in np.unique(classes[classes >= 0]):
        order = generator.permutation(np.flatnonzero(classes == number))
        firsts: dict[str, int] = {}
        for index in order:
            firsts.setdefault(owners[index], int(index))
        one = list(firsts.values())
        pairs.extend(zip(one[0::2], one[1::2], strict=False))
    chosen = np.array(pairs, np.int64).reshape(-1, 2)
    return chosen[generator.permutation(len(chosen))[:limit]]


def _similarity(inputs: Inputs, sides: Sides, values: ValueRange, limit: int, folds: int, seed: int) -> dict[str, Any]:
    """Mean structural similarity of pairs; the floor is that of real training images."""
    name, shape = "similarity_within_class", shape_of(sides.reference)
    if min(shape) < WINDOW:
        return unmeasured(name, FIGURES[name], f"images smaller than {WINDOW} pixels", sides)
    found, num = [], []
    for view, role in ((sides.synthetic, "synthetic"), (sides.floor, "floor")):
        classes = inputs.classes(view) if inputs.label is not None else np.zeros(len(view), np.int64)
        owners = patients(view)
        pairs = class_pairs(classes, owners, limit, role, seed)
        if len(pairs) < LEAST_PAIRS:
            return unmeasured(name, FIGURES[name], f"{len(pairs)} pairs of {role} patients of one class", sides)
        numbers = _pair_similarity(view, pairs, values)
        groups = [f"{owners[first]}" for first in pairs[:, 0]]
        found.append(
            of_set(lambda rows: float(rows.mean()), sample(numbers[:, None], groups, folds, seed), highest=1.0)
        )
        num.append(len(pairs))
    scales = num_scales(shape)
    words = f"pixels; structural similarity over {scales} scales of {num[0]} synthetic and {num[1]} real pairs"
    return measured(
        name,
        FIGURES[name],
        Score(found[0].value, found[0].low, found[0].high, found[1]),
        computed_on=words,
        n_real=2 * num[1],
        n_synthetic=2 * num[0],
    )


def _pair_similarity(view: Cohort, pairs: np.ndarray, values: ValueRange) -> np.ndarray:
    parts = []
    for start in range(0, len(pairs), 32):
        a, b = (gray_of(unit_images(view, pairs[start : start + 32, side], values)) for side in (0, 1))
        parts.append(ms_ssim(a, b, 1.0))
    return np.concatenate(parts)
