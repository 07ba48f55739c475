"""The blocks of the denoiser."""

import pytest
import torch
import torch.nn.functional as F

from synthcohort.models.layers import (
    Attention,
    CrossAttention,
    Down,
    ResidualBlock,
    Up,
    attend,
    from_patches,
    group_norm,
    head_count,
    padding_bias,
    resized,
    sinusoid,
    to_patches,
)


def test_attention_is_the_reference_at_few_and_many_tokens() -> None:
    torch.manual_seed(0)
    for tokens in (16, 300, 1100):
        q, k, v = torch.randn(3, 2, 4, tokens, 8)
        torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pixels", [9, 300, 1100])
def test_masked_tokens_count_for_nothing(pixels: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, pixels, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)
    mask = torch.tensor([[True] * 4 + [False] * 3, [True] * 7])
    out = attend(q, k, v, padding_bias(mask))
    first = F.scaled_dot_product_attention(q[:1], k[:1, :, :4], v[:1, :, :4])
    torch.testing.assert_close(out, torch.cat([first, attend(q[1:], k[1:], v[1:])]), atol=1e-5, rtol=1e-4)
    k[0, :, 4:], v[0, :, 4:] = 50.0, 50.0
    assert torch.equal(attend(q, k, v, padding_bias(mask)), out)


def test_a_row_without_any_token_gives_numbers() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 8)
    assert bool(attend(q, k, v, padding_bias(torch.zeros(1, 5, dtype=torch.bool))).isfinite().all())


@pytest.mark.parametrize("size", [(4, 6), (2, 4, 6)])
def test_residual_branches_start_as_the_identity(size: tuple[int, ...]) -> None:
    x, dimensions = torch.randn(2, 16, *size), len(size)
    assert torch.equal(ResidualBlock(16, 8, dimensions=dimensions)(x, torch.randn(2, 8)), x)
    assert torch.equal(Attention(16, size)(x), x)
    context, bias = torch.randn(2, 5, 8), torch.zeros(2, 1, 1, 5)
    assert torch.equal(CrossAttention(16, 8, dimensions)(x, context, bias), x)


def test_any_width_has_heads() -> None:
    assert [head_count(channels, 64) for channels in (16, 64, 224, 256, 324)] == [1, 1, 2, 4, 4]
    assert Attention(224, (2, 2))(torch.randn(1, 224, 2, 2)).shape == (1, 224, 2, 2)


def test_down_and_up_halve_and_double() -> None:
    x = torch.randn(2, 8, 6, 4)
    assert Down(8, 16)(x).shape == (2, 16, 3, 2)
    assert Up(8, 4)(x).shape == (2, 4, 12, 8)
    x = torch.randn(2, 8, 2, 6, 4)
    assert Down(8, 16, 3)(x).shape == (2, 16, 1, 3, 2)
    assert Up(8, 4, 3)(x).shape == (2, 4, 4, 12, 8)


def test_patches_keep_every_pixel_in_its_place() -> None:
    volume = torch.arange(2 * 3 * 4 * 4 * 8.0).reshape(2, 3, 4, 4, 8)
    stacked = to_patches(volume, 2)
    assert stacked.shape == (2, 24, 2, 2, 4)
    assert torch.equal(from_patches(stacked, 2), volume)
    assert sorted(stacked[0, 8:16, 1, 0, 3].tolist()) == sorted(volume[0, 1, 2:4, 0:2, 6:8].flatten().tolist())
    image = torch.randn(2, 3, 4, 8)  # one slice repeated: the same as in two dimensions
    flat = to_patches(image[:, :, None].expand(-1, -1, 2, -1, -1), 2)
    assert torch.equal(flat.reshape(2, 3, 2, 4, 2, 4)[:, :, 0].reshape(2, 12, 2, 4), to_patches(image, 2))
    assert torch.equal(from_patches(to_patches(image, 2), 2), image)


def test_positions_keep_their_relative_place_at_other_sizes() -> None:
    across = torch.linspace(0, 1, 8).expand(1, 3, 6, 8)
    assert resized(across, (6, 8)) is across
    other = resized(across, (6, 4))
    assert torch.equal(other[..., 0, :], other[..., 5, :])
    assert float((other[0, 0, 0] - torch.tensor([0.5, 2.5, 4.5, 6.5]) / 7).abs().max()) < 1e-6
    assert resized(across[:, :, None], (2, 3, 16)).shape == (1, 3, 2, 3, 16)


def test_groups_have_at_least_four_channels_and_divide() -> None:
    for channels in (4, 8, 12, 20, 64, 192):
        norm = group_norm(channels)
        assert channels % norm.num_groups == 0
        assert channels // norm.num_groups >= 4


def test_sinusoid_tells_near_noise_levels_apart() -> None:
    x = torch.linspace(-1.6, 1.1, 40)  # log(sigma) / 4 from 0.002 to 80
    features = sinusoid(x, 128)
    assert features.shape == (40, 128)
    assert float(torch.pdist(features).min()) > 0.5
