import numpy as np
import pytest
import torch

from synthcohort.core.errors import ArtifactError
from synthcohort.learning.fit import Classifier, FitConfig, augment, class_weights, fit_classifier, network_size

TINY = FitConfig(steps=60, batch=16, size=16, widths=(8, 16), dropout=0.0)


@pytest.fixture(scope="module")
def stripes():
    """Wide or narrow stripes."""
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 2
    column = np.arange(16)
    phases = generator.uniform(0, 6, 80)
    waves = [np.sin(column * (0.8 if label else 2.2) + phase) for label, phase in zip(labels, phases, strict=True)]
    images = 120 + 60 * np.stack(waves)[:, None, :] + generator.normal(0, 12, (80, 16, 16))
    images = np.clip(images, 0, 255).astype(np.uint8)
    return images, labels


@pytest.fixture(scope="module")
def fitted(stripes):
    return fit_classifier(stripes[0][:60], stripes[1][:60], 2, TINY, seed=3)


def test_learns_what_can_be_learned(stripes, fitted):
    probabilities = fitted.probabilities(stripes[0][60:])
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == stripes[1][60:]).mean() > 0.9
    assert fitted.features(stripes[0][60:]).shape == (20, 16)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(stripes, fitted):
    again = fit_classifier(stripes[0][:60], stripes[1][:60], 2, TINY, seed=3)
    other = fit_classifier(stripes[0][:60], stripes[1][:60], 2, TINY, seed=4)
    weights = [model.network.head.weight for model in (fitted, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_fit_neither_reads_nor_moves_the_global_generator(stripes):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fit_classifier(stripes[0][:20], stripes[1][:20], 2, FitConfig(steps=2, size=16, widths=(8,)), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_results_do_not_depend_on_batch_or_order(stripes, fitted):
    images = stripes[0]
    whole = fitted.probabilities(images)
    order = np.random.default_rng(1).permutation(len(images))
    assert np.array_equal(fitted.probabilities(images[order]), whole[order])
    assert np.array_equal(fitted.probabilities(images[:7]), whole[:7])


def test_saved_and_loaded_is_the_same(stripes, fitted, tmp_path):
    fitted.save(tmp_path / "grader")
    loaded = Classifier.load(tmp_path / "grader")
    assert np.array_equal(loaded.probabilities(stripes[0][:9]), fitted.probabilities(stripes[0][:9]))
    (tmp_path / "grader" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="safetensors"):
        Classifier.load(tmp_path / "grader")


def test_wrong_labels_are_refused(stripes):
    with pytest.raises(ValueError, match="79 labels for 80 images"):
        fit_classifier(stripes[0], stripes[1][:79], 2, TINY, seed=0)
    with pytest.raises(ValueError, match="outside"):
        fit_classifier(stripes[0], stripes[1] + 1, 2, TINY, seed=0)


def test_augmentation_off_is_the_identity_and_on_is_not():
    x = torch.rand(6, 1, 16, 16)
    off = FitConfig(flip=False, rotate_degrees=0, scale=0, shift=0, brightness=0, contrast=0)
    assert torch.allclose(augment(x, off, torch.Generator().manual_seed(0)), x, atol=1e-5)
    assert not torch.allclose(augment(x, FitConfig(), torch.Generator().manual_seed(0)), x, atol=1e-2)


def test_class_weights_are_square_roots_and_leave_absent_classes_out():
    weights = class_weights(np.array([0] * 16 + [1] * 4), 3, 0.5)
    assert float(weights[1] / weights[0]) == pytest.approx(2)
    assert float(weights[2]) == 0
    assert float(16 * weights[0] + 4 * weights[1]) == pytest.approx(20)


def test_the_network_sees_small_images_whole_and_large_ones_reduced():
    assert network_size((28, 28), 64) == 32
    assert network_size((64, 50), 64) == 64
    assert network_size((512, 512), 64) == 64
