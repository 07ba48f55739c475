import pytest

from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.evaluation.verdicts import at_least, complete, coverage, label_truth, missing_classes, overall
from synthcohort.metrics.intervals import Score

THRESHOLDS = load_policy("open").thresholds
CLASSES = {"0": 400, "1": 300, "2": 30}
BALANCED = {"0": 300, "1": 300, "2": 300}


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (Score(0.9, 0.7, 1.0), "pass"),
        (Score(0.9, 0.69, 1.0), "inconclusive"),
        (Score(0.6, 0.5, 0.7), "inconclusive"),
        (Score(0.6, 0.5, 0.69), "fail"),
        (Score(0.9), "inconclusive"),
        (Score(None), "inconclusive"),
    ],
)
def test_a_threshold_inside_the_interval_is_inconclusive(score, verdict):
    assert at_least(score, 0.7) == verdict


def test_coverage_says_what_was_reached_and_asked():
    item = coverage(Score(0.95, 0.9, 1.0), {}, CLASSES, BALANCED, THRESHOLDS.coverage)
    assert item["verdict"] == "pass"
    assert item["reason"] == (
        "reached 0.95 (0.90 to 1.00) of the variety that as many real training images reach, in features that know the "
        "label; the policy asks for 0.7"
    )
    assert coverage(Score(0.5, 0.4, 0.6), {}, CLASSES, BALANCED, THRESHOLDS.coverage)["verdict"] == "fail"
    unsure = coverage(Score(0.7, 0.5, 0.9), {}, CLASSES, BALANCED, THRESHOLDS.coverage)
    assert unsure["verdict"] == "inconclusive"
    assert unsure["reason"].startswith("too few images")


def test_a_missing_class_fails_whatever_the_ratio():
    item = coverage(Score(1.0, 0.95, 1.0), {}, CLASSES, {"0": 500, "1": 500, "2": 0}, THRESHOLDS.coverage)
    assert item["verdict"] == "fail"
    assert "left out or nearly so: 2" in item["reason"]


def test_one_poor_class_fails_and_an_unsure_one_does_not():
    unsure, poor = Score(0.6, 0.4, 0.8), Score(0.4, 0.3, 0.5)
    whole = Score(0.95, 0.9, 1.0)
    assert coverage(whole, {"kl=4": unsure}, CLASSES, BALANCED, THRESHOLDS.coverage)["verdict"] == "pass"
    item = coverage(whole, {"kl=3": unsure, "kl=4": poor}, CLASSES, BALANCED, THRESHOLDS.coverage)
    assert item["verdict"] == "fail"
    assert "too little variety within kl=4 0.40 (0.30 to 0.50)" in item["reason"]


def test_few_synthetic_images_do_not_prove_that_a_rare_class_is_missing():
    assert missing_classes(CLASSES, {"0": 20, "1": 20, "2": 0}, 0.25, 0.95) == {}
    assert list(missing_classes(CLASSES, {"0": 2000, "1": 2000, "2": 2}, 0.25, 0.95)) == ["2"]
    assert missing_classes({"0": 10, "1": 0}, {"0": 100, "1": 0}, 0.25, 0.95) == {}


def test_a_class_that_may_have_been_left_out_keeps_variety_from_passing():
    whole, few = Score(1.0, 0.95, 1.0), {"0": 60, "1": 45, "2": 0}  # four or five of class 2 could be expected
    item = coverage(whole, {}, CLASSES, few, THRESHOLDS.coverage)
    assert item["verdict"] == "inconclusive"
    assert "whether these were left out: 2" in item["reason"]
    assert coverage(whole, {}, CLASSES, {**few, "2": 2}, THRESHOLDS.coverage)["verdict"] == "pass"
    rarer = {**CLASSES, "2": 5}  # chance alone leaves out a class of which less than one image could be expected
    assert coverage(whole, {}, rarer, few, THRESHOLDS.coverage)["verdict"] == "pass"


def test_label_truth_needs_a_reader_who_can_read():
    able, unable = Score(0.5, 0.4, 0.6), Score(0.3, 0.1, 0.5)
    ratio = Score(0.9, 0.8, 1.0)
    assert label_truth(able, Score(0.45, 0.4, 0.5), ratio, 3, THRESHOLDS.label_truth)["verdict"] == "pass"
    blind = label_truth(unable, Score(0.2, 0.1, 0.3), ratio, 3, THRESHOLDS.label_truth)
    assert blind["verdict"] == "inconclusive"
    assert "can't judge" in blind["reason"]
    assert label_truth(able, able, Score(0.1, 0.0, 0.2), 3, THRESHOLDS.label_truth)["verdict"] == "fail"
    assert label_truth(able, able, ratio, 1, THRESHOLDS.label_truth)["verdict"] == "inconclusive"


def test_families_nobody_computed_are_inconclusive_and_so_is_the_whole():
    families = complete({"coverage": {"verdict": "pass", "reason": "fine", "figures": {}}})
    assert list(families) == list(FAMILIES)
    assert families["harm"] == {"verdict": "inconclusive", "reason": "not built yet", "figures": {}}
    result = overall(families)
    assert result["verdict"] == "inconclusive"
    assert "coverage" not in result["inconclusive"]
    assert len(result["inconclusive"]) == 6


def test_one_failure_decides():
    passed = {name: {"verdict": "pass"} for name in FAMILIES}
    assert overall(passed) == {"verdict": "pass", "failed": [], "inconclusive": []}
    families = {**passed, "harm": {"verdict": "inconclusive"}, "copies": {"verdict": "fail"}}
    assert overall(families) == {"verdict": "fail", "failed": ["copies"], "inconclusive": ["harm"]}
