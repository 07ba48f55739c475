"""The two networks of a GAN: one draws an image from a code, the other scores how real an image is.

Words: the *code* of an image is its latent numbers, unit normal, beside an embedding of its condition; a *stage* works
at one size, each half as fine as the next; the *basis* is the learned picture at the coarsest size that a code
scales. Sizes need not be powers of two: stages halve upwards (33 -> 17 -> 9 -> 5), any aspect ratio.

`modern`: residual blocks without any normalization, the last layer of each zero at the start, bilinear resampling,
leaky ReLU. Source: Huang et al. 2024 (2501.05441), section 4; fix-up: Zhang et al. 2019. Two things differ: blocks are
narrow inside and their convolution is full, where theirs are wide and grouped, which processors do at half the speed;
and the first and last convolutions have side 3, not 1, so that the squares of pixels they stack leave no lattice.
`wgan_gp`: residual blocks of two full convolutions with ReLU, nearest resampling, tanh. Source: Gulrajani et al. 2017
(1704.00028), appendix; group normalization in place of batch normalization, so that an image does not depend on those
it is drawn with. Shape suffixes: B images, C channels, H rows, W columns, E width of the embedding.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.config import require
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.models.condition import Condition, ConditionEmbedding, Vocabulary
from synthcohort.models.denoiser import Precision
from synthcohort.models.layers import channels_last, from_patches, group_norm, to_patches, zero_

Preset = Literal["modern", "wgan_gp"]

NARROW = 2  # outer width of a block over its inner width
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through a leaky ReLU
COARSEST = 4  # the smaller side of the coarsest stage has 4 to 7 pixels
LARGEST = 1024


@dataclass(frozen=True)
class GanNetworkConfig:
    """Size of both networks.

    latent           numbers that an image is drawn from
    channels         width of the finest stage; each coarser one has twice as many
    most             the widest that a stage becomes
    blocks           residual blocks of each stage
    embedding_width  width of the embedding of the condition
    patch            side of the squares of pixels that are stacked into channels at the image's end: 1, 2 or 4
    """

    latent: int = 64
    channels: int = 64
    most: int = 256
    blocks: int = 1
    embedding_width: int = 128
    patch: int = 2

    def __post_init__(self) -> None:
        checks = [
            ("latent", self.latent >= 2, "2 or more"),
            ("channels", self.channels >= 8 and self.channels % 8 == 0, "multiples of 8"),
            ("most", self.most >= self.channels and self.most % 8 == 0, "multiples of 8, gan.network.channels or more"),
            ("blocks", self.blocks >= 1, "1 or more"),
            ("embedding_width", self.embedding_width >= 8 and self.embedding_width % 2 == 0, "an even number from 8"),
            ("patch", self.patch in (1, 2, 4), "1, 2, 4"),
        ]
        require("setting gan.network.", self, checks)

    def check_size(self, rows: int, columns: int) -> None:
        """Raises ConfigError when images of this size cannot be drawn."""
        least, sides = COARSEST * self.patch, (rows, columns)
        if any(side % self.patch or not least <= side <= LARGEST for side in sides):
            found = f"{rows} x {columns}"
            allowed = f"multiples of {self.patch} from {least} to {LARGEST}"
            raise ConfigError(Problem("image size", found, allowed, "change gan.size or gan.network.patch"))

    def grids(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Rows and columns of every stage, finest first."""
        found = [(size[0] // self.patch, size[1] // self.patch)]
        while min(found[-1]) >= 2 * COARSEST:
            found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
        return found

    def widths(self, stages: int) -> list[int]:
        """Channels of every stage, finest first."""
        return [min(self.channels * 2**stage, self.most) for stage in range(stages)]


class BottleneckBlock(nn.Module):
    """x + 1x1 . lrelu . 3x3 . lrelu . 1x1: adds nothing at the start. `depth` is the network's blocks."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        inner = channels // NARROW
        self.narrow = nn.Conv2d(channels, inner, 1)
        self.mixed = nn.Conv2d(inner, inner, 3, padding=1)
        self.wide = zero_(nn.Conv2d(inner, channels, 1, bias=False))
        scale = depth**-0.25  # fix-up: L ** (-1 / (2 m - 2)) with m = 3 layers in a branch
        for layer in (self.narrow, self.mixed):
            _normal(layer, GAIN * scale)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = F.leaky_relu(self.narrow(x_BCHW), SLOPE)
        return x_BCHW + self.wide(F.leaky_relu(self.mixed(h), SLOPE))


class PlainBlock(nn.Module):
    """x + two full convolutions of side 3, each after (a normalization and) ReLU."""

    def __init__(self, channels: int, normalized: bool) -> None:
        super().__init__()
        self.norm1 = group_norm(channels) if normalized else None
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = group_norm(channels) if normalized else None
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.conv1, self.conv2):
            _normal(layer, math.sqrt(2.0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = self.conv1(F.relu(x_BCHW if self.norm1 is None else self.norm1(x_BCHW)))
        return x_BCHW + self.conv2(F.relu(h if self.norm2 is None else self.norm2(h)))


def _normal(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Weights that keep the variance times gain squared, biases 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _blocks(preset: Preset, channels: int, count: int, depth: int, normalized: bool) -> nn.Sequential:
    if preset == "modern":
        return nn.Sequential(*(BottleneckBlock(channels, depth) for _ in range(count)))
    return nn.Sequential(*(PlainBlock(channels, normalized) for _ in range(count)))


class GeneratorNetwork(nn.Module):
    """Latent numbers z [B, latent] and a condition to images [B, C, *size], float32 in about [-1, 1]."""

    def __init__(
        self, preset: Preset, config: GanNetworkConfig, size: tuple[int, int], channels: int, vocabulary: Vocabulary,
        precision: Precision = "bfloat16",
    ) -> None:  # fmt: skip
        super().__init__()
        config.check_size(*size)
        self.preset, self.config, self.precision = preset, config, precision
        self.grids = config.grids(size)[::-1]  # coarsest first
        widths = config.widths(len(self.grids))[::-1]
        depth = config.blocks * len(widths)
        self.condition_embedding = ConditionEmbedding(vocabulary, config.embedding_width)
        self.embed = nn.Linear(config.embedding_width, config.embedding_width, bias=False)
        self.basis = nn.Parameter(torch.randn(widths[0], *self.grids[0]))
        self.scale = nn.Linear(config.latent + config.embedding_width, widths[0], bias=False)
        self.narrow = nn.ModuleList(
            nn.Identity() if a == b else nn.Conv2d(a, b, 1, bias=False) for a, b in itertools.pairwise(widths)
        )
        self.stages = nn.ModuleList(_blocks(preset, width, config.blocks, depth, normalized=True) for width in widths)
        self.norm = group_norm(widths[-1]) if preset == "wgan_gp" else None
        self.head = nn.Conv2d(widths[-1], channels * config.patch**2, 3, padding=1)
        for layer in (self.embed, self.scale, self.head, *self.narrow):
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                _normal(layer, 1.0)
        channels_last(self)

    def code(self, z: Tensor, condition: Condition) -> Tensor:
        """[B, latent + E] what an image is drawn from."""
        vector, _, _ = self.condition_embedding(condition)
        return torch.cat([z, self.embed(vector)], dim=1)

    def synthesize(self, code: Tensor) -> Tensor:
        """Images of codes."""
        scale = self.scale(code)[:, :, None, None]
        h = (scale * self.basis).contiguous(memory_format=torch.channels_last)
        with torch.autocast(code.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            for number, stage in enumerate(self.stages):
                if number:
                    h = self._up(self.narrow[number - 1](h), self.grids[number])
                h = stage(h)
            if self.norm is not None:
                h = F.relu(self.norm(h))
            image = from_patches(self.head(h), self.config.patch).to(code.dtype)
        return torch.tanh(image) if self.preset == "wgan_gp" else image

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        return self.synthesize(self.code(z, condition))

    def _up(self, h: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.preset == "modern":
            return F.interpolate(h, size=grid, mode="bilinear", align_corners=False)
        return F.interpolate(h, size=grid, mode="nearest")


class DiscriminatorNetwork(nn.Module):
    """Images [B, C, *size] and their condition to scores [B], float32: the more real, the higher.

    A score is that of the image alone plus how its features lie along the condition's embedding.
    Source: Miyato & Koyama 2018 (1802.05637), equation 3.
    """

    def __init__(
        self, preset: Preset, config: GanNetworkConfig, size: tuple[int, int], channels: int, vocabulary: Vocabulary,
        precision: Precision = "bfloat16",
    ) -> None:  # fmt: skip
        super().__init__()
        config.check_size(*size)
        self.config, self.precision, self.preset = config, precision, preset
        grids = config.grids(size)
        widths = config.widths(len(grids))
        depth, width = config.blocks * len(widths), config.embedding_width
        self.stem = nn.Conv2d(channels * config.patch**2, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_blocks(preset, c, config.blocks, depth, normalized=False) for c in widths)
        self.widen = nn.ModuleList(
            nn.Identity() if a == b else nn.Conv2d(a, b, 1, bias=False) for a, b in itertools.pairwise(widths)
        )
        self.basis = nn.Parameter(torch.randn(widths[-1], *grids[-1]) / math.sqrt(grids[-1][0] * grids[-1][1]))
        self.features = nn.Linear(widths[-1], width)
        self.score = nn.Linear(width, 1)
        self.condition_embedding = ConditionEmbedding(vocabulary, width)
        self.embed = nn.Linear(width, width, bias=False)
        for layer in (self.stem, self.features, self.score, self.embed, *self.widen):
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                _normal(layer, 1.0)
        channels_last(self)

    def forward(self, x_BCHW: Tensor, condition: Condition) -> Tensor:
        with torch.autocast(x_BCHW.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            h = to_patches(x_BCHW, self.config.patch).contiguous(memory_format=torch.channels_last)
            h = self.stem(h)
            for number, stage in enumerate(self.stages):
                if number:
                    h = self.widen[number - 1](halved(h))
                h = stage(h)
        features = self.features((h.to(self.basis.dtype) * self.basis).sum((2, 3)))
        if self.preset == "wgan_gp":
            features = F.relu(features)
        vector, _, _ = self.condition_embedding(condition)
        along = (features * self.embed(vector)).sum(1) / math.sqrt(features.shape[1])
        return self.score(features)[:, 0] + along


def halved(x_BCHW: Tensor) -> Tensor:
    """Half as many rows and columns, rounded up: bilinear resampling, which is the mean of two by two pixels."""
    return F.avg_pool2d(x_BCHW, 2, ceil_mode=True, count_include_pad=False)
