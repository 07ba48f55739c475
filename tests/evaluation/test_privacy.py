import json

import numpy as np
import pytest
from scipy import ndimage, stats

from synthcohort.core.policy import CopiesThresholds
from synthcohort.evaluation.copy_power import RATES, smallest_rate_caught
from synthcohort.evaluation.privacy import Audit, CopySearch, Sure, copies, judge, sure_threshold

THRESHOLDS = CopiesThresholds(false_positive_rate=0.001, significance=0.01, detectable_rate=0.08, min_control_images=50)
PLANTED = {"mirrored": (24, 24), "brightened": (23, 24)}


def judged(found: int, n: int, chance: int = 0, m: int = 300, planted=PLANTED, **changes):
    audit = Audit(
        np.r_[np.full(found, 0.95), np.full(n - found, 0.5)].astype(np.float32),
        np.r_[np.full(chance, 0.95), np.full(m - chance, 0.5)].astype(np.float32),
        threshold=0.8,
        planted=planted,
        **changes,
    )
    return judge(audit, THRESHOLDS)


def test_more_copies_than_chance_fail_and_as_many_do_not():
    assert judged(20, 1000)["verdict"] == "fail"
    assert judged(1, 1000, chance=1)["verdict"] == "pass"
    assert judged(20, 1000, chance=6)["verdict"] == "pass"  # as many as among the control patients


def test_every_obstacle_is_inconclusive_and_said():
    assert "no control" in judged(0, 500, m=0)["reason"]
    assert "only 20 images" in judged(0, 500, m=20)["reason"]
    assert "too few images" in judged(0, 30)["reason"]
    assert "planted" in judged(0, 500, planted={"mirrored": (10, 24)})["reason"]
    assert "strangers" in judged(0, 500, calibrated=False)["reason"]
    for result in (judged(0, 500, m=0), judged(0, 30), judged(0, 500, calibrated=False)):
        assert result["verdict"] == "inconclusive"


def test_strangers_of_the_threshold_stand_beside_few_control_patients():
    assert judged(6, 600, m=200)["verdict"] != "fail"
    assert judged(6, 600, m=200, strangers=(0, 1000))["verdict"] == "fail"
    assert judged(6, 600, m=200, strangers=(10, 1000))["verdict"] != "fail"
    assert judged(6, 600, chance=2, m=200, strangers=(0, 9000))["verdict"] != "fail"  # control patients reach as many


def test_copies_that_lie_far_above_fail_though_strangers_reach_the_threshold():
    crowd = {"m": 200, "strangers": (4, 1000)}
    assert judged(8, 600, **crowd)["verdict"] != "fail"
    result = judged(8, 600, **crowd, sure=Sure(0.9, 0, 0.9))
    assert result["verdict"] == "fail"
    assert result["figures"]["smallest_rate_caught"] < judged(8, 600, **crowd)["figures"]["smallest_rate_caught"]
    assert judged(8, 600, **crowd, sure=Sure(0.9, 4, 0.9))["verdict"] != "fail"  # strangers reach that too
    assert judged(8, 600, **crowd, sure=Sure(0.96, 0, 0.9))["verdict"] != "fail"  # the copies do not


def test_the_sure_threshold_has_thirty_times_the_odds():
    assert 20 * (np.arctanh(sure_threshold(0.2)) - np.arctanh(0.2)) == pytest.approx(np.log(30))


def test_a_blind_detector_still_fails_what_it_sees():
    assert judged(50, 500, planted={"mirrored": (10, 24)})["verdict"] == "fail"


def test_the_bound_counts_the_copies_that_the_detector_misses():
    figures = judged(0, 500)["figures"]
    assert figures["rate_at_most"] > figures["rate"]["high"] > 0


def test_the_smallest_rate_caught_is_caught_that_often():
    rate = smallest_rate_caught(1000, 0, 660, 0.9, 0.01)
    hits = stats.binom.rvs(1000, rate * 0.9, size=2000, random_state=np.random.default_rng(0))
    fails = {hit: judged(int(hit), 1000, m=660)["verdict"] == "fail" for hit in np.unique(hits)}
    caught = np.mean([fails[hit] for hit in hits])
    assert 0.92 < caught <= 1.0
    assert smallest_rate_caught(3, 0, 660, 0.0, 0.01) is None


