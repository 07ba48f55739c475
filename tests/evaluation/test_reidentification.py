from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.reidentification import (
    Links,
    ReidentificationConfig,
    excess,
    judge_links,
    pair_area,
    reidentification,
)
from synthcohort.metrics.intervals import Score

ROLES = ("train", "train", "control", "validation", "test")


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_area_of_pairs_equals_the_slow_count():
    draw = rng("pairs of patients")
    owners = [f"p{i // 3}" for i in range(36)]
    embedded = unit(np.repeat(draw.normal(size=(12, 4)), 3, axis=0) + draw.normal(0, 1.0, (36, 4)))
    alike = embedded.astype(float) @ embedded.T
    pairs = [(i, j) for i in range(36) for j in range(i)]
    same = [alike[i, j] for i, j in pairs if owners[i] == owners[j]]
    other = [alike[i, j] for i, j in pairs if owners[i] != owners[j]]
    slow = np.mean([(a > b) + 0.5 * (a == b) for a in same for b in other])
    area = pair_area(embedded, owners, 12, 0)
    assert area.value == pytest.approx(slow, abs=1e-6)
    assert area.low < area.value < area.high


def test_strangers_have_an_area_of_one_half_and_the_interval_holds_it():
    inside = 0
    for number in range(60):
        embedded = unit(rng("strangers", number).normal(size=(60, 5)))
        area = pair_area(embedded, [f"p{i // 2}" for i in range(60)], 15, 0)
        inside += area.low <= 0.5 <= area.high
    assert inside >= 52


def test_the_excess_is_beyond_strangers_and_an_ordinary_image_gains_nothing():
    gallery = unit(np.eye(20)[:5] + 0.01)
    strangers = unit(np.tile(np.eye(20)[19] + 0.01, (10, 1)))
    member, ordinary = gallery[2:3], strangers[:1]
    assert excess(member, gallery, strangers)[0] > 4
    assert excess(ordinary, gallery, strangers)[0] < -4
    assert excess(ordinary, gallery, strangers[:3])[0] == pytest.approx(
        -np.log(1 - float((ordinary @ gallery.T).max()) + 1e-3), abs=1e-5
    )


def test_a_match_counts_the_same_among_people_who_are_alike_and_who_are_not():
    """Twice as near as strangers, in a crowd and on the edge."""
    found = []
    for distance in (0.02, 0.4):
        query = np.array([[1.0, 0.0, 0.0]], np.float32)
        stranger = np.array([[1 - 2 * distance, np.sqrt(1 - (1 - 2 * distance) ** 2), 0]], np.float32)
        match = np.array([[1 - distance, 0, np.sqrt(1 - (1 - distance) ** 2)]], np.float32)
        found.append(excess(query, match, np.tile(stranger, (10, 1)))[0])
    assert found == pytest.approx([np.log(2)] * 2, abs=0.03)


def links(synthetic, control, again):
    owners = [f"c{i // 2}" for i in range(len(control))]
    return Links(np.asarray(synthetic), np.asarray(control), owners, np.asarray(again), np.asarray(again))


def test_leaks_are_seen_and_strangers_are_not():
    draw = rng("links")
    control, again = draw.normal(size=600), draw.normal(4, 1, 200)
    verdicts = []
    for number in range(40):
        fresh = rng("fresh", number).normal(size=500)
        verdicts.append(judge_links(links(fresh, control, again), Score(0.98, 0.97, 0.99))[1]["verdict"])
    assert verdicts.count("linked") <= 2
    scores, figures = judge_links(links(draw.normal(size=500), control, again), Score(0.98, 0.97, 0.99))
    rate = figures["smallest_rate_caught"]["another_image"]
    assert 0.01 < rate < 0.15
    assert scores[0]["name"] == "reidentified_rate"
    seen = 0
    for number in range(40):
        leak = rng("leak", number).normal(size=500)
        leak[: round(rate * 500)] = rng("leak", number, 1).normal(4, 1, round(rate * 500))
        seen += judge_links(links(leak, control, again), Score(0.98, 0.97, 0.99))[1]["verdict"] == "linked"
    assert seen >= 32


