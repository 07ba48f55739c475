import numpy as np
import pytest
from scipy import ndimage

from synthcohort.imaging.spectra import LEAST_POWER, log_power, num_rings, radial_power


def slow_power(image, rings):
    """The definition by a full two-dimensional transform and a loop over its coefficients."""
    rows, columns = image.shape
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (rows, columns)))
    x = (image - (image * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(x)) ** 2 / (window**2).sum()
    sums, counts = np.zeros(rings), np.zeros(rings)
    for i in range(rows):
        for j in range(columns):
            y, x_ = min(i, rows - i) / rows, min(j, columns - j) / columns
            ring = int(np.hypot(y, x_) * 2 * rings)
            if (i or j) and ring < rings:
                sums[ring] += power[i, j]
                counts[ring] += 1
    return sums / counts


@pytest.mark.parametrize("shape", [(32, 32), (24, 33), (17, 20)])
def test_equal_to_the_definition(shape):
    image = np.random.default_rng(0).standard_normal(shape)
    rings = num_rings(shape)
    assert radial_power(image[None])[0] == pytest.approx(slow_power(image, rings), rel=1e-9)


def test_white_noise_has_its_variance_in_every_ring_but_the_lowest():
    noise = np.random.default_rng(1).standard_normal((300, 32, 32)) * 3
    assert radial_power(noise).mean(axis=0)[1:] == pytest.approx(np.full(7, 9.0), rel=0.05)


def test_blur_lowers_the_high_rings_and_noise_raises_them():
    generator = np.random.default_rng(2)
    images = ndimage.gaussian_filter(generator.standard_normal((20, 64, 64)), (0, 1, 1))
    sharp, blurred = log_power(images).mean(axis=0), log_power(ndimage.gaussian_filter(images, (0, 1, 1))).mean(axis=0)
    noisy = log_power(images + 0.1 * generator.standard_normal(images.shape)).mean(axis=0)
    assert (blurred[8:] < sharp[8:] - 3).all()
    assert abs(blurred[0] - sharp[0]) < 1
    assert (noisy[12:] > sharp[12:] + 3).all()


def test_a_constant_image_has_the_least_power():
    assert log_power(np.full((1, 16, 16), 0.7)) == pytest.approx(10 * np.log10(LEAST_POWER))
