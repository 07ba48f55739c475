import numpy as np
import pytest
import torch

from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.core.seeds import rng
from synthcohort.learning.verification import Verifier, VerifierConfig, fit_verifier, pair_loss
from synthcohort.phantoms.anatomy import patient_knee
from synthcohort.phantoms.knee import knee

TINY = VerifierConfig(steps=3, patients=4, size=16, widths=(8, 16), dimensions=8)


def phantoms(first: int, patients: int, images: int, size: int = 64) -> tuple[np.ndarray, list[str]]:
    """Knees of invented patients, both sides in turn, taken anew for every image."""
    made, owners = [], []
    for number in range(first, first + patients):
        for k in range(images):
            params = patient_knee(number, number % 4, "LR"[k % 2])
            made.append(knee(params, size, rng("verification", number, k))[0])
            owners.append(f"p{number}")
    return np.stack(made), owners


@pytest.fixture(scope="module")
def few():
    return phantoms(0, 6, 2, 16)


def test_the_loss_of_two_pairs_by_hand():
    embedded = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    expected = -np.log(np.e / (np.e + 2))  # partner at similarity 1, two others at 0
    assert float(pair_loss(embedded, 1.0)) == pytest.approx(expected, abs=1e-6)
    swapped = embedded[[0, 1, 3, 2]]  # partner at 0, one other at 1
    assert float(pair_loss(swapped, 1.0)) == pytest.approx(-np.log(1 / (np.e + 2)), abs=1e-6)


def test_the_same_seed_gives_the_same_verifier_and_nothing_depends_on_neighbors(few, tmp_path):
    images, owners = few
    verifier, again = (fit_verifier(images, owners, TINY, 3) for _ in range(2))
    other = fit_verifier(images, owners, TINY, 4)
    whole = verifier.embed(images)
    assert np.array_equal(whole, again.embed(images))
    assert not np.array_equal(whole, other.embed(images))
    assert np.array_equal(verifier.embed(images[3:4])[0], whole[3])
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert np.allclose(verifier.embed(images[:, :, ::-1].copy()), whole, atol=1e-5)
    verifier.save(tmp_path / "v")
    assert np.array_equal(Verifier.load(tmp_path / "v").embed(images), whole)
    with pytest.raises(ArtifactError):
        Verifier.load(tmp_path / "absent")


def test_single_images_teach_nothing_and_wrong_settings_are_named(few):
    with pytest.raises(ValueError, match="0 patients with two images"):
        fit_verifier(few[0], [str(i) for i in range(len(few[0]))], TINY, 0)
    with pytest.raises(ConfigError, match="temperature"):
        VerifierConfig(temperature=0)


@pytest.mark.slow
def test_phantom_patients_are_told_apart():
    """Patients of whom the network saw no image: area of pairs of one patient against pairs of strangers."""
    from synthcohort.evaluation.reidentification import pair_area

    torch.set_num_threads(1)
    train, owners = phantoms(1000, 240, 4)
    verifier = fit_verifier(train, owners, VerifierConfig(steps=400), 0)
    images, strangers = phantoms(9000, 80, 4)
    area = pair_area(verifier.embed(images), strangers, 200, 0)
    assert area.value >= 0.95
    assert area.low >= 0.93