def test_a_rate_that_few_control_images_cannot_tell_is_not_given():
    draw = rng("too few")
    scores, figures = judge_links(links(draw.normal(size=99), draw.normal(size=150), draw.normal(size=20)), Score(0.9))
    assert scores == []
    assert figures["verdict"] == "inconclusive"
    assert "not estimable" in figures["reason"]


def test_a_blind_network_is_inconclusive_and_says_so():
    draw = rng("blind")
    found = judge_links(
        links(draw.normal(size=60), draw.normal(size=400), draw.normal(-9, 1, 80)), Score(0.5, 0.48, 0.52)
    )
    assert found[1]["verdict"] == "inconclusive"
    assert "0.50 (0.48 to 0.52)" in found[1]["reason"]


def person(number: int, size: int = 32) -> np.ndarray:
    """An image whose coarse anatomy everybody shares, with fine texture of its own."""
    y, x = np.mgrid[:size, :size] / size
    anatomy = 110 + 60 * np.cos(2 * np.pi * (x - 0.5)) * np.cos(np.pi * (y - 0.5))
    texture = ndimage.gaussian_filter(rng("person", number).normal(size=(size, size)), 1.5)
    return anatomy + 22 * texture / texture.std()


def taken(number: int, image: int) -> np.ndarray:
    """One image of a person, with noise of its own."""
    return np.clip(np.rint(person(number) + rng("noise", number, image).normal(0, 6, (32, 32))), 0, 255).astype(
        np.uint8
    )


def people(path, images: int, count: int = 260):
    """Patients with several images."""
    writer = CohortWriter(path, "people", "real", (LabelColumn("odd", "nominal", ("no", "yes")),), {}, "f")
    for number in range(count * images):
        owner = number // images
        record = {"patient_id": f"p{owner:04d}", "split": ROLES[owner % 5], "odd": ("no", "yes")[owner // 5 % 2]}
        writer.add(taken(owner, number), {"image_id": f"i{number:04d}", "bits_stored": 8, **record})
    return writer.finish()


def evaluated(real, tmp_path, leak: bool):
    writer = CohortWriter(
        tmp_path / "made", "people", "synthetic", (LabelColumn("odd", "nominal", ("no", "yes")),), {}, "f"
    )
    train = [owner for owner in range(260) if ROLES[owner % 5] == "train"]
    for number in range(80):
        owner = train[number] if leak else 3000 + number
        writer.add(
            taken(owner, 90_000 + number),
            {"image_id": f"s{number:04d}", "odd": ("no", "yes")[number % 2], "bits_stored": 8},
        )
    writer.finish()
    inputs = open_inputs(real, tmp_path / "made", None, tmp_path)
    settings = ReidentificationConfig(steps=60, folds=10)
    policy, config = load_policy("open"), EvaluateConfig()
    return reidentification(inputs, SimpleNamespace(), config, policy, tmp_path.parent / "c", 0, settings=settings)


@pytest.mark.slow
def test_new_images_of_training_patients_are_linked_and_strangers_are_not(tmp_path):
    people(tmp_path / "real", 4)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    leaked = evaluated(tmp_path / "real", tmp_path / "a", leak=True)
    figures = leaked["figures"]["reidentification"]
    assert figures["verdict"] == "linked", figures["reason"]
    assert leaked["scores"][0]["name"] == "reidentification_auc"
    assert leaked["scores"][0]["value"] > 0.9
    assert "p0" not in str(leaked)
    assert leaked["families"] == {}
    fresh = evaluated(tmp_path / "real", tmp_path / "b", leak=False)
    assert fresh["figures"]["reidentification"]["verdict"] == "nothing found"


def test_without_two_images_of_a_patient_it_is_said_in_words(tmp_path):
    people(tmp_path / "real", 1, count=100)
    (tmp_path / "a").mkdir()
    found = evaluated(tmp_path / "real", tmp_path / "a", leak=False)
    assert found["scores"] == []
    assert "no training patient has two images" in found["figures"]["reidentification"]["reason"]
