"""The other denoiser: a transformer over patches, for images and volumes of any aspect ratio.

Each patch is a token. Noise level and condition scale and shift what every branch sees, and gate what it adds; the
gates start at zero (adaLN-Zero). The tokens of the condition stand among the keys and values of the self-attention:
text costs no attention of its own. Shape suffixes as in layers.py; W width of a token, P planes of a patch.
Source: Peebles & Xie 2023, "Scalable Diffusion Models with Transformers"; rotary positions: Su et al. 2021; normalized
queries and keys: Dehghani et al. 2023; gated layers: Shazeer 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from synthcohort.core.config import require
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.models.condition import Condition, ConditionEmbedding, Vocabulary
from synthcohort.models.layers import (
    attend,
    from_patches,
    heads,
    padding_bias,
    resized,
    rows,
    sinusoid,
    to_patches,
    zero_,
)

ROTARY_BASE = 100.0  # the slowest rotation takes 2 pi ROTARY_BASE patches: more than an image has on a side


@dataclass(frozen=True)
class TransformerConfig:
    """Size of the network.

    patch              side of the squares or cubes that become one token
    width              width of a token
    depth              number of blocks
    head_width         width of one attention head; it must divide `width`
    expansion          width of a block's hidden layer, as a multiple of `width`
    embedding_width    width of the embedding of noise level and condition
    dropout            share of hidden features dropped while training
    recompute          compute activations again on the way back instead of keeping them: less memory, slower
    """

    patch: int = 4
    width: int = 256
    depth: int = 6
    head_width: int = 64
    expansion: float = 3.0
    embedding_width: int = 256
    dropout: float = 0.0
    recompute: bool = False

    def __post_init__(self) -> None:
        checks = [
            ("patch", self.patch in (1, 2, 4, 8, 16), "1, 2, 4, 8, 16"),
            ("head_width", self.head_width >= 8 and self.head_width % 4 == 0, "a multiple of 4 from 8"),
            ("width", self.width >= 8 and self.width % max(1, self.head_width) == 0, "a multiple of head_width"),
            ("depth", self.depth >= 1, "1 or more"),
            ("expansion", self.expansion * self.width >= 1, "more than 0, for example 3"),
            ("embedding_width", self.embedding_width >= 8 and self.embedding_width % 2 == 0, "an even number from 8"),
            ("dropout", 0 <= self.dropout < 1, "0 up to 1"),
        ]
        require("setting train.transformer.", self, checks)

    @property
    def multiple(self) -> int:
        """Every side of the images must be a multiple of this."""
        return self.patch

    def check_size(self, *size: int) -> None:
        """Raises ConfigError when images of this size do not divide into patches."""
        if any(side % self.multiple or side < 1 for side in size):
            found, allowed = " x ".join(map(str, size)), f"multiples of {self.multiple}"
            raise ConfigError(Problem("image size", found, allowed, "change train.size or train.transformer.patch"))


class Transformer(nn.Module):
    """The network F of the preconditioned denoiser: x [B, C, *X], noise number [B], condition -> like x.

    `size` is the largest one, of two or three numbers; x may have any other of multiples of `config.multiple`.
    """

    def __init__(
        self, config: TransformerConfig, size: tuple[int, ...], image_channels: int, vocabulary: Vocabulary
    ) -> None:
        super().__init__()
        config.check_size(*size)
        self.config, width = config, config.embedding_width
        planes, grid = image_channels * config.patch ** len(size), tuple(side // config.patch for side in size)
        self.noise_embedding = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.condition_embedding = ConditionEmbedding(vocabulary, width)
        self.stem = nn.Linear(planes, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(1, config.width, *grid))
        self.blocks = nn.ModuleList(Block(config, vocabulary.text_width is not None) for _ in range(config.depth))
        self.modulation = zero_(nn.Linear(width, 2 * config.width))
        self.head = zero_(nn.Linear(config.width, planes))

    def forward(self, x_BCX: Tensor, noise_B: Tensor, condition: Condition) -> Tensor:
        vector, context, mask = self.condition_embedding(condition)
        embedding = F.silu(self.noise_embedding(sinusoid(noise_B, 128)) + vector)
        patches = to_patches(x_BCX, self.config.patch)
        grid = tuple(patches.shape[2:])
        h = self.stem(rows(patches))
        h = h + rows(resized(self.position, grid)).to(h.dtype)
        bias = None if mask is None else padding_bias(torch.cat([mask.new_ones(len(mask), h.shape[1]), mask], dim=1))
        rotation = rotary(grid, self.config.head_width, h.device)
        for block in self.blocks:
            given = (h, embedding, rotation, context, bias)
            h = checkpoint(block, *given, use_reentrant=False) if self.config.recompute else block(*given)
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=2)
        planes = self.head(modulated(h, scale, shift))
        return from_patches(planes.transpose(1, 2).unflatten(2, grid), self.config.patch)


class Block(nn.Module):
    """Self-attention, to patches and the condition's tokens, then a gated layer; both gated by the embedding."""

    def __init__(self, config: TransformerConfig, text: bool) -> None:
        super().__init__()
        width, hidden = config.width, round(config.expansion * config.width)
        self.heads = width // config.head_width
        self.modulation = zero_(nn.Linear(config.embedding_width, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.context_kv = nn.Linear(config.embedding_width, 2 * width) if text else None
        self.out = nn.Linear(width, width)
        self.rise = nn.Linear(width, 2 * hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.fall = nn.Linear(hidden, width)

    def forward(
        self, x_BNW: Tensor, embedding_BE: Tensor, rotation: Tensor, context_BSE: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(embedding_BE)[:, None].chunk(6, dim=2)
        q, k, v = heads(self.qkv(modulated(x_BNW, scale1, shift1)), self.heads, 3)
        q, k = rotated(normalized(q), rotation), rotated(normalized(k), rotation)
        if self.context_kv is not None and context_BSE is not None:
            more_k, more_v = heads(self.context_kv(context_BSE), self.heads, 2)
            k, v = torch.cat([k, normalized(more_k)], dim=2), torch.cat([v, more_v], dim=2)
        h = attend(q, k, v, bias).transpose(1, 2).flatten(2)
        x_BNW = torch.addcmul(x_BNW, gate1, self.out(h))
        gate, value = self.rise(modulated(x_BNW, scale2, shift2)).chunk(2, dim=2)
        return torch.addcmul(x_BNW, gate2, self.fall(self.dropout(F.silu(gate) * value)))


def normalized(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the last dimension; on a CPU faster than the root mean square alone."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulated(x_BNW: Tensor, scale_B1W: Tensor, shift_B1W: Tensor) -> Tensor:
    """The normalized tokens, scaled and shifted."""
    return torch.addcmul(shift_B1W, normalized(x_BNW), 1 + scale_B1W)


def rotary(grid: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    """Cosines and sines of the angle each pair of a head's features turns by at each patch: [2, N, width / 2] float32.

    The pairs are dealt out to the axes in turn; the angle grows with the distance from the middle of the axis, so
    products of queries and keys depend on the distance of their patches alone, at any size.
    """
    pairs, axes = width // 2, len(grid)
    steps = -(-pairs // axes)
    places = torch.meshgrid(*(torch.arange(n, device=device) - (n - 1) / 2 for n in grid), indexing="ij")
    speed = ROTARY_BASE ** (-torch.arange(steps, device=device) / steps)
    angles = torch.stack([place.flatten()[:, None] * speed for place in places], dim=2).flatten(1)[:, :pairs]
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x_BhNK: Tensor, rotation: Tensor) -> Tensor:
    """Each pair of features, one from either half, turned by its patch's angle."""
    cosine, sine = rotation.to(x_BhNK.dtype)
    first, second = x_BhNK.chunk(2, dim=3)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=3)
