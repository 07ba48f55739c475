"""Editing: the same patient under another condition, a region drawn anew, an image drawn again from some noise.

Words: a *subject* is the image that is edited, drawn from a seed or read from a file; its *state* is it at the noise
level from which it is drawn again, on the path that leads to it under the old condition. Everything works on the
network's images, [1, C, H, W] in about [-1, 1], or latents; images go one by one, since other sizes of a batch round
differently. What an autoencoder loses of a subject is not part of an edit: it is put back, or taken from the original.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.config import require
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.inversion import invert
from synthcohort.diffusion.precondition import Denoiser
from synthcohort.diffusion.regions import difference_map, difference_mask, feather, inpaint, rework
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import Condition
from synthcohort.models.generator import Generator, unit_noise

Said: TypeAlias = Mapping[str, Any]  # a condition in the user's words


@dataclass(frozen=True)
class EditConfig:
    """How images are edited.

    strength   share of the sampler's steps that are done again, more than 0 up to 1: less keeps more of the image
    refine     refinements of the noise that is found for a real image, two walks of the sampler each
    local      let the image change only where the two conditions' predictions differ (of `change` and `sweep`)
    threshold  how much they must differ, as a share of where they differ most
    probes     noises over which that difference is averaged
    feather    pixels over which the edge of a region is soft, inside it
    iterations iterations at each step that fit a region drawn anew to its surroundings; 0 only holds these
    """

    strength: float = 0.8
    refine: int = 1
    local: bool = False
    threshold: float = 0.5
    probes: int = 8
    feather: int = 2
    iterations: int = 3

    def __post_init__(self) -> None:
        checks = [
            ("strength", 0 < self.strength <= 1, "more than 0, up to 1"),
            ("refine", self.refine >= 0, "0 or more"),
            ("threshold", 0 < self.threshold < 1, "between 0 and 1"),
            ("probes", self.probes >= 1, "1 or more"),
            ("feather", self.feather >= 0, "0 or more"),
            ("iterations", self.iterations >= 0, "0 or more"),
        ]
        require("edit ", self, checks)


@dataclass(frozen=True)
class Edit:
    """An edited image and what it was made from, in the model's integers; `mask` says where it could change."""

    original: np.ndarray
    image: np.ndarray
    condition: dict[str, Any]
    mask: np.ndarray | None = None  # [rows, columns] float32 in [0, 1]; None: everywhere


@dataclass(frozen=True)
class Region:
    """Where an image may change, in [0, 1]: by pixel [1, 1, rows, columns], and on the network's grid."""

    pixels: Tensor
    grid: Tensor


class Subject:
    """An image to edit under the condition it was drawn with, or that describes it."""

    def __init__(self, generator: Generator, condition: Said, pixels: np.ndarray | None = None, seed: int = 0) -> None:
        """`pixels` are a real image of the model's size and integer type; without, the image of `seed` is drawn.

        Raises InputError for a condition that the generator does not know, and pixels of another size or type.
        """
        self.generator, self.seed = generator, seed
        self.said = generator.completed(condition)
        self.spec = generator.image_of(self.said)
        self.drawn = pixels is None
        self.pixels = next(generator.draw([self.said], [seed])) if pixels is None else pixels
        shape = self.spec.size if self.spec.channels == 1 else (*self.spec.size, self.spec.channels)
        if self.pixels.shape != shape or self.pixels.dtype.name != self.spec.dtype:
            found = f"{self.pixels.dtype} of shape {self.pixels.shape}"
            raise InputError(Problem("image to edit", found, f"{self.spec.dtype} of shape {shape}"))

    @cached_property
    def unit(self) -> Tensor:
        return self.generator.to_unit(self.pixels, self.spec)[None].to(self.generator.device)

    @cached_property
    def condition(self) -> Condition:
        return self.generator.condition([self.said]).to(self.generator.device)

    def noise(self, *purpose: str | int) -> Tensor:
        """Unit noise like the image: that which it is drawn from, or with a purpose, fresh noise for it."""
        seed = seed_from("edit", self.seed, *purpose) if purpose else self.seed
        return unit_noise(seed, *self.unit.shape[1:])[None].to(self.generator.device)

    def changed(self, to: Said) -> dict[str, Any]:
        """The subject's condition with some of it said anew; InputError when that makes images of another size."""
        said = self.generator.completed({**self.said, **to})
        other = self.generator.image_of(said)
        if (other.size, other.channels) != (self.spec.size, self.spec.channels):
            found = f"images of {_shape(self.spec)} would become images of {_shape(other)}"
            raise InputError(Problem("edit", found, "image types of one shape"))
        return said


