import numpy as np
import pytest

from synthcohort.core.policy import load_policy
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.inputs import open_inputs, patients
from synthcohort.evaluation.stress import SWEEPS, StressConfig, breaking_point, stress, sweep
from synthcohort.metrics.shift import Estimate

CONFIG = EvaluateConfig(encoders=("self_trained",), grader=GraderConfig(steps=1))


class PixelEyes:
    """Sorted row means and the corner's brightness: enough to read bars, and a mark."""

    def see(self, encoder, view):
        images = np.stack([view.image(i) for i in range(len(view))]).astype(np.float32)
        features = np.column_stack([np.sort(images.mean(axis=2), axis=1), images[:, :3, :3].mean(axis=(1, 2))])
        return Seen(features, patients(view), np.zeros(len(view)))


def bars(images):
    """Reads the width of the bar: rows brighter than the middle of the range."""
    bright = (images[:, 0, :, 8:-8].mean(axis=2) > 0.4).sum(axis=1)
    return -np.abs(bright[:, None] - np.array([4, 10, 16]))


def run(toys, folder, draw=None, real=None):
    toys.cohort(folder / "real", num=420, **({} if real is None else {"draw": real}))
    toys.cohort(folder / "made", "synthetic", num=240, **({} if draw is None else {"draw": draw}))
    inputs = open_inputs(folder / "real", folder / "made", None, folder / "cache")
    settings = StressConfig(images=60, rare="2")
    made = stress(inputs, PixelEyes(), CONFIG, load_policy("open"), folder / "cache", 0, settings, bars)
    return {(item["name"], item["subset"]): item for item in made["scores"]}, made["figures"]["breaking_points"]


def test_equal_images_hold_no_shortcut_and_break_alike(toys, tmp_path):
    found, points = run(toys, tmp_path)
    assert abs(found["shortcut_recall_lost", "grade=2"]["value"]) < 0.15
    assert abs(found["shortcut_called", "grade=2"]["value"]) < 0.15
    assert found["stress_noise", "0 of the value range"]["value"] > 0.8
    assert found["stress_severity", "grade=1"]["floor"]["value"] > 0.8
    for point in points.values():
        assert set(point) == {"unit", "levels", "real", "synthetic"}
    dark = [points["underexposure"][side]["breaks_at"] for side in ("real", "synthetic")]
    assert -0.8 < dark[0] < -0.2
    assert dark[1] == pytest.approx(dark[0], abs=0.2)
    assert "breaks at" in found["stress_underexposure", "-2 stops"]["computed_on"]


def test_a_mark_of_synthetic_images_is_taken_for_a_disease_that_nobody_sees(toys, tmp_path):
    def same(grade, generator, size):
        return toys.image(0, generator, size)

    def marked(grade, generator, size):
        image = same(grade, generator, size)
        image[:3, :3] = 255
        return image

    found, _ = run(toys, tmp_path, marked, same)
    assert found["shortcut_called", "grade=2"]["low"] > 0.5


def test_a_mark_of_synthetic_images_costs_recall(toys, tmp_path):
    def marked(grade, generator, size):
        image = toys.image(grade, generator, size)
        image[:3, :3] = 255
        return image

    found, _ = run(toys, tmp_path, marked)
    assert found["shortcut_recall_lost", "grade=2"]["low"] > 0.5


def test_a_breaking_point_lies_between_levels_and_has_to_last():
    levels = (0, 1, 2, 3)

    def found(*values):
        return [Estimate(value, 0.01) for value in values]

    assert breaking_point(levels, found(0.9, 0.9, 0.7, 0.5), 0.1) == pytest.approx(1.5)
    assert breaking_point(levels, found(0.9, 0.5, 0.9, 0.9), 0.1) is None
    assert breaking_point(levels, [Estimate(0.9, 0.1), *found(0.85, 0.82, 0.79)], 0.1) is None
    assert breaking_point((0, -1), found(0.9, 0.7), 0.1) == pytest.approx(-0.5)


def test_the_first_level_changes_nothing_and_draws_repeat():
    images = np.random.default_rng(0).random((6, 16, 16)).astype(np.float32)
    seen = []

    def judge(x):
        seen.append(x)
        return np.zeros((len(x), 2))

    truth, owners = np.zeros(6, int), np.arange(6)
    for _ in range(2):
        sweep(judge, images, truth, owners, SWEEPS["noise"], 0)
    assert (seen[0][:, 0] == images).all()
    assert (seen[3] == seen[9]).all()
