"""The blocks of the denoiser.

Shape suffixes: B images, C channels, H rows, W columns, E width of the embedding, N tokens (H*W), D width of a head.
Everything is laid out channels_last, which is what makes the convolutions fast in bfloat16 on a CPU.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalization with at least four channels in a group."""
    groups = next(g for g in range(min(16, max(1, channels // 4)), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


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


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; the embedding scales and shifts between them.

    Source: Dhariwal & Nichol 2021, adaptive group normalization.
    """

    def __init__(self, channels: int, embedding_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(embedding_width, 2 * channels)
        self.norm2 = group_norm(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x_BCHW: Tensor, embedding_BE: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x_BCHW)))
        scale, shift = self.film(embedding_BE)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x_BCHW + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over all pixels, with a learned position: patients lie in the scanner the same way."""

    def __init__(self, channels: int, size: tuple[int, int], head_width: int = 64) -> None:
        super().__init__()
        self.heads = max(1, channels // head_width)
        self.norm = group_norm(channels)
        self.position = nn.Parameter(torch.zeros(1, channels, *size))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_(nn.Conv2d(channels, channels, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C, H, W = x_BCHW.shape
        qkv = self.qkv(self.norm(x_BCHW) + self.position.to(x_BCHW.dtype))
        qkv_BNC = qkv.permute(0, 2, 3, 1).reshape(B, H * W, 3, self.heads, C // self.heads)
        q, k, v = qkv_BNC.permute(2, 0, 3, 1, 4)  # each [B, heads, N, D]
        h = attend(q, k, v)
        return x_BCHW + self.out(h.transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2))


def attend(q_BhND: Tensor, k_BhND: Tensor, v_BhND: Tensor) -> Tensor:
    """softmax(q k / sqrt(D)) v; for few tokens plain products are several times faster on a CPU than the kernel."""
    if q_BhND.shape[2] > 256:
        return F.scaled_dot_product_attention(q_BhND, k_BhND, v_BhND)
    weights = (q_BhND * q_BhND.shape[3] ** -0.5) @ k_BhND.transpose(2, 3)
    return weights.softmax(dim=3) @ v_BhND


class Down(nn.Module):
    """Halve rows and columns: each 2x2 square becomes one pixel."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 2, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(x_BCHW)


class Up(nn.Module):
    """Double rows and columns: the channels are reduced while the image is small, then each pixel is repeated."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.interpolate(self.conv(x_BCHW), scale_factor=2, mode="nearest")
