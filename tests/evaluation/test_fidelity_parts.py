"""The parts of fidelity on toy cohorts: at least twenty scores, each with what the report needs; faults move them."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ConfigError
from synthcohort.core.policy import load_policy
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.criteria import criteria
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.feature_fidelity import LEAST_IMAGES, encoder_entries, feature_fidelity
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.image_fidelity import class_pairs, image_fidelity
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.part_config import FidelityConfig, MeasurementConfig
from synthcohort.evaluation.radiomic_fidelity import radiomic_fidelity
from synthcohort.evaluation.sides import Sides, image_types, sides_of

CONFIG = EvaluateConfig(grader=GraderConfig(steps=3), min_class_images=12, folds=6)
POLICY = load_policy("open")


def part(function, real, synthetic, scratch, **more):
    inputs = open_inputs(real, synthetic, None, scratch)
    eyes = Eyes(inputs, CONFIG, scratch, 0)
    return function(inputs, eyes, CONFIG, POLICY, scratch, 0, **more)


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    return toys.cohort(tmp_path_factory.mktemp("fidelity") / "real", num=400).path


@pytest.fixture(scope="module")
def made(toys, tmp_path_factory):
    return toys.cohort(tmp_path_factory.mktemp("fidelity") / "synthetic", "synthetic", num=160).path


def by_name(result, subset=None):
    return {item["name"]: item for item in result["scores"] if item["subset"] == subset}


def whole(item):
    """Value, interval and floor, all finite, and a sentence."""
    assert item["low"] <= item["value"] <= item["high"], item["name"]
    assert item["floor"]["value"] is not None, item["name"]
    assert item["good"].startswith("Good is"), item["name"]
    assert item["n_real"] > 0
    assert item["n_synthetic"] > 0


def test_at_least_twenty_scores_and_equal_distributions_are_near_the_floor(real, made, tmp_path):
    features = part(feature_fidelity, real, made, tmp_path, encoder="self_trained")
    results = [part(function, real, made, tmp_path) for function in (image_fidelity, radiomic_fidelity)]
    scored = [item for result in [features, *results] for item in result["scores"] if item["subset"] is None]
    names = [(item["encoder"], item["name"]) for item in scored]
    assert len(names) == len(set(names)) >= 20
    for item in scored:
        if item["name"] != "coverage_ratio":  # is a ratio to the floor already
            whole(item)
    found = by_name(results[0])
    for name in ("intensity_distance", "spectral_gap", "contrast_distance"):
        assert found[name]["low"] <= 2.5 * found[name]["floor"]["value"], name
    assert abs(found["spectrum_high"]["value"]) < 0.5
    radiomic = by_name(results[1])
    assert radiomic["frd_squared"]["value"] == pytest.approx(2 * radiomic["frd"]["value"])
    assert radiomic["two_sample_auc"]["low"] < 0.6
    assert {item["subset"] for item in results[0]["scores"]} == {None, "grade=0", "grade=1", "grade=2"}
    assert {item["name"] for item in features["scores"] if item["subset"] == "grade=1"} >= {"vendi", "precision"}


def test_the_same_again_is_the_same_and_the_second_time_from_the_cache(real, made, tmp_path):
    assert part(image_fidelity, real, made, tmp_path) == part(image_fidelity, real, made, tmp_path)
    assert part(image_fidelity, real, made, tmp_path) == part(image_fidelity, real, made, tmp_path / "other")


def test_blur_collapse_and_brightness_are_seen(toys, real, tmp_path):
    def blurred(grade, generator, size):
        return ndimage.gaussian_filter(toys.image(grade, generator, size), 1.2)

    def brighter(grade, generator, size):
        return np.minimum(toys.image(grade, generator, size).astype(int) + 40, 255).astype(np.uint8)

    first = {grade: toys.image(grade, np.random.default_rng(0), 32) for grade in range(3)}

    def again(grade, generator, size):
        return (first[grade] ^ generator.integers(0, 2, (size, size)).astype(np.uint8)).astype(np.uint8)

    def scores(draw, name):
        cohort = toys.cohort(tmp_path / name, "synthetic", num=160, draw=draw)
        return by_name(part(image_fidelity, real, cohort.path, tmp_path / f"{name}-scratch"))

    soft, bright, collapsed = scores(blurred, "soft"), scores(brighter, "bright"), scores(again, "again")
    assert soft["spectrum_high"]["high"] < -3
    assert soft["spectral_gap"]["low"] > soft["spectral_gap"]["floor"]["high"]
    assert soft["sharpness_distance"]["low"] > soft["sharpness_distance"]["floor"]["high"]
    assert bright["intensity_distance"]["value"] == pytest.approx(100 * 40 / 256, abs=1.5)
    assert abs(bright["spectrum_high"]["value"]) < 0.5
    assert collapsed["similarity_within_class"]["low"] > collapsed["similarity_within_class"]["floor"]["high"]


def test_a_collapsed_set_lowers_vendi_and_is_told_by_a_classifier(real, toys, tmp_path):
    cohort = toys.cohort(
        tmp_path / "same",
        "synthetic",
        num=160,
        draw=lambda g, r, s: toys.image(0, np.random.default_rng(int(r.integers(3))), s),
    )
    found = by_name(part(radiomic_fidelity, real, cohort.path, tmp_path / "scratch"))
    assert found["vendi"]["high"] < 0.8 * found["vendi"]["floor"]["value"]
    assert found["distance_within_class"]["value"] < found["distance_within_class"]["floor"]["low"]
    assert found["two_sample_auc"]["low"] > 0.8
    assert found["recall"]["high"] < found["recall"]["floor"]["value"]
    assert found["frd"]["low"] > found["frd"]["floor"]["high"]


def test_criteria_are_scores_or_words(real, made, toys, tmp_path):
    result = part(criteria, real, made, tmp_path)
    found = {(item["name"], item["subset"]): item for item in result["scores"]}
    for name in ("criterion_congruence", "criterion_coverage", "criterion_constraint"):
        whole(found[name, None])
    assert found["criterion_congruence", None]["value"] > 0.8
    assert found["criterion_constraint", None]["value"] < 0.1
    assert found["criterion_consistency", "by grade"]["value"] < 0.2
    assert found["criterion_completeness", None]["value"] == 1
    assert set(result["figures"]["criteria"]) == {"compliance", "comprehension"}
    loud = toys.cohort(
        tmp_path / "loud", "synthetic", num=160, draw=lambda g, r, s: r.integers(0, 256, (s, s)).astype(np.uint8)
    )
    worse = by_name(part(criteria, real, loud.path, tmp_path / "scratch"))
    assert worse["criterion_constraint"]["low"] > 0.5
    assert worse["criterion_congruence"]["high"] < 0.5


def test_constant_images_and_few_images_are_said_in_words(toys, real, tmp_path):
    flat = toys.cohort(tmp_path / "flat", "synthetic", num=40, draw=lambda g, r, s: np.full((s, s), 90, np.uint8))
    scratch = tmp_path / "scratch"
    for function in (image_fidelity, radiomic_fidelity, criteria):
        for item in part(function, real, flat.path, scratch)["scores"]:
            assert item["value"] is None or np.isfinite(item["value"])
            assert item["value"] is not None or item["computed_on"].startswith("not measur"), item
    small = toys.cohort(tmp_path / "few", "synthetic", num=20)
    words = by_name(part(criteria, real, small.path, scratch))["criterion_congruence"]["computed_on"]
    assert words == "not measured: 20 images on one side; needed: 50"


def test_constant_real_images_have_no_features_to_compare(toys, made, tmp_path):
    flat = toys.cohort(tmp_path / "flat", num=200, draw=lambda g, r, s: np.full((s, s), 90, np.uint8))
    found = by_name(part(radiomic_fidelity, flat.path, made, tmp_path / "scratch"))
    assert found["frd"]["value"] is None
    assert "constant among the real images" in found["frd"]["computed_on"]


def test_mixed_shapes_that_reach_a_part_are_said(toys, real, tmp_path):
    """Evaluation brings images to one shape; a part that is handed others says so."""

    def uneven(grade, generator, size):
        return toys.image(grade, generator, int(generator.choice([24, 32])))

    mixed = toys.cohort(tmp_path / "mixed", "synthetic", num=60, draw=uneven)
    inputs = SimpleNamespace(
        synthetic=mixed, real=Cohort.open(real), label=None, classes=lambda view: np.full(len(view), -1)
    )
    eyes = SimpleNamespace(train=inputs.real.select(split="train"), test=inputs.real.select(split="test"))
    for function in (image_fidelity, radiomic_fidelity, criteria):
        for item in function(inputs, eyes, CONFIG, POLICY, tmp_path / "cache", 0)["scores"]:
            assert item["name"] == "criterion_completeness" or "images of 2 shapes" in item["computed_on"]


def test_too_few_images_for_an_encoder(toys, cohorts):
    few = Seen(np.eye(6, 8), [f"p{i}" for i in range(6)], np.zeros(6, np.int64))
    sides = Sides(cohorts[0], cohorts[1], cohorts[0])
    found = encoder_entries("any", sides, (few, few, few), CONFIG, FidelityConfig(), 0)
    assert len(found) == 9
    assert {item["computed_on"] for item in found} == {f"not measured: 6 images on one side; needed: {LEAST_IMAGES}"}
    same = Seen(np.ones((40, 8)), [f"p{i}" for i in range(40)], np.zeros(40, np.int64))
    found = encoder_entries("any", sides, (same, same, same), CONFIG, FidelityConfig(), 0)
    assert {item["value"] for item in found} == {None}


def test_pairs_are_of_one_class_and_of_different_patients():
    classes, owners = np.arange(60) % 3 - 1, [f"p{i // 6}" for i in range(60)]
    pairs = class_pairs(classes, owners, 100, 0)
    assert len(pairs) == 10  # ten patients, five pairs in each of two classes
    for a, b in pairs:
        assert classes[a] == classes[b] >= 0
        assert owners[a] != owners[b]
    assert len(class_pairs(classes, owners, 3, 0)) == 3


def test_the_floor_has_as_many_images_and_types_are_named(real, made, tmp_path):
    inputs = open_inputs(real, made, None, tmp_path)
    sides = sides_of(inputs, Eyes(inputs, CONFIG, tmp_path, 0), CONFIG, 0)
    assert len(sides.floor) == len(sides.synthetic)
    smaller = sides.sampled(30, 0)
    assert [len(view) for view in smaller.views()] == [30, 30, 30]
    assert set(image_types(sides.reference)) == {""}


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="similarity_pairs"):
        FidelityConfig(similarity_pairs=1)
    with pytest.raises(ConfigError, match=r"(?s)FILE.py:NAME.*one margin"):
        MeasurementConfig(function="measure")
    with pytest.raises(ConfigError, match="more than 0"):
        MeasurementConfig(function="m.py:f", margins={"a": 0.0})
