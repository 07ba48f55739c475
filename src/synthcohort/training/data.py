"""The training images of one image type: brought once to the model's size in a memory-mapped file, drawn by number.

Image number n of a type belongs to pass n // N over its N images, in the order of that pass: any batch can be made
again from its numbers alone, so resuming needs no state of a loader. `joint` puts several types together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import atomic_path, digest_json, read_json, write_json
from synthcohort.core.kept import new_array
from synthcohort.core.seeds import rng
from synthcohort.imaging.canaries import CanaryConfig
from synthcohort.imaging.geometry import Fit, placement
from synthcohort.imaging.intensity import ValueRange, to_unit, value_range_of
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.training.canaries import NONE, canary_weights, with_canaries


@dataclass(frozen=True)
class Phrases:
    """The captions of N images as rows of a text table: those of image i are rows[starts[i]:starts[i + 1]].

    `mirrored` are the rows of the same captions with left and right exchanged.
    """

    starts: np.ndarray  # [N + 1] int64
    rows: np.ndarray  # [M] int64
    mirrored: np.ndarray  # [M] int64

    def pick(self, images: np.ndarray, uniform: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """One caption of each image [B] by a number in [0, 1); -1 where an image has none."""
        count = self.starts[images + 1] - self.starts[images]
        place = self.starts[images] + np.minimum((uniform * count).astype(np.int64), np.maximum(count - 1, 0))
        if not len(self.rows):
            return np.full(len(images), -1)
        place = np.minimum(place, len(self.rows) - 1)
        return np.where(count > 0, np.where(mirrored, self.mirrored[place], self.rows[place]), -1)


@dataclass(frozen=True)
class TrainingSet:
    """Pixels [N, C, H, W] of the cohort's dtype (memory-mapped) and encoded structured conditions [N, L]."""

    pixels: np.ndarray
    conditions: Tensor
    value_range: ValueRange
    weights: np.ndarray | None = None  # [N], mean 1: how often a pass holds each image; None: once
    phrases: Phrases | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def unit_images(
        self,
        indices: Sequence[int] | np.ndarray,
        generator: torch.Generator | None = None,
        mirror: np.ndarray | None = None,
    ) -> Tensor:
        """Images as [B, C, H, W] float32 in [-1, 1], mirrored left to right where said.

        Images need no generator; latents, which are drawn anew at every use, do (see latents).
        """
        images = torch.from_numpy(to_unit(self.pixels[np.asarray(indices)], self.value_range))
        if mirror is None:
            return images
        return torch.where(torch.from_numpy(mirror)[:, None, None, None], images.flip(3), images)

    def batch_indices(self, first: int, count: int, seed: int) -> np.ndarray:
        """The images number first … first + count - 1 of the training."""
        return self.batch_indices_of(np.arange(first, first + count), seed)

    def batch_indices_of(self, numbers: np.ndarray, seed: int) -> np.ndarray:
        """The images with these numbers in the training."""
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


def column(views: Sequence[Cohort], name: str) -> list[Any]:
    """One column of several views, in order."""
    return [value for view in views for value in view.column(name)]


def image_spec(views: Sequence[Cohort], size: int | tuple[int, int] | None, fit: Fit, name: str = "image") -> ImageSpec:
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
    rows, columns = shapes[0] if size is None else (size, size) if isinstance(size, int) else size
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
        name=name,
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
    file: Path,
    views: Sequence[Cohort],
    image: ImageSpec,
    fit: Fit,
    vocabulary: Vocabulary,
    balance: float = 0.0,
    constants: Mapping[str, Any] | None = None,
    phrases: Phrases | None = None,
    canaries: CanaryConfig = NONE,
) -> TrainingSet:
    """Brings the images of the views to the model's size, once, into `file`; an equal file there is used as it is.

    `constants` are columns of the vocabulary that hold the same for all of them: their image type. Canaries are marked
    before their images are brought to size, as the audit marks them.
    """
    shape = (sum(map(len, views)), image.channels, image.rows, image.columns)
    if not shape[0]:
        return TrainingSet(np.zeros(shape, image.dtype), vocabulary.encode([]), image.value_range, phrases=phrases)
    # the fill of padding is the lowest value: black, or air
    marks = [[view.image_ids for view in views], to_mapping(canaries)] if canaries.count else []
    key = digest_json([[view.pixels_digest for view in views], [image.rows, image.columns, image.dtype], fit, *marks])
    marker = file.with_suffix(".json")
    if not (marker.exists() and read_json(marker) == {"key": key} and file.exists()):
        marker.unlink(missing_ok=True)
        with atomic_path(file) as temporary:
            pixels = new_array(temporary, image.dtype, shape)
            sources = (source for view in views for source in with_canaries(view, canaries))
            for n, source in enumerate(sources):
                placed = placement(source.shape[:2], (image.rows, image.columns), fit, fill=image.low).apply(source)
                pixels[n] = placed[None] if placed.ndim == 2 else np.moveaxis(placed, 2, 0)
            pixels.flush()
            del pixels
        write_json(marker, {"key": key})
    conditions = vocabulary.encode(rows_of(views, vocabulary, constants))
    weights = canary_weights(views, canaries, balanced_weights(conditions, vocabulary, balance))
    return TrainingSet(np.load(file, mmap_mode="r"), conditions, image.value_range, weights, phrases)


def rows_of(
    views: Sequence[Cohort], vocabulary: Vocabulary, constants: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The vocabulary's columns of every image; a column that the views lack is None."""
    total = sum(map(len, views))
    columns = {
        name: [constants[name]] * total
        if constants and name in constants
        else column(views, name)
        if all(name in view.records.column_names for view in views)
        else [None] * total
        for name in vocabulary.names
    }
    return [{name: values[i] for name, values in columns.items()} for i in range(total)]
