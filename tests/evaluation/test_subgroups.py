import numpy as np
import pytest
from scipy import ndimage

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.damage import DamageConfig
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.group_columns import SubgroupsConfig
from synthcohort.evaluation.group_figures import Cell, Side, measure, neighbor_distances
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.subgroups import subgroups, verdict

POLICY = load_policy("open")
CONFIG = EvaluateConfig(grader=GraderConfig(steps=40, batch=32), encoders=("self_trained",))
SETTINGS = SubgroupsConfig(columns=("sex", "age"), age_bands=(50,))
DAMAGE = DamageConfig(images=150, references=300, planted=30)


def people(toys, path, origin="real", num=560, change=None, keep=None, named=True) -> Cohort:
    """Bars of patients with sex and age; women's bars are lower in the image, the old have darker ones."""
    writer = CohortWriter(path, f"people {origin}", origin, (toys.grade,), {"made": "by a test"}, "f")
    roles = ("train", "train", "train", "validation", "control", "test", "test")
    made = 0
    for i in range(4 * num):
        generator = rng("people", origin, i)
        sex, age = "FM"[i // 2 % 2], 30.0 if i // 4 % 2 else 70.0
        if made == num or (keep is not None and not keep(sex, age)):
            continue
        image = toys.image(i % 3, generator, 32)
        image = np.roll(image, 3, axis=0) if sex == "F" else image
        image = image if change is None else change(image, sex, age, generator)
        record = {"image_id": f"{origin[0]}{i:04d}", "grade": i % 3, "bits_stored": 8}
        if named:
            record |= {"sex": sex, "age": age}
        if origin == "real":
            record |= {"split": roles[i // 2 % 7], "patient_id": f"p{i // 2}"}
        writer.add(image, record)
        made += 1
    return writer.finish()


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    people(toys, folder / "real", num=1000)
    return folder


def judged(real, toys, path, policy=POLICY, **how):
    people(toys, path, "synthetic", **how)
    inputs = open_inputs(real / "real", path, None, real / "cache")
    eyes = Eyes(inputs, CONFIG, real / "cache", 0)
    return subgroups(inputs, eyes, CONFIG, policy, real / "cache", 0, SETTINGS, DAMAGE)


def test_equal_groups_pass_and_the_gap_that_would_have_failed_is_said(real, toys, tmp_path):
    made = judged(real, toys, tmp_path / "s")
    family = made["families"]["subgroups"]
    assert family["verdict"] == "pass", family["reason"]
    assert "4 groups by age, sex" in family["reason"]
    assert "would have failed" in family["reason"]
    found = {(item["name"], item["subset"]): item for item in made["scores"]}
    share = found["group_share", "sex=F"]
    assert share["floor"]["value"] == pytest.approx(0.5, abs=0.05)
    assert {item["group"] for item in made["scores"]} == {"fairness"}
    assert found["label_read", "sex=M"]["floor"]["value"] > 0.5
    assert ("group_gap_blur", "age=50 and above") in found


def test_a_missing_group_fails_and_is_named(real, toys, tmp_path):
    family = judged(real, toys, tmp_path / "s", num=200, keep=lambda sex, age: sex == "M" or age > 500)
    reason = family["families"]["subgroups"]["reason"]
    assert family["families"]["subgroups"]["verdict"] == "fail"
    assert reason.startswith("left out or nearly so: sex=F (0.0 % of the images, ")


def test_a_group_that_is_blurred_fails_and_is_named(real, toys, tmp_path):
    def change(image, sex, age, generator):
        return ndimage.gaussian_filter(image, 0.8) if sex == "F" else image

    family = judged(real, toys, tmp_path / "s", num=300, change=change)["families"]["subgroups"]
    assert family["verdict"] == "fail"
    assert "drawn worse than the others: sex=F (blurred" in family["reason"]
    assert "sex=M" not in family["reason"].replace("sex=M,", "")


def test_damage_of_all_groups_alike_is_no_matter_of_groups(real, toys, tmp_path):
    made = judged(real, toys, tmp_path / "s", num=300, change=lambda image, *rest: ndimage.gaussian_filter(image, 0.8))
    assert made["families"]["subgroups"]["verdict"] != "fail"


def test_images_without_groups_are_inconclusive_in_words(real, toys, tmp_path):
    family = judged(real, toys, tmp_path / "s", num=60, named=False)["families"]["subgroups"]
    assert family["verdict"] == "inconclusive"
    assert "the synthetic cohort names no sex or age" in family["reason"]


def test_a_target_takes_the_place_of_the_real_composition():
    from synthcohort.evaluation.damage import Marked

    def side(codes):
        num = len(codes)
        marked = Marked(np.zeros((num, 0)), np.zeros(num, bool), np.arange(num), np.full(num, -1), np.zeros((num, 0)))
        return Side(marked, {"sex": np.asarray(codes)})

    real, made = side([0, 1] * 50), side([1] * 100)
    cells = [Cell("sex", 0, "F"), Cell("sex", 1, "M")]
    target = {"sex": {"F": 0.0, "M": 1.0}}
    plain = measure(cells, real, real, real, made, 1000)
    wanted = measure(cells, real, real, real, made, 1000, target)
    assert [item.expected for item in plain] == [0.5, 0.5]
    assert [item.expected for item in wanted] == [0.0, 1.0]
    assert verdict(plain, POLICY.thresholds.subgroups, 0.05)["verdict"] == "fail"
    assert verdict(wanted, POLICY.thresholds.subgroups, 0.05)["verdict"] == "inconclusive"


def test_neighbors_leave_out_the_own_patient():
    features = np.array([[0.0], [0.0], [3.0], [4.0]])
    owners = np.array([0, 0, 1, 2])
    plain = neighbor_distances(features, features)
    apart = neighbor_distances(features[:, :], features, owners, owners)
    assert plain.tolist() == [16.0, 16.0, 9.0, 16.0]
    assert np.isinf(apart[:2]).all()
