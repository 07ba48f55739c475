"""Figures of reconstructions: closed forms, a slow reference, and which way they move."""

import itertools
import math

import numpy as np
import pytest

from synthcohort.metrics.reconstruction import BANDS, SSIM_RADIUS, SSIM_SIGMA, band_power, mean_bias, psnr, ssim


def image(seed: int = 0, shape: tuple[int, ...] = (24, 20)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def slow_ssim(a: np.ndarray, b: np.ndarray, value_range: float) -> float:
    """Wang et al. 2004, window by window."""
    offset = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weight = np.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    window = np.outer(weight, weight) / weight.sum() ** 2
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    values = []
    for r in range(SSIM_RADIUS, a.shape[0] - SSIM_RADIUS):
        for c in range(SSIM_RADIUS, a.shape[1] - SSIM_RADIUS):
            x, y = (
                i[r - SSIM_RADIUS : r + SSIM_RADIUS + 1, c - SSIM_RADIUS : c + SSIM_RADIUS + 1].astype(float)
                for i in (a, b)
            )
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy, vxy = (
                (window * (x - mx) ** 2).sum(),
                (window * (y - my) ** 2).sum(),
                (window * (x - mx) * (y - my)).sum(),
            )
            values.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_psnr_of_a_constant_error() -> None:
    a = np.full((8, 8), 100, np.uint8)
    assert psnr(image=a, reconstruction=a + 5, value_range=255) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(image=a, reconstruction=a, value_range=255) == math.inf
    assert mean_bias(image=a, reconstruction=a - 3) == -3  # no wrapping of unsigned integers


def test_ssim_equals_its_definition() -> None:
    a = image()
    b = np.clip(a.astype(int) + np.random.default_rng(1).integers(-60, 60, a.shape), 0, 255).astype(np.uint8)
    assert ssim(image=a, reconstruction=b, value_range=255) == pytest.approx(slow_ssim(a, b, 255), abs=1e-9)
    assert ssim(image=a, reconstruction=a, value_range=255) == pytest.approx(1.0)
    color_a, color_b = np.stack([a, a, b], -1), np.stack([a, b, b], -1)
    wanted = (2 + ssim(image=a, reconstruction=b, value_range=255)) / 3
    assert ssim(image=color_a, reconstruction=color_b, value_range=255, channels=True) == pytest.approx(wanted)


def test_ssim_of_volumes_and_of_images_that_are_too_small() -> None:
    volume = image(2, (13, 14, 15))
    assert ssim(image=volume, reconstruction=volume, value_range=255) == pytest.approx(1.0)
    assert ssim(image=volume, reconstruction=255 - volume, value_range=255) < 0.2
    with pytest.raises(ValueError, match="more than 10"):
        ssim(image=image(0, (10, 30)), reconstruction=image(0, (10, 30)), value_range=255)
    with pytest.raises(ValueError, match="two equal"):
        psnr(image=image(), reconstruction=image(0, (3, 3)), value_range=255)


@pytest.mark.parametrize("shape", [(64, 48), (32, 32, 32)])
def test_a_wave_lies_in_its_band(shape: tuple[int, ...]) -> None:
    for band, (low, high) in enumerate(itertools.pairwise(BANDS)):
        frequency = (low + high) / 2 if low else high  # of the highest one, half a cycle a pixel
        wave = np.sin(np.pi * frequency * np.arange(shape[-1])) * np.ones(shape)
        share = band_power(wave + 7) / band_power(wave + 7).sum()
        assert share[band] > (0.8 if low else 0.4)
    flat = np.full(shape, 9.0)
    assert np.allclose(band_power(flat), 0)


def test_blur_lowers_the_highest_band_and_channels_are_averaged() -> None:
    sharp = image(3, (64, 64)).astype(float)
    blurred = (sharp + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1) + np.roll(sharp, (1, 1), (0, 1))) / 4
    ratio = band_power(blurred) / band_power(sharp)
    assert ratio[-1] < 0.4 < ratio[0]
    both = band_power(np.stack([sharp, blurred], -1), channels=True)
    assert np.allclose(both, (band_power(sharp) + band_power(blurred)) / 2)
