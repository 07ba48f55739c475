"""What is watched: the same losses every time, copies against a control, and which point becomes the model."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from synthcohort.diffusion.precondition import add_noise
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.training.config import TrainConfig
from synthcohort.training.joint import image_specs, joint_set, open_types, vocabulary_of
from synthcohort.training.watch import (
    WATCHED_SIGMAS,
    Control,
    WatchPoint,
    best_width,
    chosen_point,
    copying,
    even_rows,
    fixed_loss,
    sample_sheet,
    warnings_of,
    watch_steps,
)

CONTROL = Control(images=1000, above=10)  # at most 1.8 % of strangers look like copies


def point(step: int, training: float, validation: float, copies: int = 0, drawn: int = 50) -> WatchPoint:
    return WatchPoint(step, 10 * step, {"1.0": training}, {"1.0": validation}, drawn, copies, 0.9)


def test_loss_of_a_fresh_network_and_sheet(cohort_path: Path, config: TrainConfig, tmp_path: Path) -> None:
    types = open_types([cohort_path])
    specs, vocabulary = image_specs(types, config), vocabulary_of(types, config, None)
    data = joint_set(tmp_path / "x", [types[0].train], specs, vocabulary, config)
    spec = ModelSpec(config.network, specs, vocabulary, data.std(), "float32")
    torch.manual_seed(0)
    denoiser = spec.build().eval()
    places = even_rows([data], 12)[0]
    losses = fixed_loss(denoiser, data, *places, 5, seed=0)
    assert tuple(losses) == tuple(map(str, WATCHED_SIGMAS))
    assert losses == fixed_loss(denoiser, data, *places, 5, seed=0)
    assert losses != fixed_loss(denoiser, data, *places, 5, seed=1)
    assert 0.8 < losses["0.05"] < 1.2  # a network that answers 0
    picture = Image.open(io.BytesIO(sample_sheet(denoiser, spec, seed=0, per_class=2)))
    assert picture.height > picture.width  # three grades, two samples each


def test_a_denoiser_that_knows_the_images_by_heart_has_a_gap(
    cohort_path: Path, config: TrainConfig, tmp_path: Path
) -> None:
    """Answers with the nearest training image: perfect on those, wrong on patients it has not seen."""
    types = open_types([cohort_path])
    specs, vocabulary = image_specs(types, config), vocabulary_of(types, config, None)
    train = joint_set(tmp_path / "t", [types[0].train], specs, vocabulary, config)
    validation = joint_set(tmp_path / "v", [types[0].validation], specs, vocabulary, config)
    known = train.sets[0].unit_images(range(len(train)))

    class ByHeart(torch.nn.Module):
        sigma_data = 0.5

        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: object) -> torch.Tensor:
            return known[torch.cdist(x.flatten(1), known.flatten(1)).argmin(1)]

    places = even_rows([train, validation], 4)
    on_train, on_validation = (
        fixed_loss(ByHeart(), data, *place, 4, 0)  # type: ignore[arg-type]
        for data, place in zip((train, validation), places, strict=True)
    )
    assert on_train["0.2"] == pytest.approx(0.0, abs=1e-6)
    assert on_validation["0.2"] > 0.05
    assert add_noise(known[:1], known[:1], torch.zeros(1)).equal(known[:1])


def test_copies_count_against_the_control_and_one_alone_does_not() -> None:
    assert not copying(point(1, 1, 1, copies=0), CONTROL)
    assert not copying(point(1, 1, 1, copies=1), CONTROL)
    assert copying(point(1, 1, 1, copies=2), CONTROL)
    assert not copying(point(1, 1, 1, copies=2, drawn=200), CONTROL)  # 1 % is what strangers have
    assert copying(point(1, 1, 1, copies=2, drawn=1000), Control())  # nothing known of strangers


def test_warnings_say_what_memorizing_shows() -> None:
    assert warnings_of([], CONTROL) == []
    assert warnings_of([point(1, 0.5, 0.5), point(2, 0.4, 0.45)], CONTROL) == []
    (risen,) = warnings_of([point(1, 0.5, 0.5), point(2, 0.4, 0.55)], CONTROL)
    assert "10% above its lowest" in risen
    assert warnings_of([point(1, 0.5, 0.5), point(2, 0.6, 0.55)], CONTROL) == []  # both rose: no memorizing
    (copies,) = warnings_of([point(1, 0.5, 0.5, copies=5)], CONTROL)
    assert "5 of 50 drawn images look like copies" in copies


def test_the_model_is_the_best_point_that_does_not_copy() -> None:
    points = [point(1, 0.5, 0.50), point(2, 0.4, 0.40), point(3, 0.3, 0.402), point(4, 0.2, 0.39, copies=9)]
    assert chosen_point(points, CONTROL).step == 3  # the last within 1 %
    assert chosen_point(points[:3] + [point(4, 0.2, 0.39)], CONTROL).step == 4
    copying_all = [point(1, 0.5, 0.5, copies=5), point(2, 0.4, 0.4, copies=9)]
    assert chosen_point(copying_all, CONTROL).step == 1
    blind = [WatchPoint(1, 10), WatchPoint(2, 20)]
    assert chosen_point(blind, CONTROL).step == 2


def test_points_cost_a_bounded_share_and_end_at_the_last_step(config: TrainConfig) -> None:
    assert watch_steps(config, 6) == [3, 6]
    many = watch_steps(config, 100_000)
    assert len(many) == 8
    assert many[-1] == 100_000


def test_the_width_with_the_lowest_loss_is_taken() -> None:
    losses = {0.05: 0.4, 0.1: 0.3, 0.2: None}
    assert best_width(lambda width: losses[width], list(losses)) == (0.1, {"0.05": 0.4, "0.1": 0.3})
    assert best_width(lambda width: None, [0.05, 0.1]) == (0.05, {})
