"""Spaces that attacks on privacy measure distances in. None of them ever saw a training image while it was made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.seeds import rng
from synthcohort.evaluation.planted import KINDS
from synthcohort.imaging.intensity import ValueRange, value_range_of
from synthcohort.learning.features import ENCODERS, Encoder, features
from synthcohort.learning.pixels import Images

DETAIL = 32  # rows and columns of the detail space


@dataclass(frozen=True)
class Space:
    """A name for people, and images to vectors [N, V, D] in V views; kept in `cache` by pixels and code."""

    name: str
    see: Callable[[Images, ValueRange, Path], np.ndarray]
    linear: bool = False  # whether a linear discriminant means something there


def range_of(real: Cohort) -> ValueRange:
    """The real cohort's scale of intensities, on which all images are read."""
    return value_range_of(real.image(0).dtype, real.column("bits_stored"))


def packaged(images: Images, values: ValueRange, cache: Path) -> np.ndarray:
    """Features of the natural-image encoder, one view."""
    return features(images, replace(ENCODERS["packaged"](), value_range=values), cache)[:, None]


def detail(images: Images, values: ValueRange, cache: Path) -> np.ndarray:
    """Contrast-free fine detail at 32 pixels, as it is and mirrored: training may mirror images."""
    views = [features(images, _detail_encoder(mirror, values), cache) for mirror in (False, True)]
    return np.stack(views, axis=1)


def _detail_encoder(mirror: bool, values: ValueRange) -> Encoder:
    from torch import Tensor

    from synthcohort.learning.registration import local_detail

    def encode(x_B1SS: Tensor) -> Tensor:
        x = x_B1SS.flip(3) if mirror else x_B1SS
        return local_detail(x, fine=0.6, wide=3.0, least=0.02).flatten(1)

    name = "detail_mirrored" if mirror else "detail"
    return Encoder(name, f"{name}, {DETAIL} px, 0.6 to 3 px", encode, DETAIL, 1, batch=250, value_range=values)


SPACES = (
    Space("natural-image features", packaged, linear=True),
    Space("fine detail", detail),
)


def planted_images(members: Cohort, each: int, values: ValueRange, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Changed copies of members, `each` of every kind, and whose they are: positions [P], no member twice if enough."""
    generator = rng("planted members", seed)
    total = each * len(KINDS)
    order = generator.permutation(len(members))
    owners = np.resize(order, total)
    changes = [change for change in KINDS.values() for _ in range(each)]
    strangers = np.roll(owners, 1)  # for changes that blend with another person's image
    return [
        change(members.image(int(owner)), members.image(int(other)), values, generator)
        for change, owner, other in zip(changes, owners, strangers, strict=True)
    ], owners
