"""The training data: images brought once to the model's size in a memory-mapped file, and batches drawn by number.

Image number n of a training belongs to pass n // N over the N images, in the order of that pass: any batch can be made
again from its number alone, so resuming needs no state of a loader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import atomic_path, digest_json, read_json, write_json
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.geometry import Fit, placement
from synthcohort.imaging.intensity import ValueRange, to_unit, value_range_of
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import Vocabulary


@dataclass(frozen=True)
class TrainingSet:
    """Pixels [N, C, H, W] of the cohort's dtype (memory-mapped) and encoded conditions [N, L]."""

    pixels: np.ndarray
    conditions: Tensor
    value_range: ValueRange
    weights: np.ndarray | None = None  # [N], mean 1: how often a pass holds each image; None: once

    def __len__(self) -> int:
        return len(self.pixels)

    def unit_images(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Images as [B, C, H, W] float32 in [-1, 1]."""
        return torch.from_numpy(to_unit(self.pixels[np.asarray(indices)], self.value_range))

    def batch_indices(self, first: int, count: int, seed: int) -> np.ndarray:
        """The images number first … first + count - 1 of the training."""
        numbers = np.arange(first, first + count)
        orders = {int(p): self._pass(int(p), seed) for p in np.unique(numbers // len(self))}
        return np.array([orders[n // len(self)][n % len(self)] for n in numbers.tolist()])

    def _pass(self, number: int, seed: int) -> np.ndarray:
        """The images of one pass, in order: N of them, each as often as its weight says, to within one."""
        order = pass_order(len(self), number, seed)
        if self.weights is None:
            return order
        # systematic sampling: one random offset a pass, so that over many passes every image comes at its rate
        edges = np.floor(np.cumsum(self.weights) + rng("training weights", seed, number).random() * (1 - 1e-9))
        edges[-1] = len(self)
        counts = np.diff(edges, prepend=0.0).astype(np.int64)
        return np.repeat(np.arange(len(self)), counts)[order]

    def std(self, sample: int = 2_000) -> float:
        """Standard deviation of the pixels in [-1, 1], of evenly spread images."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(sample, len(self))).astype(int))
        return round(float(self.unit_images(chosen).double().std()), 4)


def balanced_weights(conditions: Tensor, vocabulary: Vocabulary, power: float) -> np.ndarray | None:
    """Weight of each image: the frequency of its categorical labels ** -power, mean 1; None when power is 0."""
    kept = [i for i, column in enumerate(vocabulary.columns) if column.label.kind != "continuous"]
    if not power or not kept:
        return None
    _, number = np.unique(conditions[:, kept].nan_to_num(-1.0).numpy(), axis=0, return_inverse=True)
    weights = np.bincount(number.ravel()).astype(np.float64)[number.ravel()] ** -power
    return weights / weights.mean()


@lru_cache(maxsize=2)
def pass_order(count: int, number: int, seed: int) -> np.ndarray:
    """The order of the images in one pass."""
    return rng("training order", seed, number).permutation(count)


def draw_batch(
    data: TrainingSet, step: int, batch: int, seed: int, flip: bool, label_dropout: float
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Images (half of them mirrored) and conditions (some hidden) of a step, and the step's generator for its noise."""
    generator = torch.Generator().manual_seed(seed_from("training step", seed, step))
    indices = data.batch_indices(step * batch, batch, seed)
    images, conditions = data.unit_images(indices), data.conditions[torch.from_numpy(indices)]
    mirrored = torch.rand(batch, generator=generator) < 0.5
    hidden = torch.rand(batch, generator=generator) < label_dropout
    if flip:
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images, conditions.masked_fill(hidden[:, None], float("nan")), generator


def open_cohorts(paths: Sequence[Path]) -> list[Cohort]:
    """Opens real cohorts with equal labels. Raises InputError for a synthetic one or one without training images."""
    cohorts = [Cohort.open(path) for path in paths]
    problems: list[Problem | str] = []
    for cohort in cohorts:
        if cohort.origin != "real":
            problems.append(
                Problem(f"cohort {cohort.path}", f"its origin is {cohort.origin!r}", "'real'", "train on real images")
            )
        elif not len(cohort.select(split="train")):
            problems.append(
                Problem(f"cohort {cohort.path}", "no image has the role 'train'", remedy="ingest it with a split")
            )
        if cohort.labels != cohorts[0].labels:
            problems.append(
                Problem(
                    f"cohort {cohort.path}",
                    f"labels {', '.join(cohort.labels) or 'none'}",
                    f"those of {cohorts[0].path}: {', '.join(cohorts[0].labels) or 'none'}, with the same values",
                )
            )
    if problems:
        raise InputError(*problems)
    return cohorts


def chosen_labels(cohort: Cohort, names: Sequence[str] | None) -> list[LabelColumn]:
    """The label columns to condition on; ConfigError names the columns there are."""
    unknown = [name for name in names or () if name not in cohort.labels]
    if unknown:
        raise ConfigError(
            Problem("setting train.labels", f"no label column {', '.join(unknown)}", ", ".join(cohort.labels) or "none")
        )
    return [cohort.labels[name] for name in (cohort.labels if names is None else names)]


def column(views: Sequence[Cohort], name: str) -> list[Any]:
    """One column of several views, in order."""
    return [value for view in views for value in view.column(name)]


def image_spec(views: Sequence[Cohort], size: int | None, fit: Fit) -> ImageSpec:
    """What the model's images are, from the training images. Raises InputError when they are of different kinds."""
    dtypes = {str(view.image(i).dtype) for view in views for i in _first_of_each_shard(view)}
    channels = sorted({int(c) for c in column(views, "channels")})
    if len(dtypes) > 1 or len(channels) > 1:
        raise InputError(
            Problem(
                "training images",
                f"pixel types {', '.join(sorted(dtypes))} with {', '.join(map(str, channels))} channels",
                "one type and one number of channels",
                "ingest the kinds into cohorts of their own",
            )
        )
    dtype = dtypes.pop()
    shapes = sorted(set(zip(column(views, "rows"), column(views, "columns"), strict=True)))
    if size is None and len(shapes) > 1:
        raise ConfigError(
            Problem(
                "setting train.size",
                f"none, and the images have {len(shapes)} shapes",
                "a number of pixels",
                "set train.size",
            )
        )
    rows, columns = shapes[0] if size is None else (size, size)
    value_range = value_range_of(dtype, column(views, "bits_stored"))
    spacing = uniform(column(views, "pixel_spacing_mm"))
    if spacing is not None and len(shapes) == 1:
        placed = placement(shapes[0], (rows, columns), fit)
        spacing = [round(value, 6) for value in placed.spacing((spacing[0], spacing[1]))]
    return ImageSpec(
        rows=rows,
        columns=columns,
        channels=channels[0],
        dtype=dtype,
        low=value_range.low,
        high=value_range.high,
        bits_stored=uniform(column(views, "bits_stored")),
        modality=uniform(column(views, "modality")),
        body_part=uniform(column(views, "body_part")),
        view=uniform(column(views, "view")),
        window_center=uniform(column(views, "window_center")),
        window_width=uniform(column(views, "window_width")),
        pixel_spacing_mm=tuple(spacing) if spacing is not None and len(shapes) == 1 else None,
    )


def uniform(values: Sequence[Any]) -> Any:
    """The one value that all have, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None


def _first_of_each_shard(view: Cohort) -> list[int]:
    seen: dict[int, int] = {}
    for position, shard in enumerate(view.column("shard")):
        seen.setdefault(shard, position)
    return list(seen.values())


def training_set(
    file: Path, views: Sequence[Cohort], image: ImageSpec, fit: Fit, vocabulary: Vocabulary, balance: float = 0.0
) -> TrainingSet:
    """Brings the images of the views to the model's size, once, into `file`; an equal file there is used as it is."""
    value_range = ValueRange(image.low, image.high)
    shape = (sum(map(len, views)), image.channels, image.rows, image.columns)
    if not shape[0]:
        return TrainingSet(np.zeros(shape, image.dtype), vocabulary.encode([]), value_range)
    # the fill of padding is the lowest value: black, or air
    key = digest_json([[view.pixels_digest for view in views], [image.rows, image.columns, image.dtype], fit])
    marker = file.with_suffix(".json")
    if not (marker.exists() and read_json(marker) == {"key": key} and file.exists()):
        marker.unlink(missing_ok=True)
        with atomic_path(file) as temporary:
            pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(image.dtype), shape=shape)
            sources = (view.image(i) for view in views for i in range(len(view)))
            for n, source in enumerate(sources):
                placed = placement(source.shape[:2], (image.rows, image.columns), fit, fill=image.low).apply(source)
                pixels[n] = placed[None] if placed.ndim == 2 else np.moveaxis(placed, 2, 0)
            pixels.flush()
            del pixels
        write_json(marker, {"key": key})
    names = vocabulary.names
    columns = [column(views, name) for name in names]
    rows = (
        [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        if names
        else [{}] * sum(map(len, views))
    )
    conditions = vocabulary.encode(rows)
    weights = balanced_weights(conditions, vocabulary, balance)
    return TrainingSet(np.load(file, mmap_mode="r"), conditions, value_range, weights)
