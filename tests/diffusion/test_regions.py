"""Regions: what is held is held exactly, and what is drawn anew fits it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synthcohort.diffusion.regions import difference_map, difference_mask, feather, gaussian_blur, inpaint, rework
from synthcohort.diffusion.sampling import SAMPLERS, dpmpp_2m
from synthcohort.diffusion.schedule import karras_sigmas

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64) * 0.25  # of the two pixels of an image
SIGMAS = karras_sigmas(24, 0.002, 20.0).double()


def pair(x: Tensor, sigma_B: Tensor, condition: object) -> Tensor:
    """The exact denoiser of images of two correlated pixels, [B, 1, 1, 2]."""
    gain = COVARIANCE @ torch.linalg.inv(COVARIANCE + float(sigma_B[0]) ** 2 * torch.eye(2, dtype=torch.float64))
    return x @ gain.T


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_lies_outside_the_mask_is_exact_with_every_sampler() -> None:
    known, mask = normal(3, 1, 6, 6, seed=5), torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    mask[..., 2:4, 2:4] = 1.0
    for sampler in SAMPLERS.values():
        x = inpaint(lambda x, sigma, condition: 0.3 * x, known, mask, normal(3, 1, 6, 6), SIGMAS, None, sampler)
        held = mask.expand_as(x) == 0
        torch.testing.assert_close(x[held], known[held], atol=1e-9, rtol=0)
        assert float((x - known)[~held].abs().max()) > 0.1


def rows(x: Tensor, sigma_B: Tensor, condition: object) -> Tensor:
    """The exact denoiser of smooth rows of 24 pixels."""
    gain = ROWS @ torch.linalg.inv(ROWS + float(sigma_B[0]) ** 2 * torch.eye(24, dtype=torch.float64))
    return x @ gain.T


PLACES = torch.arange(24, dtype=torch.float64)
ROWS = 0.25 * torch.exp(-((PLACES[:, None] - PLACES) ** 2) / 72) + 1e-4 * torch.eye(24, dtype=torch.float64)


def miss(iterations: int) -> float:
    """Root mean square distance of what is drawn into the middle third from its mean given the rest."""
    inside = (PLACES >= 8) & (PLACES < 16)
    gain = ROWS[inside][:, ~inside] @ torch.linalg.inv(ROWS[~inside][:, ~inside])
    known = normal(500, 1, 1, 24, seed=2) @ torch.linalg.cholesky(ROWS).T
    mask = inside.double().view(1, 1, 1, 24)
    x = inpaint(rows, known, mask, normal(500, 1, 1, 24), SIGMAS, None, dpmpp_2m, iterations)
    return float((x[..., inside] - known[..., ~inside] @ gain.T).square().mean().sqrt())


def test_a_region_drawn_anew_follows_its_distribution_given_the_rest() -> None:
    """Of Gaussian rows the mean and spread given the rest are known; replacement alone misses them by far."""
    inside = (PLACES >= 8) & (PLACES < 16)
    gain = ROWS[inside][:, ~inside] @ torch.linalg.inv(ROWS[~inside][:, ~inside])
    spread = float((ROWS[inside][:, inside] - gain @ ROWS[~inside][:, inside]).diagonal().mean().sqrt())
    assert miss(0) > 8 * spread
    assert miss(3) < miss(1) / 2 < miss(0) / 3
    assert miss(8) < 2 * spread


def test_a_derivative_that_is_not_symmetric_does_not_blow_up() -> None:
    twist = torch.linalg.qr(normal(24, 24, seed=9))[0]

    def odd(x: Tensor, sigma_B: Tensor, condition: object) -> Tensor:
        return rows(x, sigma_B, None) + 0.3 * x @ twist

    known, mask = normal(8, 1, 1, 24, seed=2), ((PLACES >= 8) & (PLACES < 16)).double().view(1, 1, 1, 24)
    x = inpaint(odd, known, mask, normal(8, 1, 1, 24), SIGMAS, None, dpmpp_2m, 10)
    assert float(x.abs().max()) < 20


def test_rework_keeps_more_from_lower_noise() -> None:
    image = normal(200, 1, 1, 2, seed=3) @ torch.linalg.cholesky(COVARIANCE).T
    kept = [
        float((rework(pair, image, normal(200, 1, 1, 2), SIGMAS[start:], None, dpmpp_2m) - image).abs().mean())
        for start in (4, 12, 20)
    ]
    assert kept[0] > 1.5 * kept[1] > 3 * kept[2]


def test_difference_mask_finds_where_two_conditions_differ() -> None:
    where = torch.zeros(1, 1, 32, 32)
    where[..., 12:20, 8:24] = 1.0

    def denoiser(x: Tensor, sigma_B: Tensor, condition: float) -> Tensor:
        return 0.5 * x + condition * where

    noises = [torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    difference = difference_map(denoiser, torch.zeros(2, 1, 32, 32), noises, 0.5, 1.0, 0.2)
    torch.testing.assert_close(difference, 0.8 * where.expand(2, -1, -1, -1))
    mask = difference_mask(difference, 1.0, 0.5)
    overlap = (mask * where).sum() / torch.maximum(mask, where.expand_as(mask)).sum()
    assert float(overlap) > 0.9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_feathering_never_reaches_outside_and_rises_inward(seed: int, pixels: int) -> None:
    blobs = gaussian_blur(torch.randn(1, 1, 20, 24, generator=torch.Generator().manual_seed(seed)), 2.0)
    mask = (blobs > 0).float()
    soft = feather(mask, pixels)
    assert bool((soft[mask == 0] == 0).all())
    assert bool((soft[mask == 1] >= 1 / (pixels + 1) - 1e-6).all())
    assert bool((feather(mask, pixels + 1) <= soft + 1e-6).all())
    assert torch.equal(feather(torch.ones(1, 1, 8, 8), pixels), torch.ones(1, 1, 8, 8))


def test_blur_keeps_the_mean_of_a_flat_image_and_spreads_a_point() -> None:
    assert torch.allclose(gaussian_blur(torch.full((1, 1, 9, 9), 3.0), 2.0), torch.tensor(3.0))
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1.0
    spread = gaussian_blur(point, 2.0)[0, 0]
    axis = torch.arange(31.0) - 15
    assert abs(float((spread.sum(0) * axis**2).sum()) - 4.0) < 0.1
    assert torch.equal(gaussian_blur(point, 0.0), point)
