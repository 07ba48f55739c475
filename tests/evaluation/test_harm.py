import numpy as np
import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.core.policy import load_policy
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig, UtilityConfig
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.harm import HarmConfig, Loss, harm, losses, verdict
from synthcohort.evaluation.inputs import open_inputs

POLICY = load_policy("open")
NAMES = ["grade=0", "grade=1", "grade=2"]
CONFIG = EvaluateConfig(
    encoders=("self_trained",),
    grader=GraderConfig(steps=40, batch=32),
    utility=UtilityConfig(images=90, seeds=1, steps=10, batch=12),
)


def said(num=300, runs=6, recall=(0.8, 0.8, 0.8), seed=0, luck=0.02, per_patient=2):
    """Three classes, some of each missed; how many differs from run to run."""
    generator = np.random.default_rng(seed)
    truth = np.arange(num) // per_patient % 3
    result = np.zeros((runs, num, 3))
    for run in range(runs):
        chance = np.clip(np.array(recall) + luck * generator.normal(size=3), 0, 1)[truth]
        right = generator.random(num) < chance
        wrong = (truth + generator.integers(1, 3, num)) % 3
        result[run, np.arange(num), np.where(right, truth, wrong)] = 1
    return result, truth, [f"p{i // per_patient}" for i in range(num)]


def judged(found, truth, **how):
    return verdict(found, NAMES, POLICY.thresholds.harm, np.bincount(truth, minlength=3), **how)


def test_a_class_that_loses_fails_although_the_mean_does_not_move():
    real, truth, owners = said(900)
    made = said(900, recall=(1.0, 1.0, 0.4), seed=1)[0]
    found = losses({"real": real, "synthetic": made}, truth, owners)
    assert np.mean([item.value for item in found]) == pytest.approx(0, abs=0.05)
    family = judged(found, truth)
    assert family["verdict"] == "fail"
    assert family["reason"].startswith("recall lost: grade=2 0.")
    assert "trained on synthetic instead of real images" in family["reason"]
    assert judged(found, truth, critical=[0, 1])["verdict"] != "fail"


def test_many_equal_patients_pass_and_few_are_inconclusive():
    for num, wanted in ((9000, "pass"), (180, "inconclusive")):
        real, truth, owners = said(num, luck=0.01)
        family = judged(losses({"real": real, "both": said(num, seed=1, luck=0.01)[0]}, truth, owners), truth)
        assert family["verdict"] == wanted, family["reason"]
        assert "would surely have been noticed" in family["reason"]


def test_equal_learners_never_fail_whatever_the_luck_of_runs():
    found = []
    for seed in range(60):
        real, truth, owners = said(150, 4, seed=2 * seed, luck=0.1)
        made = said(150, 4, seed=2 * seed + 1, luck=0.1)[0]
        found.append(judged(losses({"real": real, "synthetic": made}, truth, owners), truth)["verdict"])
    assert "fail" not in found


def test_fine_tuning_is_reported_and_gates_nothing():
    real, truth, owners = said()
    found = losses({"real": real, "fine_tuned": said(recall=(0.1, 0.1, 0.1), seed=3)[0]}, truth, owners)
    family = judged(found, truth)
    assert family["verdict"] == "inconclusive"
    assert "no class can be judged" in family["reason"]
    assert family["figures"]["losses"][0]["value"] > 0.5


def test_what_can_not_be_judged_is_named():
    real, truth, owners = said(recall=(0.8, 0.8, 0.05))
    family = judged(losses({"real": real, "both": real}, truth, owners), truth)
    assert "not judged: grade=2" in family["reason"]
    assert family["verdict"] == "inconclusive"


def test_pairing_narrows_the_interval_and_patients_widen_it():
    real, truth, owners = said(luck=0)
    same = losses({"real": real, "both": real}, truth, owners)[0]
    other = losses({"real": real, "both": said(seed=9, luck=0)[0]}, truth, owners)[0]
    assert same.value == 0
    assert same.error < other.error
    loose = Loss("both", 0, 0.0, 0.01, 0.1, 4, 9, 0.8, 50)
    assert loose.error > 0.07
    assert loose.bound(0.025, True) == pytest.approx(-loose.bound(0.025, False))


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("harm")
    toys.cohort(folder / "real", num=420)
    return folder


def run(real, toys, path, learners=("probe",), **how):
    toys.cohort(path, "synthetic", num=150, **how)
    inputs = open_inputs(real / "real", path, None, real / "cache")
    eyes = Eyes(inputs, CONFIG, real / "cache", 0)
    return harm(inputs, eyes, CONFIG, POLICY, real / "cache", 0, HarmConfig(learners=learners))


def test_a_class_without_synthetic_images_fails(real, toys, tmp_path):
    made = run(real, toys, tmp_path / "s", grades=np.arange(150) % 2)
    family = made["families"]["harm"]
    assert family["verdict"] == "fail"
    assert "grade=2" in family["reason"]
    assert "grade=0" not in family["reason"].split("; not judged")[0]
    found = {(item["name"], item["subset"]): item for item in made["scores"]}
    assert found["recall_lost_synthetic", "grade=2"]["value"] > 0.4
    assert found["recall_lost_fine_tuned", "grade=2"]["family"] is None


def test_networks_and_probes_of_the_same_distribution_do_not_fail(real, toys, tmp_path):
    made = run(real, toys, tmp_path / "s", ("residual", "deeper", "probe"))
    assert made["families"]["harm"]["verdict"] != "fail"
    assert "2 networks of 2 shapes and 6 probes" in made["scores"][0]["computed_on"]


def test_no_classes_no_figures(real, toys, tmp_path):
    family = run(real, toys, tmp_path / "s", grades=np.zeros(150, int))["families"]["harm"]
    assert "fewer than two classes" in family["reason"]
    with pytest.raises(ConfigError, match="learners"):
        HarmConfig(learners=())