@torch.no_grad()
def change(
    subject: Subject, to: Sequence[Said], config: EditConfig | None = None, mask: np.ndarray | None = None
) -> list[Edit]:
    """The subject as it would look under each of other conditions: the same noise, drawn on from the same state.

    What both conditions give from that state is compared, and the difference added to the subject: an unchanged
    condition gives it back bit by bit, and what the model can't draw of a real image stays. `mask` [rows, columns] of
    bool says where it may change; without one, `config.local` finds a mask of its own for each condition.
    Raises InputError for unknown conditions and a mask of another size or empty.
    """
    config = config or EditConfig()
    conditions = [subject.changed(said) for said in to]
    given = None if mask is None else _soft(subject, mask, config.feather)
    sigmas, state = _state(subject, config)
    before = _solve(subject, subject.condition, state, sigmas)
    edits = []
    for said in conditions:
        condition = subject.generator.condition([said]).to(subject.generator.device)
        region = _local_mask(subject, condition, config) if given is None and config.local else given
        after = _solve(subject, condition, state, sigmas)
        difference = after - before
        x = subject.unit + (difference if region is None else region.grid * difference)
        edits.append(_edit(subject, said, x, region))
    return edits


def sweep(
    subject: Subject, column: str, config: EditConfig | None = None, mask: np.ndarray | None = None
) -> list[Edit]:
    """The subject under every value of an ordinal column, in order. Raises InputError for another kind of column."""
    return change(subject, [{column: value} for value in sweep_values(subject.generator, column)], config, mask)


def sweep_values(generator: Generator, column: str) -> tuple[Any, ...]:
    """The values of an ordinal column, lowest first."""
    ordinal = {c.label.name: c.label for c in generator.spec.vocabulary.columns if c.label.kind == "ordinal"}
    if column not in ordinal:
        kinds = {c.label.name: c.label.kind for c in generator.spec.vocabulary.columns}
        found = f"{column!r} is {kinds[column]}" if column in kinds else f"unknown column {column!r}"
        raise InputError(Problem("sweep", found, ", ".join(ordinal) or "none: this generator has no ordinal column"))
    return ordinal[column].values


@torch.no_grad()
def redraw(
    subject: Subject,
    to: Said | None = None,
    config: EditConfig | None = None,
    mask: np.ndarray | None = None,
    variation: int = 0,
) -> Edit:
    """The subject drawn again from fresh noise: all of it from the noise level of `strength`, or a region from scratch.

    `variation` numbers the fresh noise. With `mask`, what lies outside stays as it is, bit by bit.
    """
    config = config or EditConfig()
    said = subject.changed(to or {})
    condition = subject.generator.condition([said]).to(subject.generator.device)
    noise = subject.noise("variation", variation)
    denoiser, sampler = _guide(subject.generator, condition), subject.generator.sampling.solve
    sigmas = _sigmas(subject, config.strength)
    if mask is None:
        x = rework(denoiser, subject.unit, noise, sigmas, condition, sampler)
        return _edit(subject, said, x, anew=True)
    region = _soft(subject, mask, config.feather)
    x = inpaint(denoiser, subject.unit, region.grid, noise, sigmas, condition, sampler, config.iterations)
    return _edit(subject, said, x, region, anew=True)


