"""The denoiser: a small U-Net that does its work at half resolution and below, for images and volumes.

The image enters as 2x2 (or 4x4) squares stacked into channels and leaves the same way: convolutions at full resolution
would take most of the time of a CPU and gain little (docs/decisions). Levels are joined by concatenation and a 1x1
convolution. Shape suffixes as in layers.py.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.diffusion.precondition import denoise
from synthcohort.models.condition import Condition, ConditionEmbedding, Vocabulary
from synthcohort.models.layers import (
    Attention,
    CrossAttention,
    Down,
    ResidualBlock,
    Up,
    channels_last,
    convolution,
    from_patches,
    group_norm,
    memory_format,
    padding_bias,
    sinusoid,
    to_patches,
    zero_,
)

Precision = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network. One entry per level, finest first; each level halves rows and columns.

    patch              side of the squares stacked into channels at the input: 1, 2 or 4
    channels           width of each level
    encoder_blocks     residual blocks of each level on the way down
    decoder_blocks     residual blocks of each level on the way up
    attention_levels   levels (0 is the finest) whose blocks are followed by self-attention
    embedding_width    width of the embedding of noise level and labels
    dropout            share of features dropped inside the residual blocks while training
    recompute          compute activations again on the way back instead of keeping them: less memory, slower
    """

    patch: int = 2
    channels: tuple[int, ...] = (64, 128, 256)
    encoder_blocks: tuple[int, ...] = (1, 1, 2)
    decoder_blocks: tuple[int, ...] = (1, 2, 2)
    attention_levels: tuple[int, ...] = (2,)
    embedding_width: int = 256
    dropout: float = 0.0
    recompute: bool = False

    def __post_init__(self) -> None:
        problems: list[Problem | str] = []
        levels = len(self.channels)
        if self.patch not in (1, 2, 4):
            problems.append(Problem("setting train.network.patch", str(self.patch), "1, 2, 4"))
        if not levels or any(c < 4 or c % 4 for c in self.channels):
            problems.append(
                Problem("setting train.network.channels", str(self.channels), "multiples of 4, one a level")
            )
        for name, blocks in (("encoder_blocks", self.encoder_blocks), ("decoder_blocks", self.decoder_blocks)):
            if len(blocks) != levels or any(n < 0 for n in blocks):
                problems.append(Problem(f"setting train.network.{name}", str(blocks), f"{levels} numbers, one a level"))
        if any(not 0 <= level < levels for level in self.attention_levels):
            problems.append(
                Problem(
                    "setting train.network.attention_levels", str(self.attention_levels), f"levels 0 to {levels - 1}"
                )
            )
        if self.embedding_width < 8 or self.embedding_width % 2:
            problems.append(
                Problem("setting train.network.embedding_width", str(self.embedding_width), "an even number from 8")
            )
        if not 0 <= self.dropout < 1:
            problems.append(Problem("setting train.network.dropout", str(self.dropout), "0 up to 1"))
        if problems:
            raise ConfigError(*problems)

    @property
    def multiple(self) -> int:
        """Every side of the images must be a multiple of this."""
        return int(self.patch * 2 ** (len(self.channels) - 1))

    def check_size(self, *size: int) -> None:
        """Raises ConfigError when images of this size do not halve evenly down to the coarsest level."""
        if any(side % self.multiple or side < 1 for side in size):
            found, allowed = " x ".join(map(str, size)), f"multiples of {self.multiple}"
            raise ConfigError(Problem("image size", found, allowed, "change train.size or train.network"))


class UNet(nn.Module):
    """The network F of the preconditioned denoiser: x [B, C, *X], noise number [B], condition -> like x.

    `size` is the largest one, of two or three numbers; x may have any other of multiples of `config.multiple`. Where
    the vocabulary has text, every self-attention is followed by cross-attention to the tokens of the condition.
    """

    def __init__(
        self, config: NetworkConfig, size: tuple[int, ...], image_channels: int, vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        config.check_size(*size)
        self.config, dimensions, width = config, len(size), config.embedding_width
        self.layout = memory_format(dimensions)
        planes, channels = image_channels * config.patch**dimensions, config.channels
        self.noise_embedding = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.condition_embedding = ConditionEmbedding(vocabulary, width)
        self.stem = convolution(dimensions, planes, channels[0], 3)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, c in enumerate(channels):
            level_size = tuple(side // config.patch >> level for side in size)
            for stages, count in (
                (self.encoder, config.encoder_blocks[level]),
                (self.decoder, config.decoder_blocks[level]),
            ):
                layers: list[nn.Module] = []
                for _ in range(count):
                    layers.append(ResidualBlock(c, width, config.dropout, dimensions))
                    if level in config.attention_levels:
                        layers.append(Attention(c, level_size))
                        if vocabulary.text_width is not None:
                            layers.append(CrossAttention(c, width, dimensions))
                stages.append(nn.ModuleList(layers))
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(Down(fine, coarse, dimensions) for fine, coarse in pairs)
        self.up = nn.ModuleList(Up(coarse, fine, dimensions) for fine, coarse in pairs)
        self.join = nn.ModuleList(convolution(dimensions, 2 * fine, fine, 1) for fine, _ in pairs)
        self.norm = group_norm(channels[0])
        self.head = zero_(convolution(dimensions, channels[0], planes, 3))

    def forward(self, x_BCX: Tensor, noise_B: Tensor, condition: Condition) -> Tensor:
        vector, context, mask = self.condition_embedding(condition)
        embedding = F.silu(self.noise_embedding(sinusoid(noise_B, 128)) + vector)
        attended = () if context is None else (context, padding_bias(mask))
        h = to_patches(x_BCX, self.config.patch).contiguous(memory_format=self.layout)
        h = self.stem(h)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            h = self._run(stage, h, embedding, attended)
            if level < len(self.down):
                skips.append(h)
                h = self.down[level](h)
        for level in reversed(range(len(self.decoder))):
            if level < len(self.up):
                h = self.join[level](torch.cat([self.up[level](h), skips[level]], dim=1))
            h = self._run(self.decoder[level], h, embedding, attended)
        return from_patches(self.head(self.norm(h, silu=True)), self.config.patch)

    def _run(self, stage: nn.Module, h: Tensor, embedding: Tensor, attended: tuple[Tensor, ...]) -> Tensor:
        assert isinstance(stage, nn.ModuleList)
        for layer in stage:
            given = {ResidualBlock: (embedding,), Attention: (), CrossAttention: attended}[type(layer)]
            h = checkpoint(layer, h, *given, use_reentrant=False) if self.config.recompute else layer(h, *given)
        return h


class Denoiser(nn.Module):
    """A network wrapped to `denoiser(x, sigma, condition) -> denoised`: float32 outside, `precision` inside."""

    def __init__(self, network: nn.Module, sigma_data: float, precision: Precision = "bfloat16") -> None:
        super().__init__()
        self.network = channels_last(network)
        self.sigma_data, self.precision = sigma_data, precision

    def forward(self, x_BCX: Tensor, sigma_B: Tensor, condition: Condition) -> Tensor:
        with torch.autocast(x_BCX.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return denoise(self.network, x_BCX, sigma_B, condition, self.sigma_data)
