"""A trained generator as the rest of the program sees it: conditions and seeds in, images out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.run import RunFolder
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.imaging.intensity import ValueRange, from_unit
from synthcohort.models.checkpoint import ModelSpec, load_model
from synthcohort.models.denoiser import Denoiser

# Every batch has this size, filled up with repeats: other sizes take other kernels, which round differently.
BATCH = 32


class Generator:
    """Draws images. The same condition and seed give the same image, whatever else is drawn with it."""

    def __init__(
        self,
        denoiser: Denoiser,
        spec: ModelSpec,
        sampling: SamplingConfig | None = None,
        facts: Mapping[str, Any] | None = None,
        digest: str | None = None,
    ) -> None:
        self.denoiser, self.spec = denoiser, spec
        self.sampling = sampling or SamplingConfig()
        self.facts, self.digest = dict(facts or {}), digest
        self._range = ValueRange(spec.image.low, spec.image.high)

    @property
    def image(self) -> dict[str, Any]:
        """Rows, columns, channels, dtype, bits_stored and what else all images share."""
        return to_mapping(self.spec.image)

    @property
    def labels(self) -> dict[str, LabelColumn]:
        """The label columns a condition may name."""
        return {column.label.name: column.label for column in self.spec.vocabulary.columns}

    def draw(self, conditions: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields one image per condition and seed: [rows, columns] or [rows, columns, 3] in the cohort's integer type.

        A condition maps label columns to values; a column left out or None is not conditioned on.
        Raises InputError naming unknown columns and values.
        """
        if len(conditions) != len(seeds):
            raise ValueError(f"{len(conditions)} conditions for {len(seeds)} seeds")
        encoded = self.spec.vocabulary.encode(conditions)
        return self._draw(encoded, list(seeds))

    def _draw(self, encoded: Tensor, seeds: list[int]) -> Iterator[np.ndarray]:
        image = self.spec.image
        null = self.spec.vocabulary.null(BATCH)
        for start in range(0, len(seeds), BATCH):
            part = seeds[start : start + BATCH]
            fill = BATCH - len(part)
            condition = torch.cat([encoded[start : start + BATCH], null[:fill]])
            noise = torch.stack(
                [unit_noise(seed, image.channels, image.rows, image.columns) for seed in part + part[:1] * fill]
            )
            with torch.inference_mode():
                unit = self.sampling.sample(self.denoiser, noise, condition, null)
            for x in unit[: len(part)].numpy():
                pixels = from_unit(x, self._range, image.dtype)
                yield pixels[0] if image.channels == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2))


def unit_noise(seed: int, channels: int, rows: int, columns: int) -> Tensor:
    """Unit normal noise [C, H, W] of one image, from its own seed."""
    return torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))


def load_generator(run: str | Path, sampling: SamplingConfig | None = None) -> Generator:
    """The generator of a finished run. Raises ArtifactError when it is unfinished or damaged."""
    folder = RunFolder.read(Path(run))
    if not (folder.path / "model" / "model.json").exists():
        raise ArtifactError(
            Problem(
                f"run {folder.path}",
                "its training is not finished",
                remedy="run the same train command again to finish it",
            )
        )
    denoiser, spec, content = load_model(folder.path / "model")
    return Generator(denoiser, spec, sampling, content["facts"], digest_json(content))