def _sigmas(subject: Subject, strength: float) -> Tensor:
    """The last steps of the schedule: this share of them, one at least."""
    sigmas = subject.generator.sampling.sigmas().to(subject.generator.device)
    steps = len(sigmas) - 1
    return sigmas[steps - max(2, round(strength * steps)) :]


def _state(subject: Subject, config: EditConfig) -> tuple[Tensor, Tensor]:
    """The rest of the schedule and the subject's state at its beginning, as unit noise."""
    generator, sigmas = subject.generator, _sigmas(subject, config.strength)
    denoiser, sampler = _guide(generator, subject.condition), generator.sampling.solve
    if not subject.drawn:
        return sigmas, invert(denoiser, subject.unit, sigmas, subject.condition, sampler, config.refine)
    whole = generator.sampling.sigmas().to(generator.device)
    above = whole[: len(whole) - len(sigmas) + 1]
    if len(above) == 1:
        return sigmas, subject.noise()
    return sigmas, sampler(denoiser, subject.noise(), above, subject.condition) / sigmas[0]


def _solve(subject: Subject, condition: Condition, state: Tensor, sigmas: Tensor) -> Tensor:
    return subject.generator.sampling.solve(_guide(subject.generator, condition), state, sigmas, condition)


def _guide(generator: Generator, condition: Condition) -> Denoiser:
    """The generator's denoiser, guided as it draws."""
    return generator.sampling.guide(generator.denoiser, generator.null_of(condition), generator.lacking(condition))


def _local_mask(subject: Subject, condition: Condition, config: EditConfig) -> Region:
    """Where the two conditions' predictions differ, under noise as large as the image's own spread."""
    noises = [subject.noise("probe", number) for number in range(config.probes)]
    sigma = 2 * subject.generator.spec.sigma_data
    difference = difference_map(subject.generator.denoiser, subject.unit, noises, sigma, subject.condition, condition)
    side = min(difference.shape[-2:])
    width = config.feather * side // min(subject.spec.size)
    grid = feather(difference_mask(difference, side / 32, config.threshold), width)
    if grid.shape[-2:] == subject.spec.size:
        return Region(grid, grid)
    return Region(F.interpolate(grid, subject.spec.size, mode="bilinear", align_corners=False), grid)


def _soft(subject: Subject, mask: np.ndarray, pixels: int) -> Region:
    """A user's mask with a soft edge; InputError when it is of another size or empty."""
    if mask.shape != subject.spec.size:
        found = " x ".join(map(str, mask.shape))
        raise InputError(Problem("mask", f"is {found} pixels", f"{_shape(subject.spec)}, as the image"))
    if not mask.any():
        raise InputError(Problem("mask", "is empty: no pixel may change", "at least one pixel that is not 0"))
    binary = torch.from_numpy(mask.astype(np.float32))[None, None].to(subject.generator.device)
    soft = feather(binary, pixels)
    return Region(soft, F.adaptive_max_pool2d(soft, subject.unit.shape[-2:]))


def _edit(subject: Subject, said: dict[str, Any], x: Tensor, region: Region | None = None, anew: bool = False) -> Edit:
    """Back to integers; what a region holds is taken from the original, whatever rounding would make of it.

    `anew` says that x was drawn, and is not the subject with a difference added.
    """
    generator = subject.generator
    spec, made = generator.image_of(said), generator.decoded(x[0])
    if generator.autoencoder is not None:
        original = generator.unit_pixels(subject.pixels, subject.spec)
        if not anew:
            made = original + (made - generator.decoded(subject.unit[0]))
        if region is not None:  # the grid is coarser than the region, and decoding looks beyond it
            made = original + region.pixels[0].cpu() * (made - original)
    pixels = generator.integers(made, spec)
    if region is None:
        return Edit(subject.pixels, pixels, said)
    mask = region.pixels[0, 0].cpu().numpy()
    keep = mask == 0
    pixels[keep] = subject.pixels[keep]
    return Edit(subject.pixels, pixels, said, mask)


def _shape(spec: ImageSpec) -> str:
    return f"{spec.rows} x {spec.columns}" + (f" x {spec.channels}" if spec.channels > 1 else "")
