import numpy as np
import pytest
from scipy import ndimage

from synthcohort.evaluation import image_rows
from synthcohort.evaluation.image_rows import BINS, STATISTICS, looks, radiomic_rows
from synthcohort.imaging.intensity import ValueRange
from synthcohort.imaging.radiomics import radiomics

EIGHT_BITS = ValueRange(0, 255)


def test_looks_say_what_an_image_is_like(toys, tmp_path):
    view = toys.cohort(tmp_path / "real", num=30)
    found = looks(view, EIGHT_BITS, tmp_path / "cache")
    images = view.images() / 255
    assert found.statistics.shape == (30, len(STATISTICS))
    assert found.statistics[:, 0] == pytest.approx(images.mean(axis=(1, 2)), rel=1e-5)
    assert found.statistics[:, 1] == pytest.approx(images.std(axis=(1, 2)), rel=1e-5)
    counts = np.stack([np.bincount(image.ravel(), minlength=256) for image in view.images()])
    assert found.histograms[:, 0] == pytest.approx(counts / 1024, abs=1e-12)
    assert found.histograms.shape == (30, 1, BINS)


def test_kept_by_content_and_gone_on_after_a_kill(toys, tmp_path, monkeypatch):
    view = toys.cohort(tmp_path / "real", num=30)
    expected = looks(view, EIGHT_BITS, tmp_path / "other")
    monkeypatch.setattr(image_rows, "CHUNK", 8)
    real, calls = image_rows._looks, []

    def dies(unit):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(unit))
        return real(unit)

    monkeypatch.setattr(image_rows, "_looks", dies)
    with pytest.raises(KeyboardInterrupt):
        looks(view, EIGHT_BITS, tmp_path / "cache")
    monkeypatch.setattr(image_rows, "_looks", lambda unit: calls.append(len(unit)) or real(unit))
    found = looks(view, EIGHT_BITS, tmp_path / "cache")
    assert calls == [8, 8, 8, 6]
    assert np.array_equal(found.statistics, expected.statistics)
    looks(view, EIGHT_BITS, tmp_path / "cache")
    assert len(calls) == 4
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_radiomics_do_not_depend_on_batches(toys, tmp_path, monkeypatch):
    view = toys.cohort(tmp_path / "real", num=12)
    monkeypatch.setattr(image_rows, "PIXELS", 32 * 32 * 5)
    found = radiomic_rows(view, EIGHT_BITS, tmp_path / "cache")
    assert found == pytest.approx(radiomics(view.images() / 255), rel=1e-9, abs=1e-12)


def test_blur_lowers_sharpness_and_colors_have_three_histograms(toys, tmp_path):
    def colored(grade, generator, size):
        return np.repeat(toys.image(grade, generator, size)[..., None], 3, axis=2)

    def blurred(grade, generator, size):
        return ndimage.gaussian_filter(toys.image(grade, generator, size), 1.5)

    color = looks(toys.cohort(tmp_path / "a", num=14, draw=colored), EIGHT_BITS, tmp_path / "cache")
    soft = looks(toys.cohort(tmp_path / "b", num=14, draw=blurred), EIGHT_BITS, tmp_path / "cache")
    assert color.histograms.shape == (14, 3, BINS)
    assert soft.statistics[:, 2].mean() < 0.7 * color.statistics[:, 2].mean()
    assert soft.spectra[:, -1].mean() < color.spectra[:, -1].mean() - 3


def test_several_shapes_are_said(toys, tmp_path):
    def uneven(grade, generator, size):
        return toys.image(grade, generator, int(generator.choice([24, 32])))

    with pytest.raises(ValueError, match="images of 2 shapes"):
        looks(toys.cohort(tmp_path / "real", num=14, draw=uneven), EIGHT_BITS, tmp_path / "cache")
