"""Editing with a GAN: the same latent numbers under another condition, or moved along a direction.

As with diffusion, what two codes give is compared and the difference added to the subject: an unchanged code gives it
back bit by bit, and what the model cannot draw of a real image stays. A real image is first projected (gan_project).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import InputError, Problem
from synthcohort.diffusion.regions import feather
from synthcohort.generation.edit import Edit, EditConfig, Said, Subject, sweep_values
from synthcohort.generation.gan_directions import Direction
from synthcohort.generation.gan_project import ProjectConfig, Projection, project
from synthcohort.models.gan_generator import GanGenerator

FEATHER = 2  # pixels over which the edge of a region is soft, inside it


class GanSubject:
    """An image to edit with a GAN, and the code it is drawn from, or that comes nearest to it."""

    def __init__(self, subject: Subject, config: ProjectConfig | None = None) -> None:
        if not isinstance(subject.generator, GanGenerator):
            raise ValueError("a GAN's edits need a GAN")
        self.subject, self.generator = subject, subject.generator
        self.projection: Projection | None = None
        if subject.drawn:
            self.code = self.generator.codes(subject.condition, [subject.seed])
        else:
            self.projection = project(self.generator, subject.pixels, subject.said, config, subject.seed)
            self.code = self.projection.code
        self.before = self.generator.images_of(self.code)

    @property
    def nearness(self) -> dict[str, Any]:
        """How near its drawn image lies to a real one, as root mean square in shares of the value range."""
        found = self.projection
        if found is None:
            return {}
        start = found.error_before / 2
        return {"projection": {"error": round(found.error / 2, 4), "error_of_the_nearest_start": round(start, 4)}}

    @property
    def latent(self) -> Tensor:
        """The latent numbers [1, latent]."""
        return self.code[:, : self.generator.network.config.latent]

    def under(self, said: Said) -> Tensor:
        """The code of the same latent numbers under another condition."""
        condition = self.generator.condition([said]).to(self.generator.device)
        with torch.no_grad():
            return self.generator.network.code(self.latent, condition)

    def edited(self, said: Said, code: Tensor, mask: np.ndarray | None) -> Edit:
        """The subject plus the difference that a code makes, inside the mask where there is one."""
        subject, difference = self.subject, self.generator.images_of(code) - self.before
        region = None if mask is None else _soft(mask, subject.spec.size)
        x = subject.unit.cpu() + (difference if region is None else region * difference)
        pixels = self.generator.from_unit(x[0], self.generator.image_of(said))
        if region is None:
            return Edit(subject.pixels, pixels, dict(said))
        inside = region[0, 0].numpy()
        pixels[inside == 0] = subject.pixels[inside == 0]
        return Edit(subject.pixels, pixels, dict(said), inside)


def _soft(mask: np.ndarray, size: tuple[int, int]) -> Tensor:
    """A mask with a soft edge [1, 1, H, W]; InputError when it is of another size or empty."""
    if mask.shape != size:
        found = " x ".join(map(str, mask.shape))
        raise InputError(Problem("mask", f"is {found} pixels", f"{size[0]} x {size[1]}, as the image"))
    if not mask.any():
        raise InputError(Problem("mask", "is empty: no pixel may change", "at least one pixel that is not 0"))
    return feather(torch.from_numpy(mask.astype(np.float32))[None, None], FEATHER)


def gan_edits(
    subject: Subject,
    to: Said,
    column: str | None = None,
    fresh: bool = False,
    config: EditConfig | None = None,
    mask: np.ndarray | None = None,
) -> tuple[list[Edit], dict[str, Any]]:
    """What `synthcohort edit` asks of a GAN: another condition, or every value of `column`; and how near it starts.

    Raises InputError for what only a diffusion model can do: fresh noise, part of the strength, a mask of its own.
    """
    check_options(config, fresh)
    own = GanSubject(subject)
    return (gan_sweep(own, column, mask=mask) if column is not None else gan_change(own, [to], mask)), own.nearness


def check_options(config: EditConfig | None, fresh: bool = False) -> None:
    """Raises InputError for what only a diffusion model can do."""
    settings = config or EditConfig()
    asked = [
        ("--variation, or --mask alone,", fresh),
        ("--local", settings.local),
        ("--strength", settings.strength != EditConfig().strength),
    ]
    problems = [
        Problem(name, "given for a GAN", "leave it out, or edit with a diffusion model") for name, said in asked if said
    ]
    if problems:
        raise InputError(*problems)


def gan_change(subject: GanSubject, to: Sequence[Said], mask: np.ndarray | None = None) -> list[Edit]:
    """The subject as it would look under each of other conditions: the same latent numbers.

    Raises InputError for unknown conditions and a mask of another size or empty.
    """
    conditions = [subject.subject.changed(said) for said in to]
    return [subject.edited(said, subject.under(said), mask) for said in conditions]


def gan_sweep(subject: GanSubject, column: str, between: int = 0, mask: np.ndarray | None = None) -> list[Edit]:
    """The subject under every value of an ordinal column in order, with `between` steps from each to the next.

    A step between two values is their codes' mixture, and is said to be the nearer value. Raises InputError for another
    kind of column.
    """
    values = sweep_values(subject.generator, column)
    said = [subject.subject.changed({column: value}) for value in values]
    codes = [subject.under(one) for one in said]
    edits = [subject.edited(said[0], codes[0], mask)]
    for k in range(len(values) - 1):
        for step in range(1, between + 2):
            share = step / (between + 1)
            code = codes[k + 1] if share == 1 else torch.lerp(codes[k], codes[k + 1], share)
            edits.append(subject.edited(said[k + round(share)], code, mask))
    return edits


def gan_move(
    subject: GanSubject, direction: Direction, amounts: Sequence[float], mask: np.ndarray | None = None
) -> list[Edit]:
    """The subject moved along a direction of the latent numbers, so that its reading changes by each amount.

    The condition stays what it was. Raises InputError for a direction that hardly changes the reading.
    """
    edit = partial(subject.edited, subject.subject.said)
    return [edit(moved(subject.code, direction.step(amount)), mask) for amount in amounts]


def moved(code: Tensor, step: np.ndarray) -> Tensor:
    """The code [1, latent + E] with its latent numbers moved by a step [latent]."""
    result = code.clone()
    result[:, : len(step)] += torch.from_numpy(step).to(code)
    return result
