"""A trained generator as the rest of the program sees it: conditions and seeds in, images out."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.run import RunFolder
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.imaging.intensity import from_unit, to_unit
from synthcohort.models.autoencoder import FOLDER, Autoencoder, load_autoencoder
from synthcohort.models.checkpoint import ImageSpec, ModelSpec, load_model
from synthcohort.models.condition import IMAGE_TYPE, PROMPT, Condition
from synthcohort.models.denoiser import Denoiser
from synthcohort.models.memory import keep_freed_memory

if TYPE_CHECKING:
    from synthcohort.models.text import TextEncoder
    from synthcohort.models.text_type import TypeGuess

BATCH = 32  # images that are asked for at a time
# Every batch of the network has this size, filled up with repeats: other sizes take other kernels, which round
# differently. On a CPU 8 are nearly as fast as 32 for each image, and one image alone does not wait for 31 others.
CPU_BATCH, GPU_BATCH = 8, 32
AHEAD = 8  # batches of conditions that are looked at together, to put equal shapes into one batch


class Generator:
    """Draws images. The same condition and seed give the same image, whatever else is drawn with it."""

    def __init__(
        self,
        denoiser: Denoiser,
        spec: ModelSpec,
        sampling: SamplingConfig | None = None,
        facts: Mapping[str, Any] | None = None,
        digest: str | None = None,
        autoencoder: Autoencoder | None = None,
    ) -> None:
        if (autoencoder is None) != (spec.latent is None):
            raise ValueError("a model of latents needs its autoencoder, a model of pixels takes none")
        self.denoiser, self.spec, self.autoencoder = denoiser, spec, autoencoder
        self.sampling = sampling or SamplingConfig()
        self.facts, self.digest = dict(facts or {}), digest
        self._types: dict[str, str] = {}  # of prompts
        self._told: set[str] = set()  # prompts whose length was looked at

    @property
    def batch(self) -> int:
        """Images of one evaluation of the network."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def image(self) -> dict[str, Any]:
        """Rows, columns, channels, dtype, bits_stored and what else all images of the first image type share."""
        return to_mapping(self.spec.image)

    @property
    def labels(self) -> dict[str, LabelColumn]:
        """The label columns a condition may name, the image type of a joint model among them."""
        columns = self.spec.vocabulary.columns
        return {column.label.name: column.label for column in columns if column.role != "attribute"}

    @cached_property
    def text(self) -> "TextEncoder":
        """The text encoder it was trained with. Raises ArtifactError when there is none, or it is another one."""
        from synthcohort.models.text import load_text_encoder

        said = self.spec.vocabulary.text
        if said is None:
            raise ArtifactError(Problem("generator", "was trained without text"))
        encoder = load_text_encoder(said.encoder, said.length)
        if encoder.digest != said.digest:
            raise ArtifactError(
                Problem(
                    f"text encoder {said.encoder}",
                    f"its weights are {encoder.digest}",
                    f"{said.digest}, which the model was trained with",
                    "put those weights back, or train again",
                )
            )
        return encoder

    @cached_property
    def _guess(self) -> "TypeGuess":
        from synthcohort.models.text_type import TypeGuess

        names = tuple(image.name for image in self.spec.images)
        known = self.facts.get("type_guess")
        return TypeGuess.from_mapping(known) if known else TypeGuess.fit(dict.fromkeys(names, ()), {})

    def _type_of(self, prompt: str) -> str:
        """The image type that a prompt speaks of. Raises InputError when it speaks of none or of several."""
        if prompt not in self._types:
            self._types[prompt] = self._guess.guess(prompt, self.text)
        return self._types[prompt]

    def completed(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """The condition, checked, with the image type that its prompt speaks of where it does not say one itself.

        An image type of None is left so: the prompt then says only what shape the image has.
        """
        checked = self.spec.vocabulary.check(condition)
        if len(self.spec.images) > 1 and IMAGE_TYPE not in checked and checked.get(PROMPT):
            checked[IMAGE_TYPE] = self._type_of(checked[PROMPT])
        return checked

    def image_of(self, condition: Mapping[str, Any]) -> ImageSpec:
        """The image type of a condition. Raises InputError when neither it nor its prompt says which."""
        checked = self.completed(condition)
        if len(self.spec.images) > 1 and checked.get(IMAGE_TYPE) is None and checked.get(PROMPT):
            checked[IMAGE_TYPE] = self._type_of(checked[PROMPT])
        return self.spec.image_of(checked)

    def condition(self, conditions: Sequence[Mapping[str, Any]]) -> Condition:
        """What the denoiser is told. A column that is left out or None is not conditioned on; `prompt` is free text.

        Raises InputError naming unknown columns and values.
        """
        vocabulary = self.spec.vocabulary
        encoded = vocabulary.encode(conditions)
        if vocabulary.text is None:
            return Condition(encoded)
        prompts = [condition.get(PROMPT) for condition in conditions]
        said = sorted({prompt for prompt in prompts if prompt})
        null = vocabulary.null(len(conditions))
        if not said:
            return Condition(encoded, null.tokens, null.mask)
        self._warn_of_long(said)
        tokens, mask = map(torch.from_numpy, self.text.encode(said))
        assert null.tokens is not None
        assert null.mask is not None
        for i, prompt in enumerate(prompts):
            if prompt:
                row, length = said.index(prompt), tokens.shape[1]
                null.tokens[i, :length], null.mask[i, :length] = tokens[row].float(), mask[row]
        return Condition(encoded, null.tokens, null.mask)

    def _warn_of_long(self, prompts: Sequence[str]) -> None:
        """Says once of each prompt that its end is not read."""
        new = [prompt for prompt in prompts if prompt not in self._told]
        self._told.update(new)
        if (cut := self.text.cut(new)) is not None:
            print(f"warning: {cut}", file=sys.stderr, flush=True)

    def null_of(self, condition: Condition) -> Condition:
        """What guidance leads away from: the same image types with nothing else said."""
        keep = [i for i, column in enumerate(self.spec.vocabulary.columns) if column.role == "type"]
        rest = [i for i in range(condition.labels.shape[1]) if i not in keep]
        return condition.without(rest, text=True)

    def lacking(self, condition: Condition) -> dict[str, Condition]:
        """The condition without each of its parts, by the name of its column or `text`: what guides one part alone."""
        parts = {name: condition.without([i]) for i, name in enumerate(self.spec.vocabulary.names)}
        return {**parts, "text": condition.without(text=True)} if condition.tokens is not None else parts

    def draw(self, conditions: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields one image per condition and seed: [rows, columns] or [rows, columns, 3] in the cohort's integer type.

        A condition maps columns to values, and `prompt` to text; a column left out or None is not conditioned on.
        Raises InputError naming unknown columns and values.
        """
        if len(conditions) != len(seeds):
            raise ValueError(f"{len(conditions)} conditions for {len(seeds)} seeds")
        completed = [self.completed(condition) for condition in conditions]
        images = [self.image_of(condition) for condition in completed]
        return self._draw(completed, images, list(seeds))

    def _draw(
        self, conditions: list[dict[str, Any]], images: list[ImageSpec], seeds: list[int]
    ) -> Iterator[np.ndarray]:
        window = self.batch * (AHEAD if len({image.size for image in images}) > 1 else 1)
        for start in range(0, len(seeds), window):
            rows = range(start, min(start + window, len(seeds)))
            drawn: dict[int, np.ndarray] = {}
            for size in dict.fromkeys(images[row].size for row in rows):
                own = [row for row in rows if images[row].size == size]
                for first in range(0, len(own), self.batch):
                    part = own[first : first + self.batch]
                    unit = self.draw_unit(
                        self.condition([conditions[row] for row in part]), [seeds[row] for row in part], size
                    )
                    drawn |= {row: self.from_unit(x, images[row]) for row, x in zip(part, unit, strict=True)}
            yield from (drawn[row] for row in rows)

    @torch.inference_mode()
    def draw_unit(self, condition: Condition, seeds: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Up to `batch` images of one size as the network makes them: [B, C, *grid] in about [-1, 1], or latents."""
        fill, grid = self.batch - len(seeds), self.spec.grid(size)
        full = Condition.cat([condition, condition[:1].repeat(fill)]) if fill else condition
        noise = torch.stack([unit_noise(seed, self.spec.channels, *grid) for seed in [*seeds, *[seeds[0]] * fill]])
        full = full.to(self.device)
        unit = self.sampling.sample(self.denoiser, noise.to(self.device), full, self.null_of(full), self.lacking(full))
        return unit[: len(seeds)].float().cpu()

    def from_unit(self, x: Tensor, image: ImageSpec) -> np.ndarray:
        """One image [C, *grid] of the network as [rows, columns] or [rows, columns, 3] integers."""
        return self.integers(self.decoded(x), image)

    def to_unit(self, pixels: np.ndarray, image: ImageSpec) -> Tensor:
        """The way back: integers to float32 [C, *grid], which are pixels in [-1, 1], or the mean of the latents."""
        return self.encoded(self.unit_pixels(pixels, image))

    @torch.no_grad()
    def decoded(self, x: Tensor) -> Tensor:
        """One image [C, *grid] of the network as pixels [C, rows, columns] in about [-1, 1], on the CPU.

        Latents are decoded one image at a time, so that neighbors in a batch do not matter.
        """
        if self.autoencoder is None:
            return x.float().cpu()
        return self.autoencoder.images(x[None].to(self.device))[0].cpu()

    @torch.no_grad()
    def encoded(self, pixels: Tensor) -> Tensor:
        """The way back: such pixels as they are, or the mean of their latents."""
        if self.autoencoder is None:
            return pixels
        mean, std = self.autoencoder.encode(pixels[None].to(self.device))
        return self.autoencoder.latents(mean, std, torch.zeros_like(mean))[0].cpu()

    def integers(self, pixels: Tensor, image: ImageSpec) -> np.ndarray:
        """Pixels [C, rows, columns] in [-1, 1] as [rows, columns] or [rows, columns, 3] integers."""
        if image.channels == 1 and pixels.shape[0] > 1:
            pixels = pixels.mean(0, keepdim=True)
        found = from_unit(pixels.numpy(), image.value_range, image.dtype)
        return found[0] if image.channels == 1 else np.ascontiguousarray(np.moveaxis(found, 0, 2))

    def unit_pixels(self, pixels: np.ndarray, image: ImageSpec) -> Tensor:
        """The way back, with as many channels as the network or its autoencoder takes."""
        unit = torch.from_numpy(to_unit(pixels, image.value_range))
        unit = unit[None] if unit.ndim == 2 else unit.movedim(2, 0)
        channels = self.spec.channels if self.autoencoder is None else self.autoencoder.channels
        return unit.expand(channels, -1, -1).contiguous() if len(unit) == 1 else unit.contiguous()


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
    if folder.info["kind"] == "gan":
        from synthcohort.models.gan_generator import gan_generator

        return gan_generator(folder.path / "model")  # which has no steps and no guidance
    keep_freed_memory()
    denoiser, spec, content = load_model(folder.path / "model")
    autoencoder = None
    if spec.latent is not None:
        place = folder.path / "model" / FOLDER
        autoencoder, _, described = load_autoencoder(place)
        if described["weights_digest"] != spec.latent.digest:
            found = "is another one than the model was trained with"
            raise ArtifactError(Problem(f"autoencoder {place}", found, remedy="train again"))
    if torch.cuda.is_available():
        denoiser = denoiser.cuda()
        autoencoder = autoencoder.cuda() if autoencoder else None
    return Generator(denoiser, spec, sampling, content["facts"], digest_json(content), autoencoder)
