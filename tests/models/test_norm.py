"""Group normalization against torch's own, in every type, and its gradients against differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.models.norm import GroupNorm, normalized_by_torch


def norm(channels: int = 16, groups: int = 4) -> GroupNorm:
    torch.manual_seed(0)
    layer = GroupNorm(groups, channels)
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return layer


def reference(layer: GroupNorm, x: Tensor, scale: Tensor | None, shift: Tensor | None, silu: bool) -> Tensor:
    h = F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)
    if scale is not None and shift is not None:
        one = (1,) * (x.ndim - 2)
        h = h * (1 + scale.view(*scale.shape, *one)) + shift.view(*shift.shape, *one)
    return F.silu(h) if silu else h


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (4, 4, 8), (2, 3, 5)])
@pytest.mark.parametrize("film", [False, True])
@pytest.mark.parametrize("silu", [False, True])
def test_values_and_gradients_are_the_references(size: tuple[int, ...], film: bool, silu: bool) -> None:
    layer, x = norm(), (torch.randn(3, 16, *size) + 2).requires_grad_()
    scale, shift = torch.randn(2, 3, 16).requires_grad_() if film else (None, None)
    weight = torch.randn(3, 16, *size)
    results = []
    for out in (layer(x, scale, shift, silu), reference(layer, x, scale, shift, silu)):
        inputs = [x, layer.weight, layer.bias]
        results.append([out, *torch.autograd.grad((out * weight).sum(), inputs)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


def test_gradients_are_those_of_differences() -> None:
    layer = norm(8, 2).double()
    inputs = [torch.randn(2, 8, 2, 3).double(), *torch.randn(2, 2, 8).double()]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, scale, shift: layer(x, scale, shift, silu=True), inputs)


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_bfloat16_is_as_exact_as_torchs(offset: float) -> None:
    layer = norm(64, 16)
    x = (torch.randn(4, 64, 16, 16) + offset).bfloat16().contiguous(memory_format=torch.channels_last)
    exact = F.group_norm(x.double(), 16, layer.weight.double(), layer.bias.double())
    outs = layer(x), F.group_norm(x, 16, layer.weight, layer.bias)
    mine, theirs = (float((out.detach().double() - exact.detach()).square().mean().sqrt()) for out in outs)
    assert outs[0].dtype == torch.bfloat16
    assert mine < 2 * theirs if offset == 0 else mine < 0.03


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    layer, x = norm(), torch.randn(4, 16, 8, 8).bfloat16()
    changed = torch.cat([x[:1], torch.randn(3, 16, 8, 8).bfloat16()])
    assert torch.equal(layer(x)[0], layer(changed)[0])


def test_a_constant_image_gives_the_offset() -> None:
    layer = norm()
    out = layer(torch.full((2, 16, 8, 8), 100.0))
    torch.testing.assert_close(out, layer.bias.detach()[None, :, None, None].expand_as(out), atol=0.05, rtol=0)


def test_other_devices_get_the_same() -> None:
    layer, x, (scale, shift) = norm(), torch.randn(3, 16, 8, 8), torch.randn(2, 3, 16)
    gain, offset = layer.weight * (1 + scale), layer.bias * (1 + scale) + shift
    theirs = normalized_by_torch(x, gain, offset, layer.num_groups, layer.eps, True)
    torch.testing.assert_close(theirs, layer(x, scale, shift, silu=True), atol=2e-5, rtol=1e-4)
