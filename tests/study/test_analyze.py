"""Answers put straight into the database, by simulated readers of known skill, through to study.json."""

import json

import numpy as np
import pytest

from synthcohort.core.seeds import rng
from synthcohort.study.analyze import _content
from synthcohort.study.answers import load
from synthcohort.study.design import Design, Phase
from synthcohort.study.reading import phases

ALL = Design(
    title="All",
    phases=(
        Phase("grade", label="kl_grade", real=12, synthetic=12, repeats=6, training=0),
        Phase("origin", label="kl_grade", training=0, degraded=2, same_images=True),
        Phase("rate", label="kl_grade", real=4, synthetic=4, training=0),
        Phase("pairs", label="kl_grade", real=5, synthetic=5, training=0),
    ),
    readers=("a", "b", "c"),
)


def put(served, phase: int, people, choose) -> None:
    found = served.store.rows(
        "SELECT i.*, g.origin, g.label FROM items i JOIN images g ON g.image = i.image WHERE i.phase = ? "
        "ORDER BY i.person, i.position",
        phase,
    )
    with served.store.writing() as write:
        write.add_all(
            "answers",
            [
                {
                    "item": row["item"], "revision": 0, "body": json.dumps(choose(row)), "active_ms": 4000, "at": 1.0,
                }
                for row in found
                if row["person"] in people
            ],
        )  # fmt: skip


def figure(phase: dict, name: str, reader=None, subset=None) -> dict:
    (found,) = [f for f in phase["figures"] if (f["name"], f["reader"], f["subset"]) == (name, reader, subset)]
    return found


@pytest.fixture
def content(make):
    served = make(ALL)
    draw = rng("analyze test")

    def grade(row):  # "c" grades synthetic images one too high and never reads alike twice
        value = int(row["label"])
        if row["person"] == "c" and row["origin"] == "synthetic":
            value = min(2, value + 1)
        if row["person"] == "c" and row["again"]:
            value = (value + 1) % 3
        return {"answer": str(value), "confidence": "3"}

    put(served, 0, "abc", grade)
    put(served, 1, "ab", lambda row: {"answer": "real" if draw.random() < 0.5 else "synthetic", "confidence": "2"})
    put(served, 2, "abc", lambda row: {"alignment": "4", "realism": "5" if row["origin"] == "real" else "2"})
    put(served, 3, "abc", lambda row: {"answer": "left" if row["origin"] == "real" else "right", "confidence": "4"})
    return _content(served.store, served.store.meta(), closed=True)


def test_grades(content):
    phase = content["phases"][0]
    assert figure(phase, "accuracy", "a")["value"] == 1.0
    assert figure(phase, "accuracy", "c", "real")["value"] == 1.0
    assert figure(phase, "accuracy", "c", "synthetic")["value"] == pytest.approx(1 / 3)
    assert figure(phase, "accuracy", None, "synthetic")["value"] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert figure(phase, "kappa_within", "a")["value"] == 1.0
    assert figure(phase, "same_again", "c")["value"] == 0.0
    assert figure(phase, "sensitivity", "c", "kl_grade=0, synthetic")["value"] == 0.0
    assert figure(phase, "bias", None, "synthetic")["value"] == pytest.approx((0 + 0 + 2 / 3) / 3)
    assert phase["equivalence"]["difference"] == pytest.approx(2 / 9)
    assert phase["equivalence"]["equivalent"] is False
    for name in ("fleiss", "krippendorff", "icc", "kappa_between"):
        found = figure(phase, name)
        assert found["low"] < found["value"] < found["high"] <= 1
    assert phase["repeats"] == 18
    assert phase["seconds"]["median"] == 4.0


def test_origin_takes_the_same_images_and_leaves_the_unfinished_out(content):
    grades, origin = content["phases"][:2]
    assert origin["readers"] == ["a", "b"]
    assert origin["unfinished"] == ["c"]
    assert origin["cases"] == grades["cases"] == {"real": 12, "synthetic": 12}
    found = figure(origin, "auc")
    assert found["low"] < found["value"] < found["high"]
    assert set(origin["roc"]) == {"a", "b"}
    assert origin["roc"]["a"]["points"][-1] == [1.0, 1.0]


def test_ratings_and_pairs(content):
    rate, pairs = content["phases"][2:]
    assert figure(rate, "realism", None, "real")["value"] == 5.0
    assert figure(rate, "realism", None, "real minus synthetic")["value"] == 3.0
    assert figure(pairs, "found_real")["value"] == 1.0
    assert figure(pairs, "found_real", "b")["low"] < 1.0
    assert pairs["pairs"] == 5


def test_every_figure_has_value_and_method_and_the_file_is_plain(content):
    text = json.dumps(content, allow_nan=False)
    assert "real-0" not in text  # no image of a cohort is named
    for phase in content["phases"]:
        for found in phase["figures"]:
            assert found["value"] is None or found["low"] is None or found["low"] <= found["value"] <= found["high"]


def test_tables_turn_pairs_and_keep_repeats_apart(make):
    served = make(ALL)
    put(served, 3, "a", lambda row: {"answer": "left", "confidence": "1"})
    table = load(served.store, phases(served.store)[3])
    sides = {
        row["image"]: row["origin"] for row in served.store.rows(
            "SELECT i.image, g.origin FROM items i JOIN images g ON g.image = i.image WHERE phase = 3 AND person = 'a'"
        )
    }  # fmt: skip
    left_is_real = sum(origin == "real" for origin in sides.values())
    assert (table.values["answer"] == "left").sum() == left_is_real
    assert np.isfinite(table.seconds).all()