def texture(grade: int, generator: np.random.Generator, size: int) -> np.ndarray:
    """A person's image: coarse anatomy that everybody shares, fine texture of its own."""
    y, x = np.mgrid[:size, :size] / size
    fine = ndimage.gaussian_filter(generator.normal(size=(size, size)), 1.2)
    image = 110 + 60 * np.cos(2 * np.pi * (x - 0.5)) * np.cos(np.pi * (y - 0.5)) + 22 * fine / fine.std()
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


ROLES = ("train", "train", "validation", "control", "test")


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    return toys.cohort(tmp_path_factory.mktemp("real") / "c", num=280, size=40, roles=ROLES, draw=texture)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def leaky(real, leaks: int):
    """Draws people who are new, save for the first `leaks` images, which are mirrored training images."""
    train, state = real.select(split="train"), iter(range(10_000))

    def draw(grade, generator, size):
        number = next(state)
        return train.image(number)[:, ::-1].copy() if number < leaks else texture(grade, generator, size)

    return draw


def test_new_people_pass_and_a_leak_fails(real, toys, cache, tmp_path):
    clean = toys.cohort(tmp_path / "clean", "synthetic", num=100, size=40, draw=leaky(real, 0))
    scores, family = copies(real, clean, THRESHOLDS, cache, seed=0)
    assert family["verdict"] == "pass", family["reason"]
    assert {item["name"] for item in scores} == {"copy_rate", "nearest_similarity", "copy_sensitivity"}
    assert scores[0]["value"] <= 0.01  # a threshold from 56 strangers may flag one image in a hundred by chance
    assert scores[0]["control"]["value"] == 0
    leak = toys.cohort(tmp_path / "leak", "synthetic", num=100, size=40, seed=1, draw=leaky(real, 12))
    scores, family = copies(real, leak, THRESHOLDS, cache, seed=0)
    assert family["verdict"] == "fail"
    figures = family["figures"]
    assert 12 <= figures["copies"] <= 13  # one by chance
    assert 6 <= figures["copied_patients"] <= 7  # the first twelve images are of six people
    assert figures["hits_needed"] <= 12
    assert figures["strangers_images"] > figures["control_images"]
    assert figures["sure"]["threshold"] > figures["threshold"]
    assert figures["sure"]["copies"] >= 10  # both thresholds are tested
    assert [point["leak_rate"] for point in figures["power"]] == sorted(RATES)
    text = json.dumps([scores, family])
    assert not any(name in text for name in [*real.image_ids, *leak.image_ids, *real.column("patient_id")])


def test_hits_are_kept_and_survive_damage(real, cache, monkeypatch):
    search = CopySearch(real, cache, 0.001)
    control = real.select(split="control")
    first = search.hits(control)
    assert first.similarity.max() <= search.threshold
    monkeypatch.setattr(search.index, "query", None)  # a second search would fail
    assert np.array_equal(search.hits(control).similarity, first.similarity)
    monkeypatch.undo()
    for path in cache.glob("copy_hits-*.npy"):
        path.write_bytes(b"damaged")
    assert np.array_equal(CopySearch(real, cache, 0.001).hits(control).nearest, first.nearest)


def test_without_control_patients_it_is_inconclusive(toys, tmp_path):
    real = toys.cohort(tmp_path / "real", num=140, size=40, roles=("train", "validation", "test"), draw=texture)
    made = toys.cohort(tmp_path / "made", "synthetic", num=20, size=40, draw=texture)
    scores, family = copies(real, made, THRESHOLDS, tmp_path / "cache", seed=0)
    assert family["verdict"] == "inconclusive"
    assert "no control" in family["reason"]
    assert scores[0]["control"] is None


def test_planting_repeats_with_its_seed(real, cache):
    search = CopySearch(real, cache, 0.001)
    assert search.planted(3) == search.planted(3)
