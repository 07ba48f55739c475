import numpy as np
import pytest

from synthcohort.core.policy import load_policy
from synthcohort.evaluation import verdicts
from synthcohort.evaluation.fidelity import WHOLE, Seen, class_entries, compare, reached_entries, whole_entries
from synthcohort.metrics.intervals import Score

THRESHOLDS = load_policy("open").thresholds.coverage


def seen(num, seed, classes=3, keep=None, d=16, noise=0.0):
    """Features in clusters by class, two images a patient."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, classes, num) if keep is None else generator.choice(keep, num)
    centers = np.random.default_rng(99).standard_normal((classes, d)) * 4
    features = centers[label] + generator.standard_normal((num, d)) * (1 + noise)
    return Seen(features.astype(np.float32), [f"{seed}-{i // 2}" for i in range(num)], label)


def test_whole_entries_have_the_documented_fields():
    found = whole_entries("self_trained", seen(200, 0), seen(150, 1), seen(150, 2), 20, 0)
    assert [item["name"] for item in found] == list(WHOLE)
    for item in found:
        assert item["low"] <= item["value"] <= item["high"]
        assert item["floor"]["low"] <= item["floor"]["value"] <= item["floor"]["high"]
        assert (item["n_real"], item["n_synthetic"], item["split"]) == (200, 150, "test")
        assert item["family"] is None


def test_the_variety_reached_is_near_one_for_real_images_in_every_class():
    found = reached_entries("self_trained", "g", "abc", seen(200, 0), seen(150, 1), seen(150, 2), 20, 20, 0)
    assert [item["subset"] for item in found] == [None, "g=a", "g=b", "g=c"]
    assert {item["family"] for item in found} == {"coverage"}
    for item in found:
        assert item["value"] == pytest.approx(1, abs=0.25)
        assert item["low"] <= 1 <= item["high"]
    assert found[1]["confidence"] == pytest.approx(1 - 0.05 / 3)
    assert found[1]["n_real"] < 100


def test_a_floor_of_another_size_is_refused():
    with pytest.raises(ValueError, match="floor of 140 images for 150"):
        compare(seen(200, 0), seen(150, 1), seen(140, 2), 20, 0)


def test_classes_get_figures_where_the_images_suffice():
    reference, synthetic, train = seen(330, 0), seen(100, 1, keep=[0, 1]), seen(600, 2)
    found = class_entries("self_trained", "grade", (0, 1, 2), reference, synthetic, train, 20, 20, 0)
    assert {item["subset"] for item in found} == {"grade=0", "grade=1"}
    assert "frechet_distance" not in {item["name"] for item in found}  # about 50 images: too few
    many = class_entries("packaged", "grade", (0, 1, 2), reference, seen(400, 3), train, 20, 20, 0)
    assert {item["name"] for item in many} == {"frechet_distance", "kernel_distance", "precision", "coverage"}


def judged(reference, synthetic, floor):
    found = reached_entries("self_trained", "g", (0, 1, 2), reference, synthetic, floor, 20, 10, 0)
    ratios = {item["subset"]: Score(item["value"], item["low"], item["high"]) for item in found}
    even = {"0": 1, "1": 1, "2": 1}
    return verdicts.coverage(ratios.pop(None), ratios, even, even, THRESHOLDS)["verdict"]


def test_real_images_pass_and_missing_classes_fail_by_features_alone():
    """Null and alternative of the coverage family, 10 draws each; the labels' own share is left out of it here."""
    passed = [judged(seen(160, 10 * s), seen(120, 10 * s + 1), seen(120, 10 * s + 2)) for s in range(10)]
    assert passed.count("fail") == 0
    assert passed.count("pass") >= 9
    failed = [judged(seen(160, 10 * s), seen(120, 10 * s + 1, keep=[0]), seen(120, 10 * s + 2)) for s in range(10)]
    assert failed.count("fail") >= 9


def test_one_image_again_and_again_fails():
    one = seen(200, 5)
    same = Seen(np.repeat(one.features[:1], 200, axis=0), one.owners, one.classes)
    assert judged(seen(250, 6), same, seen(200, 7)) == "fail"
