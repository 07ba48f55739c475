"""The guards' decisions, and that the measures behind them fall when images collapse, blur or diverge."""

import dataclasses

import numpy as np
import pytest
import torch

from synthcohort.training.gan_guards import (
    Alarm,
    Look,
    chosen_look,
    gentler,
    judge,
    may_go_back,
    warnings_of,
)
from synthcohort.training.gan_state import Course
from synthcohort.training.gan_watch import Sight, diversity, diversity_of_classes
from synthcohort.training.watch import Control

CONTROL = Control(images=1000, above=10)


def look(step: int, distance: float = 1.0, **fields: float) -> Look:
    values = {"floor": 0.2, "diversity": 0.9, "of_classes": 0.8, "overfitting": 0.1, "drawn": 32, "copies": 0} | fields
    return Look(step, 10 * step, distance, **values)  # type: ignore[arg-type]


GOOD = [look(1, 3.0), look(2, 1.0)]


def kind(looks: list[Look], share: float = 0.3) -> str | None:
    alarm = judge(looks, share, CONTROL)
    return alarm.kind if alarm else None


def test_a_training_that_goes_well_gives_no_alarm() -> None:
    assert kind([*GOOD, look(3, 1.1)]) is None
    assert kind([look(1, 50.0, diversity=0.01, of_classes=0.01)], 0.1) is None  # it has only begun


def test_collapse_after_life_or_beyond_patience() -> None:
    flat = look(3, 1.1, of_classes=0.3)
    assert kind([*GOOD, flat]) == "collapse"
    never = [look(1, 3.0, diversity=0.1), look(3_000, 3.0, diversity=0.2)]
    assert kind(never, 0.2) is None
    assert kind(never, 0.5) == "collapse"
    assert kind([look(1, 3.0), look(3_000, 2.0, of_classes=0.4)], 0.9) == "collapse"
    assert kind([look(1, 3.0, diversity=0.2), look(3_000, 2.0, diversity=0.4)], 0.9) is None  # on its way
    assert kind([look(1, 3.0, diversity=0.2)], 1.0) is None  # a short training has not come far
    assert kind([*GOOD, look(3, diversity=0.0)]) == "collapse"  # numbers that are not finite


def test_divergence_and_the_floor() -> None:
    assert kind([*GOOD, look(3, 2.1)]) == "divergence"
    assert kind([look(1, 0.02), look(2, 0.1)]) is None  # both below what real images have
    assert kind([look(1, 0.02), look(2, 0.5)]) == "divergence"


def test_overfitting_needs_both_the_scores_and_worse_images_twice() -> None:
    heart = {"overfitting": 0.8}
    assert kind([*GOOD, look(3, 1.4), look(4, 1.4, **heart)]) == "overfitting"
    assert kind([*GOOD, look(3, 1.4, **heart)]) is None
    assert kind([*GOOD, look(3, 1.4), look(4, 1.4)]) is None


def test_copies_twice_in_a_row_end_it() -> None:
    copying = {"copies": 8.0}
    assert kind([*GOOD, look(3, **copying)]) is None
    assert kind([*GOOD, look(3, **copying), look(4, **copying)]) == "copies"
    assert not may_go_back(Alarm("copies", ""), 0, 3)


def test_without_measures_only_copies_count() -> None:
    assert kind([Look(1, 10), Look(2, 20)], 0.9) is None
    assert chosen_look([Look(1, 10), Look(2, 20)], CONTROL) == Look(2, 20)


def test_gentler_settings_and_how_often() -> None:
    course = Course(step=5, spent=9, setbacks=1, pace=0.5, firm=2.0, probability=0.7)
    changed, words = gentler(course, Alarm("overfitting", "x"))
    assert changed == Course(5, 9, 2, 0.25, 4.0, 0.8)
    assert "0.80" in words
    assert gentler(course, Alarm("collapse", "x"))[0].probability == 0.7
    assert may_go_back(Alarm("collapse", ""), 2, 3)
    assert not may_go_back(Alarm("collapse", ""), 3, 3)


def test_the_last_of_the_nearest_that_neither_copy_nor_collapse() -> None:
    looks = [look(1, 1.0), look(2, 1.02), look(3, 0.5, copies=8), look(4, 0.4, diversity=0.2), look(5, 1.5)]
    assert chosen_look(looks, CONTROL) == looks[1]
    assert chosen_look(looks[2:4], CONTROL, alarmed=True) is None
    assert chosen_look(looks[2:4], CONTROL) == looks[3]


def test_warnings_say_numbers() -> None:
    assert warnings_of([look(1)], CONTROL) == []
    said = warnings_of([look(1, copies=8, overfitting=0.8, diversity=0.2)], CONTROL)
    assert len(said) == 3
    assert "8 of 32" in said[0]
    assert "80%" in said[1]


def pictures(count: int, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] / 32
    places, sizes = random.uniform(0.3, 0.7, (count, 2)), random.uniform(0.1, 0.3, count)
    made = [1.6 * (np.hypot(y - p[0], x - p[1]) < s) - 0.8 for p, s in zip(places, sizes, strict=True)]
    noise = random.normal(0, 0.1, (count, 32, 32))
    return torch.from_numpy((np.array(made) + noise)[:, None].astype(np.float32))


def test_diversity_is_one_for_strangers_and_falls_with_each_kind_of_collapse() -> None:
    sight = Sight.of(pictures(300, 0))
    real = sight.see(pictures(200, 1))

    def of(images: torch.Tensor) -> float:
        return diversity(real=real, synthetic=sight.see(images))

    strangers = pictures(200, 2)
    assert of(strangers) == pytest.approx(1, abs=0.15)
    assert of(strangers[:1].expand(200, -1, -1, -1)) < 0.1  # one image
    assert of(strangers[:3].repeat(67, 1, 1, 1)) < 0.5  # three images
    mean = pictures(300, 0).mean(0, keepdim=True)
    assert of(mean + 0.3 * (strangers - mean)) < 0.5  # all near the mean


def test_collapse_inside_classes_is_seen() -> None:
    sight = Sight.of(pictures(300, 0))
    classes = np.arange(200) % 4
    real = sight.see(pictures(200, 1))
    inside = pictures(4, 3).repeat(50, 1, 1, 1)  # one image a class
    found = diversity_of_classes(
        real=real, synthetic=sight.see(inside), classes_real=classes, classes_synthetic=classes
    )
    assert found is not None
    assert found < 0.2
    few = np.arange(200)
    assert diversity_of_classes(real=real, synthetic=real, classes_real=few, classes_synthetic=few) is None


def test_a_look_is_its_fields() -> None:
    assert dataclasses.asdict(look(1))["step"] == 1
