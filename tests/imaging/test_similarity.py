import numpy as np
import pytest
from scipy.signal import convolve2d

from synthcohort.imaging.similarity import WEIGHTS, ms_ssim, num_scales


def slow_ms_ssim(a, b, data_range, scales, reflected):
    """Wang et al. 2003 by two-dimensional convolution; reflected it is torchmetrics' (benchmarks/metric_oracles)."""
    at = np.arange(11) - 5
    kernel = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    result = 1.0
    for scale in range(scales):
        if reflected and scale == scales - 1:
            a, b = np.pad(a, 5, mode="reflect"), np.pad(b, 5, mode="reflect")
        ma, mb, aa, bb, ab = (convolve2d(x, kernel, "valid") for x in (a, b, a * a, b * b, a * b))
        contrast = (2 * (ab - ma * mb) + c2) / (aa - ma**2 + bb - mb**2 + c2)
        light = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        part = (contrast if scale < scales - 1 else light * contrast).mean()
        result *= max(part, 0) ** (WEIGHTS[scale] * sum(WEIGHTS) / sum(WEIGHTS[:scales]))
        a, b = (x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2] for x in (a, b))
        a, b = (x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3)) for x in (a, b))
    return result


@pytest.mark.parametrize("reflected", [True, False])
@pytest.mark.parametrize(("size", "scales"), [(16, 1), (48, 3), (176, 5)])
def test_equal_to_the_definition(size, scales, reflected):
    generator = np.random.default_rng(0)
    a = generator.random((3, size, size))
    b = 0.7 * a + 0.3 * generator.random((3, size, size))
    assert num_scales((size, size)) == scales
    expected = [slow_ms_ssim(x, y, 1.0, scales, reflected) for x, y in zip(a, b, strict=True)]
    assert ms_ssim(a, b, 1.0, reflected=reflected) == pytest.approx(expected, rel=1e-9)


def test_equal_images_are_one_and_noise_lowers_it():
    a = np.random.default_rng(1).random((2, 32, 32))
    assert ms_ssim(a, a, 1.0) == pytest.approx(1)
    noise = np.random.default_rng(2).standard_normal(a.shape)
    assert (ms_ssim(a, a + 0.3 * noise, 1.0) < ms_ssim(a, a + 0.1 * noise, 1.0)).all()


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="possible: 0"):
        ms_ssim(np.zeros((1, 10, 40)), np.zeros((1, 10, 40)), 1.0)
    with pytest.raises(ValueError, match="the same"):
        ms_ssim(np.zeros((1, 20, 20)), np.zeros((2, 20, 20)), 1.0)
