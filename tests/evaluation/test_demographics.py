import numpy as np
import pytest

from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.demographics import DemographicsConfig, demographics
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.inputs import open_inputs, patients
from synthcohort.evaluation.retrieval import fit_towers, found_own

CONFIG = EvaluateConfig(encoders=("self_trained",), grader=GraderConfig(steps=1), bootstrap=60)
SIDES = ("left", "right", "upper", "lower", "middle", "far")


class PixelEyes:
    """A small thumbnail."""

    def see(self, encoder, view):
        images = np.stack([view.image(i) for i in range(len(view))]).astype(np.float32)
        thumbs = images.reshape(len(images), 8, 4, 8, 4).mean(axis=(2, 4)).reshape(len(images), -1)
        return Seen(thumbs, patients(view), np.zeros(len(view)))


def people(toys, path, origin, num, told=True):
    """Women have a bright corner; the caption says it, and the grade. `told` False: the record says anything."""
    writer = CohortWriter(path, f"people {origin}", origin, (toys.grade,), {"made": "by a test"}, "f")
    roles = ("train", "train", "train", "validation", "control", "test", "test")
    for i in range(num):
        generator = rng("shown", origin, i)
        sex, spot, grade = "FM"[i % 2], int(generator.integers(0, 6)), i % 3
        image = toys.image(grade, generator, 32)
        image[:4, :4] = 250 if sex == "F" else 20
        image[28:, 5 * spot : 5 * spot + 5] = 250
        if not told:
            sex, spot = "FM"[int(generator.integers(0, 2))], int(generator.integers(0, 6))
        word = {"F": "woman", "M": "man"}[sex]
        record = {"image_id": f"{origin[0]}{i:04d}", "grade": grade, "bits_stored": 8, "sex": sex, "age": 50.0}
        record["caption"] = f"Film of a {word}, grade {grade}, mark {SIDES[spot]}."
        if origin == "real":
            record |= {"split": roles[i % 7], "patient_id": f"p{i}"}
        writer.add(image, record)
    return writer.finish()


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    people(toys, folder / "real", "real", 700)
    return folder


@pytest.mark.parametrize("told", [True, False])
def test_readers_and_captions_tell_true_records_from_false_ones(real, toys, tmp_path, told):
    people(toys, tmp_path / "s", "synthetic", 150, told)
    inputs = open_inputs(real / "real", tmp_path / "s", None, real / "cache")
    made = demographics(inputs, PixelEyes(), CONFIG, load_policy("open"), real / "cache", 0, DemographicsConfig())
    found = {item["name"]: item for item in made["scores"]}
    assert set(found) == {"shows_sex", "shows_sex_ratio", "finds_caption"}  # all have one age
    assert found["shows_sex"]["floor"]["value"] > 0.95
    assert found["finds_caption"]["floor"]["value"] > 0.5
    if told:
        assert found["shows_sex"]["value"] > 0.95
        assert found["finds_caption"]["value"] == pytest.approx(found["finds_caption"]["floor"]["value"], abs=0.15)
    else:
        assert found["shows_sex"]["value"] == pytest.approx(0.5, abs=0.12)
        assert found["shows_sex_ratio"]["high"] < 0.5
        assert found["finds_caption"]["value"] < 0.25
    assert made["families"] == {}


def test_guessing_finds_one_in_the_gallery():
    generator = np.random.default_rng(0)
    captions = [f"word{i % 30}" for i in range(600)]
    towers = fit_towers(generator.normal(size=(600, 10)), captions)
    hits = found_own(towers, generator.normal(size=(600, 10)), captions, sorted(set(captions)), "guess")
    assert hits.mean() == pytest.approx(1 / 20, abs=0.03)
