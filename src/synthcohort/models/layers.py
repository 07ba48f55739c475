"""The blocks of the denoiser, for images (two spatial dimensions) and volumes (three).

Shape suffixes: B images, C channels, X the spatial sizes (H, W or D, H, W), E width of the embedding, N pixels as
tokens, S tokens of the condition, h heads, K width of a head. Everything is laid out channels last, which is what makes
the convolutions fast in bfloat16 on a CPU.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.models.norm import GroupNorm

# On a CPU plain products are two to eight times faster than the fused kernel; beyond this their weights fill memory.
MANY_TOKENS = 1024
QUERIES = 256  # their weights fit the processor's cache


def convolution(dimensions: int, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution over images (2) or volumes (3) that keeps the size at stride 1."""
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    return kind(channels_in, channels_out, kernel, stride=stride, padding=(kernel - 1) // 2 if stride == 1 else 0)


def memory_format(dimensions: int) -> torch.memory_format:
    """Channels last, for images (2) or volumes (3)."""
    return {2: torch.channels_last, 3: torch.channels_last_3d}[dimensions]


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with the weights of its convolutions laid out channels last."""
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=memory_format(parameter.ndim - 2))
    return network


def group_norm(channels: int) -> GroupNorm:
    """Group normalization with at least four channels in a group."""
    groups = next(g for g in range(min(16, max(1, channels // 4)), 0, -1) if channels % g == 0)
    return GroupNorm(groups, channels)


def zero_(module: nn.Module) -> nn.Module:
    """Set all weights of `module` to zero: the residual branch it ends starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def sinusoid(x_B: Tensor, width: int, lowest: float = 0.05, highest: float = 20.0) -> Tensor:
    """Fourier features of numbers of about unit size: [B] -> [B, width], cosines then sines, frequencies spread."""
    frequency = torch.exp(torch.linspace(math.log(lowest), math.log(highest), width // 2, device=x_B.device))
    phase = 2 * math.pi * x_B.float()[:, None] * frequency
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def to_patches(x_BCX: Tensor, patch: int) -> Tensor:
    """Squares or cubes of `patch` pixels a side become one pixel with more channels: a first, its pixels within."""
    if x_BCX.ndim == 4:
        return F.pixel_unshuffle(x_BCX, patch)
    B, C, D, H, W = x_BCX.shape
    cubes = x_BCX.reshape(B, C, D // patch, patch, H // patch, patch, W // patch, patch)
    return cubes.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(B, C * patch**3, D // patch, H // patch, W // patch)


def from_patches(x_BCX: Tensor, patch: int) -> Tensor:
    """The inverse of `to_patches`."""
    if x_BCX.ndim == 4:
        return F.pixel_shuffle(x_BCX, patch)
    B, C, D, H, W = x_BCX.shape
    cubes = x_BCX.reshape(B, C // patch**3, patch, patch, patch, D, H, W)
    return cubes.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(B, C // patch**3, D * patch, H * patch, W * patch)


def resized(position_1CX: Tensor, size: tuple[int, ...]) -> Tensor:
    """Learned positions for another size: interpolated, so that a relative place keeps its meaning."""
    if position_1CX.shape[2:] == size:
        return position_1CX
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(position_1CX, size=size, mode=mode, align_corners=False)


class ResidualBlock(nn.Module):
    """Two convolutions of side 3; the embedding scales and shifts between them.

    Source: Dhariwal & Nichol 2021, adaptive group normalization.
    """

    def __init__(self, channels: int, embedding_width: int, dropout: float = 0.0, dimensions: int = 2) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = convolution(dimensions, channels, channels, 3)
        self.film = nn.Linear(embedding_width, 2 * channels)
        self.norm2 = group_norm(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_(convolution(dimensions, channels, channels, 3))

    def forward(self, x_BCX: Tensor, embedding_BE: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x_BCX, silu=True))
        scale, shift = self.film(embedding_BE).chunk(2, dim=1)
        return x_BCX + self.conv2(self.dropout(self.norm2(h, scale, shift, silu=True)))


def head_count(channels: int, head_width: int) -> int:
    """How many heads of at least this width the channels divide into."""
    return next(count for count in range(max(1, channels // head_width), 0, -1) if channels % count == 0)


class Attention(nn.Module):
    """Self-attention over all pixels, with a learned position: patients lie in the scanner the same way.

    `size` is the largest one; for others the positions are interpolated.
    """

    def __init__(self, channels: int, size: tuple[int, ...], head_width: int = 64) -> None:
        super().__init__()
        self.heads = head_count(channels, head_width)
        self.norm = group_norm(channels)
        self.position = nn.Parameter(torch.zeros(1, channels, *size))
        self.qkv = convolution(len(size), channels, 3 * channels, 1)
        self.out = zero_(convolution(len(size), channels, channels, 1))

    def forward(self, x_BCX: Tensor) -> Tensor:
        size = tuple(x_BCX.shape[2:])
        qkv = self.qkv(self.norm(x_BCX) + resized(self.position, size).to(x_BCX.dtype))
        q, k, v = heads(rows(qkv), self.heads, 3)
        return x_BCX + self.out(pixels(attend(q, k, v), size))


class CrossAttention(nn.Module):
    """Pixels look at the tokens of the condition: queries from pixels, keys and values from tokens.

    `bias` [B, 1, 1, S] is added to the weights before the softmax (`padding_bias`). Starts as the identity.
    """

    def __init__(self, channels: int, context_width: int, dimensions: int = 2, head_width: int = 64) -> None:
        super().__init__()
        self.heads = head_count(channels, head_width)
        self.norm = group_norm(channels)
        self.query = convolution(dimensions, channels, channels, 1)
        self.key_value = nn.Linear(context_width, 2 * channels)
        self.out = zero_(convolution(dimensions, channels, channels, 1))

    def forward(self, x_BCX: Tensor, context_BSE: Tensor, bias_B11S: Tensor) -> Tensor:
        (q,) = heads(rows(self.query(self.norm(x_BCX))), self.heads, 1)
        k, v = heads(self.key_value(context_BSE), self.heads, 2)
        return x_BCX + self.out(pixels(attend(q, k, v, bias_B11S), tuple(x_BCX.shape[2:])))


def rows(x_BCX: Tensor) -> Tensor:
    """Pixels as tokens, [B, N, C]; no copy where the channels lie last."""
    return x_BCX.flatten(2).transpose(1, 2)


def pixels(x_BhNK: Tensor, size: tuple[int, ...]) -> Tensor:
    """The heads side by side and the tokens back in place: [B, C, *size]."""
    B, h, N, K = x_BhNK.shape
    return x_BhNK.transpose(1, 2).reshape(B, N, h * K).transpose(1, 2).unflatten(2, size)


def heads(x_BNC: Tensor, count: int, parts: int) -> tuple[Tensor, ...]:
    """`parts` tensors [B, heads, N, K] from tokens that hold them side by side."""
    B, N, C = x_BNC.shape
    return tuple(x_BNC.reshape(B, N, parts, count, C // parts // count).permute(2, 0, 3, 1, 4))


def padding_bias(mask_BS: Tensor) -> Tensor:
    """0 where there is a token and so little where there is none that its weight is 0: [B, 1, 1, S].

    It is finite, so that a row without any token gives numbers (the mean of its padding), not NaN.
    """
    return torch.zeros(mask_BS.shape, device=mask_BS.device).masked_fill(~mask_BS, -1e4)[:, None, None, :]


def attend(q_BhNK: Tensor, k_BhSK: Tensor, v_BhSK: Tensor, bias_B11S: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(K) + bias) v; on a CPU by plain products, some queries at a time, up to MANY_TOKENS."""
    bias = None if bias_B11S is None else bias_B11S.to(q_BhNK.dtype)
    if q_BhNK.device.type != "cpu" or max(q_BhNK.shape[2], k_BhSK.shape[2]) > MANY_TOKENS:
        return F.scaled_dot_product_attention(q_BhNK, k_BhSK, v_BhSK, attn_mask=bias)
    parts = [_attend(q, k_BhSK, v_BhSK, bias) for q in q_BhNK.split(QUERIES, dim=2)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _attend(q_BhNK: Tensor, k_BhSK: Tensor, v_BhSK: Tensor, bias: Tensor | None) -> Tensor:
    weights = (q_BhNK * q_BhNK.shape[3] ** -0.5) @ k_BhSK.transpose(2, 3)
    if bias is not None:
        weights = weights + bias
    return weights.softmax(dim=3) @ v_BhSK


class Down(nn.Module):
    """Halve every side: each square or cube of two pixels a side becomes one pixel."""

    def __init__(self, channels_in: int, channels_out: int, dimensions: int = 2) -> None:
        super().__init__()
        self.conv = convolution(dimensions, channels_in, channels_out, 2, stride=2)

    def forward(self, x_BCX: Tensor) -> Tensor:
        return self.conv(x_BCX)


class Up(nn.Module):
    """Double every side: the channels are reduced while the image is small, then each pixel is repeated."""

    def __init__(self, channels_in: int, channels_out: int, dimensions: int = 2) -> None:
        super().__init__()
        self.conv = convolution(dimensions, channels_in, channels_out, 1)

    def forward(self, x_BCX: Tensor) -> Tensor:
        return F.interpolate(self.conv(x_BCX), scale_factor=2, mode="nearest")
