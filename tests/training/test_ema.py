"""The averages of the weights: what a width means, and that one picked afterwards is one that was tracked all along."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError
from synthcohort.training.ema import (
    TRACKED,
    Averages,
    combination,
    decay,
    exponent,
    profile,
    stored_average,
    stored_steps,
    update_average,
)


def walk(steps: int, seed: int = 0) -> list[dict[str, Tensor]]:
    """Weights on a random walk with a drift, and one that never moves."""
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(steps, 20, generator=generator).cumsum(0) * 0.1 + torch.linspace(0, 3, steps)[:, None]
    return [{"moving": move, "still": torch.full((3,), 7.0)} for move in moves]


def tracked(weights: list[dict[str, Tensor]], width: float) -> dict[str, Tensor]:
    averages = Averages(weights[0], (width,))
    for step, values in enumerate(weights, 1):
        averages.update(values, step)
    return averages.of[width]


@pytest.mark.parametrize("width", [0.03, 0.05, 0.1, 0.2])
def test_the_width_is_the_spread_of_the_steps_held(width: float) -> None:
    steps = 20_000
    shares = profile(steps, width)
    times = (np.arange(steps) + 0.5) / steps
    mean = (shares * times).sum()
    assert shares.sum() == pytest.approx(1.0)
    assert np.sqrt((shares * (times - mean) ** 2).sum()) == pytest.approx(width, rel=1e-3)


def test_paper_values() -> None:
    assert exponent(0.05) - 1 == pytest.approx(16.97, abs=0.01)  # section 3.1
    assert exponent(0.10) - 1 == pytest.approx(6.94, abs=0.01)
    with pytest.raises(ValueError, match="relative width"):
        exponent(0.4)


def test_updates_follow_the_profile_exactly() -> None:
    weights = walk(300)
    stacked = torch.stack([w["moving"] for w in weights]).double()
    for width in TRACKED:
        expected = torch.from_numpy(profile(300, width)) @ stacked
        torch.testing.assert_close(tracked(weights, width)["moving"].double(), expected, rtol=1e-5, atol=1e-5)


def test_first_step_takes_the_weights_and_no_memory_keeps_them() -> None:
    assert decay(1, 0.05) == 0.0
    average = [torch.zeros(2)]
    update_average(average, [torch.ones(2)], 0.0)
    assert average[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("width", "step"), [(0.06, 800), (0.075, 800), (0.13, 800), (0.08, 600)])
def test_a_width_picked_afterwards_is_the_one_tracked_all_along(tmp_path: Path, width: float, step: int) -> None:
    weights = walk(800)
    averages = Averages(weights[0])
    for done, values in enumerate(weights, 1):
        averages.update(values, done)
        if done % 100 == 0:
            averages.store(tmp_path, done)
    assert stored_steps(tmp_path) == list(range(100, 900, 100))
    found, error = stored_average(tmp_path, step, width)
    expected = tracked(weights[:step], width)
    assert error < 0.035
    assert torch.equal(found["still"], expected["still"])
    nearest = min(float((tracked(weights[:step], w)["moving"] - expected["moving"]).norm()) for w in TRACKED)
    assert float((found["moving"] - expected["moving"]).norm()) < 0.15 * nearest  # far nearer than either tracked one
    assert found["moving"].dtype == torch.float32


def test_more_snapshots_come_nearer_and_a_stored_one_is_itself() -> None:
    errors = []
    for count in (4, 8, 16):
        stored = [(1600 * k // count, width) for k in range(1, count + 1) for width in TRACKED]
        made = combination(stored, 1600, 0.15)
        assert sum(made.terms.values()) == pytest.approx(1.0)
        errors.append(made.error)
        assert combination(stored, 1600, 0.05).terms == {(1600, 0.05): 1.0}
    assert all(later < 0.6 * earlier for earlier, later in itertools.pairwise(errors))
    with pytest.raises(ValueError, match="no average"):
        combination([(100, 0.05)], 50, 0.05)


def test_a_step_without_snapshot_is_said(tmp_path: Path) -> None:
    Averages({"w": torch.zeros(2)}).store(tmp_path, 5)
    with pytest.raises(ArtifactError, match="none of step 7"):
        stored_average(tmp_path, 7, 0.05)


def test_averages_of_another_network_are_refused() -> None:
    averages = Averages({"w": torch.zeros(2)})
    with pytest.raises(ValueError, match="another network"):
        averages.load(Averages({"v": torch.zeros(2)}).tensors())
    averages.load({name: value + 3 for name, value in averages.tensors().items()})
    assert averages.of[0.05]["w"].tolist() == [3.0, 3.0]
