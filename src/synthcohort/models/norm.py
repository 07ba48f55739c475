"""Group normalization that is cheap on a CPU: with scale, shift and SiLU in one function, in bfloat16.

Torch's own kernel needs up to half of the time of the convolution beside it where weights are float32, pixels bfloat16
and groups narrow (docs/decisions/0021-networks.md). Here sums over the pixels give one factor and one offset for each
image and channel, and everything else is a single multiply-add. Shape suffixes as in layers.py; G groups.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm, and after it `x * (1 + scale) + shift` ([B, C] each) and SiLU where asked for."""

    def forward(
        self, x_BCX: Tensor, scale_BC: Tensor | None = None, shift_BC: Tensor | None = None, silu: bool = False
    ) -> Tensor:
        with torch.autocast(x_BCX.device.type, enabled=False):
            gain, offset = self.weight.expand(len(x_BCX), -1), self.bias.expand(len(x_BCX), -1)
            if scale_BC is not None and shift_BC is not None:
                factor = 1 + scale_BC.to(gain.dtype)
                gain, offset = gain * factor, torch.addcmul(shift_BC.to(gain.dtype), offset, factor)
            normalize = _Normalize.apply if x_BCX.device.type == "cpu" else normalized_by_torch
            return normalize(x_BCX, gain, offset, self.num_groups, self.eps, silu)


def normalized_by_torch(x: Tensor, gain: Tensor, offset: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
    """What _Normalize gives, for devices on which torch's own kernels are fast."""
    h = F.group_norm(x, groups, eps=eps)
    h = torch.addcmul(_per_pixel(offset, h), h, _per_pixel(gain, h))
    return F.silu(h) if silu else h


class _Normalize(torch.autograd.Function):
    """Normalized within groups, times gain [B, C], plus offset [B, C], then SiLU where asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, offset: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        x = _channels_last(x)
        mean = _group_means(_sums(x), x, groups)
        variance = (_group_means(_sums(x * x), x, groups) - mean.square()).clamp(min=0)
        deviation = (variance + eps).sqrt()
        factor = gain / deviation
        z = torch.addcmul(_per_pixel(offset - mean * factor, x), x, _per_pixel(factor, x))
        ctx.save_for_backward(x, z if silu else None, gain, mean, deviation)
        ctx.groups, ctx.silu = groups, silu
        return F.silu(z) if silu else z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, z, gain, mean, deviation = ctx.saved_tensors
        grad = _channels_last(grad)
        if ctx.silu:
            grad = torch.ops.aten.silu_backward(grad, z)
        d_offset = _sums(grad)
        d_gain = (_sums(grad * x) - mean * d_offset) / deviation
        # dx = (gain grad - its mean - normalized x times the mean of their product) / deviation, means over the group
        along = _group_means(gain * d_gain, x, ctx.groups) / deviation.square()
        level = _group_means(gain * d_offset, x, ctx.groups) / deviation - along * mean
        d_x = torch.addcmul(_per_pixel(-level, x), x, _per_pixel(-along, x))
        return d_x.addcmul_(grad, _per_pixel(gain / deviation, x)), d_gain, d_offset, None, None, None


def _channels_last(x: Tensor) -> Tensor:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    return x.contiguous() if layout is None else x.contiguous(memory_format=layout)


def _per_pixel(values_BC: Tensor, x: Tensor) -> Tensor:
    """[B, C] as [B, C, 1, ...] in the type of x."""
    return values_BC.to(x.dtype).view(*values_BC.shape, *[1] * (x.ndim - 2))


def _sums(x_BCX: Tensor) -> Tensor:
    """Sums over pixels, [B, C] float32. In bfloat16 eight parts are summed first: fast, and rounded in eight places."""
    x_BNC = x_BCX.flatten(2).transpose(1, 2)
    B, N, C = x_BNC.shape
    if x_BNC.dtype == torch.bfloat16 and N >= 64 and N % 8 == 0:
        x_BNC = x_BNC.reshape(B, 8, N // 8, C).sum(2)
    return x_BNC.sum(1, dtype=torch.promote_types(x_BNC.dtype, torch.float32))


def _group_means(sums_BC: Tensor, x: Tensor, groups: int) -> Tensor:
    """The mean over all pixels and channels of a group, for each of its channels: [B, C]."""
    sums_BGc = sums_BC.unflatten(1, (groups, -1))
    count = sums_BGc.shape[2] * (x[0, 0].numel())
    return (sums_BGc.sum(2, keepdim=True) / count).expand_as(sums_BGc).flatten(1)
