import numpy as np
import pytest
from scipy import ndimage

from synthcohort.metrics.damage import STATISTICS, image_statistics, is_constant

NAMES = list(STATISTICS)


def scenes(num=12, side=48, color=False, seed=0):
    generator = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(generator.normal(size=(num, side, side, 3 if color else 1)), (0, 2, 2, 0))
    images = np.clip(0.5 + 0.6 * smooth + 0.01 * generator.normal(size=smooth.shape), 0, 1).astype(np.float32)
    return images if color else images[..., 0]


def column(images, name):
    return image_statistics(images)[:, NAMES.index(name)]


def test_blur_lowers_fine_detail_and_noise_raises_it():
    images = scenes()
    blurred = ndimage.gaussian_filter(images, (0, 1, 1))
    noisy = np.clip(images + np.random.default_rng(1).normal(0, 0.05, images.shape), 0, 1)
    for name in ("fine_detail", "fine_share", "noise", "noise_quiet"):
        assert (column(blurred, name) < column(images, name)).all()
        assert (column(noisy, name) > column(images, name)).all()
    assert (column(noisy, "coarse_detail") - column(images, "coarse_detail")).max() < 0.5


def test_clipping_stripes_blocks_and_few_levels_are_told_apart():
    images = scenes()
    clipped = np.minimum(images, np.quantile(images, 0.8, axis=(1, 2), keepdims=True))
    assert (column(clipped, "at_highest") > column(images, "at_highest") + 1).all()
    rows = images + 0.05 * np.random.default_rng(2).normal(size=(1, 48, 1))
    assert (column(rows, "row_stripes") > column(images, "row_stripes") + 1).all()
    assert (column(rows, "column_stripes") < column(images, "column_stripes") + 0.1).all()
    blocks = np.kron(images.reshape(12, 6, 8, 6, 8).mean(axis=(2, 4)), np.ones((1, 8, 8)))
    assert (column(blocks, "blocks") > column(images, "blocks") + 2).all()
    shifted = np.roll(blocks, 3, axis=2)  # whatever the phase of the grid
    assert (column(shifted, "blocks") > column(images, "blocks") + 2).all()
    assert (column(np.rint(images * 8) / 8, "levels") < column(images, "levels") - 1).all()


def test_color_noise_is_seen_in_color_alone():
    images = scenes(color=True)
    noise = 0.05 * np.random.default_rng(3).normal(size=images.shape[:3])
    colored = images + np.stack([noise, np.zeros_like(noise), -noise], axis=3)  # the gray image stays
    assert (column(colored, "color_detail") > column(images, "color_detail") + 0.5).all()
    assert column(colored, "noise") == pytest.approx(column(images, "noise"), abs=1e-3)
    assert (column(scenes(), "color_detail") == 0).all()


def test_each_image_is_measured_alone_and_nothing_is_infinite():
    images = np.concatenate([scenes(4), np.zeros((1, 48, 48), np.float32), np.ones((1, 48, 48), np.float32)])
    table = image_statistics(images)
    assert table.shape == (6, len(NAMES))
    assert np.isfinite(table).all()
    assert image_statistics(images[2:3])[0] == pytest.approx(table[2])
    assert is_constant(images).tolist() == [False] * 4 + [True] * 2


def test_thumbnails_are_refused():
    with pytest.raises(ValueError, match="16 or more"):
        image_statistics(np.zeros((2, 12, 12), np.float32))
