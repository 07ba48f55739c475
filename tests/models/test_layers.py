"""The blocks of the denoiser."""

import torch
import torch.nn.functional as F

from synthcohort.models.layers import Attention, Down, ResidualBlock, Up, attend, group_norm, sinusoid


def test_attention_is_the_reference_at_few_and_many_tokens() -> None:
    torch.manual_seed(0)
    for tokens in (16, 300):
        q, k, v = torch.randn(3, 2, 4, tokens, 8)
        torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5, rtol=1e-4)


def test_residual_branches_start_as_the_identity() -> None:
    x = torch.randn(2, 16, 4, 6)
    assert torch.equal(ResidualBlock(16, 8)(x, torch.randn(2, 8)), x)
    assert torch.equal(Attention(16, (4, 6))(x), x)


def test_down_and_up_halve_and_double() -> None:
    x = torch.randn(2, 8, 6, 4)
    assert Down(8, 16)(x).shape == (2, 16, 3, 2)
    assert Up(8, 4)(x).shape == (2, 4, 12, 8)


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
