import numpy as np
import pytest

from synthcohort.core.policy import load_policy
from synthcohort.evaluation.alignment import Reading, entries, measure_skill, skill_of
from synthcohort.evaluation.verdicts import label_truth

THRESHOLDS = load_policy("open").thresholds.label_truth


def reading(num, accuracy, seed, shuffled=False, classes=5, shares=None):
    """Two images a patient; the reader is right with this probability, else picks a class at random."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(classes, num, p=shares)
    predicted = np.where(generator.random(num) < accuracy, truth, generator.integers(0, classes, num))
    if shuffled:
        truth = generator.permutation(truth)
    return Reading(truth, predicted, [f"p{i // 2}" for i in range(num)])


def test_skill_is_zero_for_guessing_and_one_for_perfection():
    guessing = reading(20000, 0.0, 0)
    assert skill_of(guessing.counts(5), range(5)) == pytest.approx(0, abs=0.03)
    assert skill_of(reading(500, 1.0, 0).counts(5), range(5)) == 1
    assert np.isnan(skill_of(guessing.counts(5), [2]))


def test_skill_does_not_depend_on_the_mix_of_classes():
    even, skewed = reading(20000, 0.6, 1), reading(20000, 0.6, 2, shares=[0.6, 0.2, 0.1, 0.05, 0.05])
    assert skill_of(even.counts(5), range(5)) == pytest.approx(skill_of(skewed.counts(5), range(5)), abs=0.03)


def test_resampling_keeps_patients_together():
    side = reading(10, 1.0, 3)
    draws = side.resampled(5, 200, "x")
    assert draws.shape == (200, 5, 5)
    assert (draws.sum(axis=(1, 2)) == 10).all()
    alone = Reading(side.truth, side.predicted, ["one patient"] * 10)
    assert (alone.resampled(5, 5, "x") == alone.counts(5)).all()


def test_entries_carry_figure_floor_and_sizes():
    found, skill = entries("grade", "ordinal", (0, 1, 2, 3, 4), reading(400, 0.8, 4), reading(300, 0.4, 5), 100, 0)
    names = [item["name"] for item in found]
    assert names == ["prompt_accuracy", "prompt_kappa", *["prompt_recall"] * 5, "label_skill_ratio"]
    for item in found[:2]:
        assert item["low"] <= item["value"] <= item["high"]
        assert item["high"] < item["floor"]["low"]
        assert (item["n_real"], item["n_synthetic"]) == (400, 300)
    assert found[2]["subset"] == "grade=0"
    assert found[2]["n_synthetic"] < 100
    assert skill.ratio.value == pytest.approx(skill.synthetic.value / skill.real.value)
    nominal, _ = entries("finding", "nominal", "abcde", reading(90, 1, 0), reading(90, 1, 1), 60, 0)
    assert "prompt_kappa" not in {item["name"] for item in nominal}


def test_classes_absent_on_one_side_are_not_compared():
    real = reading(300, 0.8, 6)
    some = reading(200, 0.8, 7)
    half = Reading(some.truth % 2, some.predicted, some.owners)
    assert measure_skill(real, half, 5, 100, 0).classes == (0, 1)
    only = Reading(np.zeros(200, int), some.predicted, some.owners)
    skill = measure_skill(real, only, 5, 100, 0)
    assert skill.ratio.value is None
    assert label_truth(skill.real, skill.synthetic, skill.ratio, 1, THRESHOLDS)["verdict"] == "inconclusive"


@pytest.mark.parametrize("num", [60, 200, 700])
def test_real_images_never_fail_and_shuffled_labels_always_do(num):
    """A weak reader (skill 0.5, as on knees): real images never fail; shuffled labels do once images suffice."""
    verdicts = {False: [], True: []}
    for seed in range(15):
        for shuffled in (False, True):
            real = reading(num, 0.5, 2 * seed)
            skill = measure_skill(real, reading(num, 0.5, 2 * seed + 1, shuffled), 5, 200, seed)
            item = label_truth(skill.real, skill.synthetic, skill.ratio, len(skill.classes), THRESHOLDS)
            verdicts[shuffled].append(item["verdict"])
    assert "fail" not in verdicts[False]
    assert "pass" not in verdicts[True]
    if num >= 200:
        assert verdicts[True].count("fail") >= 15
    if num >= 700:
        assert verdicts[False].count("pass") >= 11


def test_a_reader_without_a_miss_is_not_certain():
    skill = measure_skill(reading(60, 1.0, 8), reading(60, 1.0, 9), 5, 100, 0)
    assert skill.ratio.value == 1.0
    assert skill.ratio.low < 0.95
    assert skill.real.low < 0.97


def test_no_ratio_to_a_reader_who_may_be_guessing():
    found, skill = entries("grade", "ordinal", (0, 1, 2, 3, 4), reading(60, 0.02, 10), reading(60, 0.4, 11), 100, 0)
    assert skill.real.low <= 0
    assert skill.ratio.value is None
    assert found[-1]["value"] is None
    assert found[-1]["computed_on"].endswith("no ratio: the reader may be guessing on real images")
