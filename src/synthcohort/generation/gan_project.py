"""Projection: the latent numbers whose image comes nearest to a given one. For the owner's own use.

A projection of a patient's image shows that patient: it is not synthetic, and never enters a cohort.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.config import require
from synthcohort.core.seeds import seed_from
from synthcohort.models.gan_generator import GanGenerator, unit_latent

LEVELS = 3  # sizes at which images are compared, each half as fine


@dataclass(frozen=True)
class ProjectConfig:
    """How a code is searched.

    starts   latent numbers that are searched from, side by side; the best is kept
    steps    steps of the search
    rate     learning rate at its highest; it falls to 0 as a cosine
    prior    weight of the latent numbers' mean square, which keeps them where images are drawn from
    """

    starts: int = 4
    steps: int = 200
    rate: float = 0.1
    prior: float = 1e-3

    def __post_init__(self) -> None:
        checks = [
            ("starts", self.starts >= 1, "1 or more"),
            ("steps", self.steps >= 1, "1 or more"),
            ("rate", self.rate > 0, "more than 0"),
            ("prior", self.prior >= 0, "0 or more"),
        ]
        require("projection ", self, checks)


@dataclass(frozen=True)
class Projection:
    """A code [1, latent + E], the root mean square error of its image, and of the nearest start's, in [-1, 1] units."""

    code: Tensor
    error: float
    error_before: float


def project(
    generator: GanGenerator,
    pixels: np.ndarray,
    said: Mapping[str, Any],
    config: ProjectConfig | None = None,
    seed: int = 0,
) -> Projection:
    """The latent numbers that, under the image's condition, draw what comes nearest to it.

    `pixels` are an image of the model's size and integer type. The same seed finds the same code.
    """
    config = config or ProjectConfig()
    network, device = generator.network, generator.device
    target = generator.to_unit(pixels, generator.image_of(said))[None].to(device)
    condition = generator.condition([said]).to(device).repeat(config.starts)
    seeds = [seed_from("projection", seed, i) for i in range(config.starts)]
    z = torch.stack([unit_latent(s, network.config.latent) for s in seeds]).to(device).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=config.rate)
    with torch.enable_grad():
        for step in range(config.steps):
            optimizer.param_groups[0]["lr"] = config.rate * 0.5 * (1 + float(np.cos(np.pi * step / config.steps)))
            errors = unlikeness(network(z, condition), target)
            if not step:
                before = errors.detach()
            (errors + config.prior * z.square().mean(1)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        codes = network.code(z.detach(), condition)
        made = torch.cat([generator.images_of(code[None]) for code in codes])
        found = (made - target.cpu()).square().mean((1, 2, 3)).sqrt()
        best = int(unlikeness(made, target.cpu()).argmin())
        nearest = int(before.argmin())
        start = generator.images_of(network.code(unit_latent(seeds[nearest], network.config.latent)[None].to(device),
                                                 condition[:1]))  # fmt: skip
    return Projection(codes[best : best + 1], float(found[best]), float((start - target.cpu()).square().mean().sqrt()))


def unlikeness(images: Tensor, target: Tensor) -> Tensor:
    """Mean square difference [B] at several sizes, so that structure counts beside single pixels."""
    total = torch.zeros(len(images), device=images.device)
    for level in range(LEVELS):
        if level:
            images, target = (F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (images, target))
        total = total + (images - target).square().flatten(1).mean(1)
    return total / LEVELS
