from types import SimpleNamespace

import numpy as np
import pytest

from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation import attributes as module
from synthcohort.evaluation.attributes import Guessed, attributes, difference, readable, vote
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import open_inputs


def guessed(members, others, member_values=None, other_values=None, images=2):
    m, o = len(members), len(others)
    return Guessed(
        np.asarray(members, bool), np.asarray(others, bool),
        [f"m{i // images}" for i in range(m)], [f"o{i // images}" for i in range(o)],
        np.array(["a"] * m if member_values is None else member_values, object),
        np.array(["a"] * o if other_values is None else other_values, object),
    )  # fmt: skip


def test_the_advantage_of_one_value_is_the_difference_of_two_rates():
    draw = rng("rates")
    found = difference(guessed(draw.random(2000) < 0.7, draw.random(1000) < 0.5, images=1))
    assert found["advantage"] == pytest.approx(0.2, abs=0.06)
    error = np.sqrt(0.7 * 0.3 / 2000 + 0.25 / 1000)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert found["smallest_advantage_seen"] == pytest.approx((1.96 + 1.645) * error, rel=0.05)


def test_another_mix_of_values_is_no_advantage():
    """The commoner value among members is the one that is easy to guess."""
    draw = rng("mix of values")
    first, second = draw.random(1500) < 0.8, draw.random(1500) < 0.3
    right = [draw.random(1500) < np.where(side, 0.9, 0.3) for side in (first, second)]
    values = [np.where(side, "easy", "hard").astype(object) for side in (first, second)]
    found = difference(guessed(right[0], right[1], *values))
    assert found["low"] < 0 < found["high"]
    assert right[0].mean() - right[1].mean() > 0.2


def test_the_interval_by_patient_holds_under_the_null():
    inside = 0
    for number in range(300):
        draw = rng("null advantage", number)
        sides = [np.repeat(draw.random(60) < 0.6, 3) for _ in range(2)]
        found = difference(guessed(*sides, images=3))
        inside += found["low"] <= 0 <= found["high"]
    assert 0.92 <= inside / 300 <= 0.99


def test_neighbors_vote_and_the_nearest_breaks_ties():
    similarity = np.array([[0.9, 0.8, 0.1, 0.99], [0.1, 0.2, 0.9, 0.99]])
    values = np.array(["F", "M", "M", ""], object)
    assert list(vote(similarity, values, 2)) == ["F", "M"]
    assert list(vote(similarity, values, 3)) == ["M", "M"]
    assert list(vote(similarity, values, 1)) == ["F", "M"]


def test_ages_are_bands_and_absent_values_stay_absent(toys, tmp_path):
    view = SimpleNamespace(column=lambda name: [0.0, 19.9, 20.0, None, float("nan")])
    assert list(readable(view, "age")) == ["0 to 19", "0 to 19", "20 to 39", "", ""]
    view = SimpleNamespace(column=lambda name: ["F", None])
    assert list(readable(view, "sex")) == ["F", ""]


def evaluated(toys, tmp_path, monkeypatch, num=420):
    monkeypatch.setattr(
        module, "nearest_synthetic",
        lambda real, views, made, cache: [rng("similarity", len(v)).random((len(v), len(made))) for v in views],
    )  # fmt: skip
    toys.cohort(tmp_path / "real", num=num)
    toys.cohort(tmp_path / "made", "synthetic", num=90)
    inputs = open_inputs(tmp_path / "real", tmp_path / "made", None, tmp_path)
    return attributes(inputs, SimpleNamespace(), EvaluateConfig(), load_policy("open"), tmp_path, 0)


def test_random_neighbors_tell_nothing(toys, tmp_path, monkeypatch):
    found = evaluated(toys, tmp_path, monkeypatch)
    (score,) = found["scores"]
    assert score["subset"] == "grade"
    assert score["low"] < 0 < score["high"]
    assert found["families"] == {}
    assert "would have been seen" in score["computed_on"]


def test_too_few_recorded_values_are_said_in_words(toys, tmp_path, monkeypatch):
    found = evaluated(toys, tmp_path, monkeypatch, num=200)
    assert found["scores"] == []
    assert "no attribute is recorded" in found["figures"]["attributes"]["reason"]
