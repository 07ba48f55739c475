import numpy as np
import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.core.policy import load_policy
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.curves import CurvesConfig, curves, grid_rows
from synthcohort.evaluation.fidelity import Seen
from synthcohort.evaluation.inputs import open_inputs, patients
from synthcohort.evaluation.learners import open_task

CONFIG = EvaluateConfig(encoders=("self_trained",), grader=GraderConfig(steps=1))


class PixelEyes:
    """Row means as features: enough to read bars."""

    def see(self, encoder, view):
        images = np.stack([view.image(i) for i in range(len(view))])
        return Seen(np.sort(images.mean(axis=2), axis=1).astype(np.float32), patients(view), np.zeros(len(view)))


@pytest.fixture(scope="module")
def inputs(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    toys.cohort(folder / "real", num=420)
    toys.cohort(folder / "made", "synthetic", num=240)
    return open_inputs(folder / "real", folder / "made", None, folder / "cache")


def test_the_grid_is_nested_and_keeps_patients_and_classes(inputs):
    task = open_task(inputs.real, inputs.synthetic, "grade")
    small, large = grid_rows(task, 0.25, 1, 0, 0), grid_rows(task, 0.5, 2, 0, 0)
    assert set(small.real) < set(large.real)
    assert len(large.real) == len(task.train) // 2
    counts = [
        np.bincount(task.classes(side)[rows])
        for side, rows in ((task.train, small.real), (task.synthetic, small.synthetic))
    ]
    assert (counts[0] == counts[1]).all()
    assert len(grid_rows(task, 0.25, 0, 0, 0).synthetic) == 0
    assert (grid_rows(task, 0.25, 1, 0, 1).real != small.real).any()


def test_more_images_teach_more_and_twice_the_data_is_answered(inputs, tmp_path):
    settings = CurvesConfig(real_shares=(0.12, 0.5, 1.0), synthetic_times=(0, 1, 10), runs=2)
    made = curves(inputs, PixelEyes(), CONFIG, load_policy("open"), tmp_path, 0, settings)
    found = {item["subset"]: item for item in made["scores"] if item["name"] == "learning_curve"}
    few, all_ = (found[f"probe: {share} of the real images, 0 times as many synthetic"] for share in ("12%", "100%"))
    assert few["value"] <= all_["value"] + 0.05
    assert few["floor"]["value"] == few["value"]
    assert not any("100% of the real images, 10 times" in subset for subset in found)  # there are not so many
    twice = next(item for item in made["scores"] if item["name"] == "twice_the_data")
    assert twice["low"] <= twice["value"] <= twice["high"]
    assert abs(twice["value"]) < 0.2
    assert {point["real_share"] for point in made["figures"]["learning_curves"]["probe"]} == {0.12, 0.5, 1.0}


def test_a_grid_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="real_shares"):
        CurvesConfig(real_shares=(0.0, 1.0))
