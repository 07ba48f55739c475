"""The adversarial loop: learning, exact resume, pieces and processes, guards that go back and stop, what is left."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, ConfigError, TrainingError
from synthcohort.core.run import RunFolder
from synthcohort.models.checkpoint import load_checkpoint
from synthcohort.models.gan import GanNetworkConfig
from synthcohort.models.gan_generator import gan_generator
from synthcohort.training import gan as loop
from synthcohort.training.gan import train_gan
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.gan_guards import Alarm
from synthcohort.training.gan_state import GanState, Measured, glide
from synthcohort.training.joint import draw_batch, image_specs, joint_set, open_types, vocabulary_of
from synthcohort.training.parallel import Workers

TINY = GanNetworkConfig(latent=8, channels=8, most=16, embedding_width=8)


@pytest.fixture
def gan_config() -> GanConfig:
    return GanConfig(
        images=48, size=16, network=TINY, batch=8, looks=2, guard_images=0, watch_images=0, log_images=16,
        checkpoint_images=16, augment_images=100,
    )  # fmt: skip


def events(run: Path, name: str) -> list[dict[str, Any]]:
    return [line for line in RunFolder.read(run).read_log() if line["event"] == name]


def state_of(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = load_checkpoint(run / "checkpoint")
    assert found is not None
    return found[1], found[2]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("preset", ["modern", "wgan_gp"])
def test_run_folder_holds_model_log_and_features_but_no_pixels(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, preset: Any
) -> None:
    config = dataclasses.replace(gan_config, preset=preset, images=80, guard_images=32, watch_images=8)
    result = train_gan([cohort_path], tmp_path / "run", config, seed=1)
    assert result == {"run": (tmp_path / "run").as_posix(), "images_seen": 80, "resumed": False}
    progress, looks = events(tmp_path / "run", "progress"), events(tmp_path / "run", "look")
    assert progress[-1]["images_seen"] == 80
    assert all(line["images_per_second"] > 0 for line in progress)
    assert len(looks) == 2
    assert looks[-1]["drawn"] == 32 if looks[-1]["drawn"] > 8 else looks[-1]["drawn"] == 8
    for name in ("model/model.json", "samples.png", "training.html", "train_features/00/00/index.json"):
        assert (tmp_path / "run" / name).exists()
    assert not (tmp_path / "run" / "data").exists()
    assert not (tmp_path / "run" / "good").exists()
    generator = gan_generator(tmp_path / "run" / "model")
    assert generator.spec.kind == "gan"
    assert generator.image["modality"] == "DX"
    assert sum(item["count"] for item in generator.facts["label_counts"]) == generator.facts["training_images"]
    assert next(generator.draw([{"grade": 2}], [1])).shape == (16, 16)
    assert train_gan([cohort_path], tmp_path / "run", config, seed=1)["resumed"]
    with pytest.raises(ArtifactError, match="seed"):
        train_gan([cohort_path], tmp_path / "run", config, seed=2)


@pytest.mark.parametrize("preset", ["modern", "wgan_gp"])
def test_killed_and_resumed_training_is_bit_identical(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Any
) -> None:
    config = dataclasses.replace(gan_config, preset=preset, critic_steps=1 if preset == "modern" else 2, images=96)
    train_gan([cohort_path], tmp_path / "whole", config, seed=1)
    update = GanState.update

    def killed(self: GanState, *batches: Any) -> Measured:
        if self.images_spent == 80:
            raise KeyboardInterrupt
        return update(self, *batches)

    monkeypatch.setattr(GanState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train_gan([cohort_path], tmp_path / "cut", config, seed=1)
    monkeypatch.undo()
    torch.manual_seed(123)  # whatever came before must not matter
    assert train_gan([cohort_path], tmp_path / "cut", config, seed=1)["resumed"]
    whole, cut = state_of(tmp_path / "whole"), state_of(tmp_path / "cut")
    assert equal(whole[0], cut[0])
    assert whole[1] == cut[1]
    if preset == "modern":
        assert whole[1]["course"]["gap"] != 0
    for name in ("model/weights.safetensors", "model/model.json", "samples.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def fresh(cohort: Path, config: GanConfig, folder: Path) -> tuple[Any, Any]:
    types = open_types([cohort])
    specs, vocabulary = image_specs(types, config.data), vocabulary_of(types, config.data, None)
    data = joint_set(folder, [types[0].train], specs, vocabulary, config.data)
    from synthcohort.models.gan_spec import GanSpec

    return GanSpec(config.preset, config.network, specs, vocabulary, "float32"), data


@pytest.mark.parametrize("preset", ["modern", "wgan_gp"])
def test_pieces_and_processes_take_the_same_step(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, preset: Any
) -> None:
    config = dataclasses.replace(gan_config, preset=preset, precision="float32", critic_steps=2, augment=0.5)
    spec, data = fresh(cohort_path, config, tmp_path)
    pieced = dataclasses.replace(config, accumulate=3)
    states = [GanState(spec, c, 0, 10) for c in (config, pieced)]
    for step in range(2):
        found = [
            state.update([draw_batch(data, 2 * step + i, 8, 0, config.data) for i in range(2)]) for state in states
        ]
        assert found[0].discriminator == pytest.approx(found[1].discriminator, abs=1e-4)
        assert found[0].penalty == pytest.approx(found[1].penalty, rel=1e-3)
    a, b = (torch.cat([p.detach().flatten() for p in state.generator.parameters()]) for state in states)
    # Where a gradient is nearly zero its sign is rounding, and Adam steps by the sign: a few weights part company.
    assert ((a - b).abs() <= 1e-4 + 1e-3 * b.abs()).float().mean() > 0.995
    assert (a - b).abs().max() < 0.01


def test_two_processes_add_up_to_one(cohort_path: Path, gan_config: GanConfig, tmp_path: Path) -> None:
    """Each computes its rows: the gradients of both together are those of the whole batch."""
    config = dataclasses.replace(gan_config, precision="float32", augment=0.0)
    spec, data = fresh(cohort_path, config, tmp_path)

    class Half(Workers):
        def add_up(self, tensors: Any) -> None:
            kept.append([t.detach().clone() for t in tensors])

    kept: list[list[Tensor]] = []
    for rank in (0, 1):
        GanState(spec, config, 0, 10, Half(rank, 2)).update([draw_batch(data, 0, 8, 0, config.data)])
    whole: list[list[Tensor]] = []
    state = GanState(spec, config, 0, 10)
    step = GanState._step

    def noted(self: GanState, name: str, network: torch.nn.Module, totals: Tensor) -> None:
        whole.append([*(p.grad.clone() for p in network.parameters() if p.grad is not None), totals.clone()])
        step(self, name, network, totals)

    GanState._step = noted  # type: ignore[method-assign]
    try:
        state.update([draw_batch(data, 0, 8, 0, config.data)])
    finally:
        GanState._step = step  # type: ignore[method-assign]
    for a, b, c in zip(kept[0], kept[2], whole[0], strict=True):  # of the discriminator
        torch.testing.assert_close(a + b, c, rtol=1e-3, atol=1e-5)


def test_augmentation_rises_only_where_training_images_are_known_by_heart(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path
) -> None:
    """Offered training images as if held out, it stays low; offered noise, which scores like none of them, it rises."""
    config = dataclasses.replace(gan_config, precision="float32", learning_rate=2e-3)
    torch.manual_seed(0)
    spec, data = fresh(cohort_path, config, tmp_path)
    found = {}
    for name in ("strangers", "noise"):
        state = GanState(spec, config, 0, 40)
        for step in range(40):
            held_out = draw_batch(data, 100 + step, 8, 0, config.data)
            if name == "noise":
                held_out = dataclasses.replace(held_out, images=torch.randn(held_out.images.shape))
            state.update([draw_batch(data, step, 8, 0, config.data)], held_out)
        found[name] = state.course
    assert found["strangers"].by_heart < 0.3
    assert found["noise"].by_heart > found["strangers"].by_heart + 0.2
    assert found["strangers"].probability < found["noise"].probability


def test_training_learns(make_cohort: Callable[..., Path], gan_config: GanConfig, tmp_path: Path) -> None:
    """Discs grow with the grade, and drawn images come nearer to real ones."""
    config = dataclasses.replace(
        gan_config, images=8_000, batch=16, guard_images=64, looks=4, log_images=8_000, checkpoint_images=16_000,
        learning_rate=2e-3, precision="float32", augment=0.0,
    )  # fmt: skip
    train_gan([make_cohort("discs", count=160)], tmp_path / "run", config, seed=0)
    distances = [look["distance"] for look in events(tmp_path / "run", "look")]
    assert min(distances) < max(distances)
    generator = gan_generator(tmp_path / "run" / "model")
    small, middle, large = (
        np.mean([image.mean() for image in generator.draw([{"grade": grade}] * 24, range(24))]) for grade in (0, 1, 2)
    )
    assert small + 8 < middle < large - 8


def alarms(monkeypatch: pytest.MonkeyPatch, at: Callable[[GanState], Alarm | None]) -> None:
    look = loop._look

    def watched(run: Any, state: GanState, watch: Any) -> Alarm | None:
        look(run, state, watch)
        return at(state)

    monkeypatch.setattr(loop, "_look", watched)


def test_training_goes_back_with_gentler_settings_and_stays_exact(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(gan_config, images=96, looks=4, augment=0.0)  # 12 steps, looks at 3, 6, 9, 12

    def once(state: GanState) -> Alarm | None:
        return Alarm("collapse", "made up") if state.course.spent == 6 else None

    alarms(monkeypatch, once)
    train_gan([cohort_path], tmp_path / "whole", config, seed=1)
    (back,) = events(tmp_path / "whole", "rollback")
    assert (back["from_step"], back["step"], back["spent"], back["setbacks"]) == (6, 3, 6, 1)
    assert (back["pace"], back["firm"]) == (0.5, 2.0)
    assert "made up" in back["text"]
    assert "made up" in (tmp_path / "whole" / "training.html").read_text()
    steps = [line["step"] for line in events(tmp_path / "whole", "look")]
    assert steps == [3, 6, 6, 9]  # twelve steps spent, three of them taken back
    assert gan_generator(tmp_path / "whole" / "model").facts["chosen"]["setbacks"] == 1

    update = GanState.update

    def killed(self: GanState, *batches: Any) -> Measured:
        if self.course.spent == 8:
            raise KeyboardInterrupt
        return update(self, *batches)

    monkeypatch.setattr(GanState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train_gan([cohort_path], tmp_path / "cut", config, seed=1)
    monkeypatch.setattr(GanState, "update", update)
    train_gan([cohort_path], tmp_path / "cut", config, seed=1)
    assert equal(state_of(tmp_path / "whole")[0], state_of(tmp_path / "cut")[0])
    weights = "model/weights.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "cut" / weights).read_bytes()


def test_training_stops_with_the_reason_and_keeps_the_last_good_model(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(gan_config, images=160, looks=5, rollbacks=1)  # 20 steps, looks every 4
    alarms(monkeypatch, lambda state: Alarm("divergence", "made up") if state.course.step > 4 else None)
    found = train_gan([cohort_path], tmp_path / "run", config, seed=1)
    assert found["stopped"] == "made up"
    assert found["images_seen"] == 12 * 8  # 8 steps, 4 of them taken back, 4 more
    assert len(events(tmp_path / "run", "rollback")) == 1
    assert "Training ended early" in (tmp_path / "run" / "training.html").read_text()
    assert train_gan([cohort_path], tmp_path / "run", config, seed=1)["stopped"] == "made up"


def test_a_stopped_training_stays_stopped_when_called_again(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(gan_config, images=160, looks=5, rollbacks=0)
    alarms(monkeypatch, lambda state: Alarm("collapse", "made up"))
    monkeypatch.setattr(loop, "chosen_look", lambda looks, control, alarmed: None)
    with pytest.raises(TrainingError, match="made up"):
        train_gan([cohort_path], tmp_path / "run", config, seed=1)
    monkeypatch.setattr(GanState, "update", lambda self, *batches: pytest.fail("went on"))
    with pytest.raises(TrainingError, match=r"made up.*gan\.gamma.*--diffusion"):
        train_gan([cohort_path], tmp_path / "run", config, seed=1)


def test_a_loss_that_is_not_finite_goes_back_to_the_start_then_stops(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, paces = GanState.update, []

    def broken(self: GanState, *batches: Any) -> Measured:
        update(self, *batches)
        paces.append(self.course.pace)
        return Measured(float("nan"), 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr(GanState, "update", broken)
    with pytest.raises(TrainingError, match=r"finite.*lower gan\.learning_rate"):
        train_gan([cohort_path], tmp_path / "run", dataclasses.replace(gan_config, rollbacks=2), seed=1)
    assert paces == [1.0, 0.5, 0.25]


def test_minutes_choose_the_images_once(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))  # every look at the clock is ten seconds later
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    result = train_gan([cohort_path], tmp_path / "run", dataclasses.replace(gan_config, minutes=0.25), seed=1)
    assert RunFolder.read(tmp_path / "run").info["steps"] * 8 == result["images_seen"]


@pytest.mark.parametrize(("setting", "words"), [({"labels": ("colour",)}, "grade"), ({"size": (8, 2000)}, "1024")])
def test_settings_that_do_not_fit_the_cohort_leave_nothing(
    cohort_path: Path, gan_config: GanConfig, tmp_path: Path, setting: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train_gan([cohort_path], tmp_path / "run", dataclasses.replace(gan_config, **setting), seed=0)
    assert not (tmp_path / "run").exists()


def test_without_labels_and_validation_images(
    make_cohort: Callable[..., Path], gan_config: GanConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(gan_config, labels=(), images=16, guard_images=32)
    cohort = make_cohort("all", roles=("train",))
    train_gan([cohort], tmp_path / "run", config, 0)
    assert gan_generator(tmp_path / "run" / "model").labels == {}
    assert events(tmp_path / "run", "look")[-1]["against"] == "training"


def test_odd_and_oblong_sizes_and_budget_words(cohort_path: Path, gan_config: GanConfig, tmp_path: Path) -> None:
    train_gan([cohort_path], tmp_path / "run", dataclasses.replace(gan_config, size=(18, 30), images=16), 0)
    assert next(gan_generator(tmp_path / "run" / "model").draw([{}], [0])).shape == (18, 30)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["kind"] == "gan"


def test_settings_are_all_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        GanConfig(batch=1, augment=0.9, gamma=-1.0)
    assert len(error.value.problems) == 3


def test_presets_and_penalty_by_size() -> None:
    assert GanConfig(preset="wgan_gp").discriminator_steps == 5
    assert GanConfig(preset="wgan_gp").penalty((256, 256)) == 10
    assert not GanConfig(preset="wgan_gp").adaptive
    assert GanConfig().penalty((64, 64)) == 2
    assert GanConfig().penalty((256, 256)) == 128
    assert GanConfig(gamma=3.0).penalty((64, 64)) == 3
    assert [round(glide(share, 0.1), 2) for share in (0, 0.5, 1, 2)] == [1.0, 0.55, 0.1, 0.1]
