"""The training loop: budget, exact resume, refusals, and what it leaves behind."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, ConfigError, InputError, TrainingError
from synthcohort.core.run import RunFolder
from synthcohort.models.checkpoint import load_checkpoint, load_tensors
from synthcohort.models.generator import load_generator
from synthcohort.training import diffusion as loop
from synthcohort.training import state as state_module
from synthcohort.training import train
from synthcohort.training.config import TrainConfig
from synthcohort.training.diffusion import TrainingState, rate_factor


def state_of(run: Path) -> dict[str, Tensor]:
    found = load_checkpoint(run / "checkpoint")
    assert found is not None
    return found[1]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_run_folder_holds_model_log_and_features_but_no_pixels(
    cohort_path: Path, config: TrainConfig, tmp_path: Path
) -> None:
    result = train([cohort_path], tmp_path / "run", config, seed=1)
    assert result == {"run": (tmp_path / "run").as_posix(), "images_seen": 48, "resumed": False}
    progress = [line for line in RunFolder.read(tmp_path / "run").read_log() if line["event"] == "progress"]
    assert [line["images_seen"] for line in progress] == [16, 32, 48]
    assert all(line["loss"] > 0 for line in progress)
    looks = [line for line in RunFolder.read(tmp_path / "run").read_log() if line["event"] == "watch"]
    assert [line["step"] for line in looks] == [3, 6]
    assert all(0 < line[f"{role}_loss"] < 3 for line in looks for role in ("training", "validation"))
    assert all(line["copies"] == 0 and line["drawn"] == 32 for line in looks)
    assert (tmp_path / "run" / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run" / "data").exists()
    generator = load_generator(tmp_path / "run")
    assert generator.image["modality"] == "DX"
    assert generator.facts["images_seen"] == 48
    assert generator.facts["chosen"]["step"] == 6
    assert sum(item["count"] for item in generator.facts["label_counts"]) == generator.facts["training_images"]
    assert train([cohort_path], tmp_path / "run", config, seed=1)["resumed"]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_killed_and_resumed_training_is_bit_identical(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, dropout=dropout))
    train([cohort_path], tmp_path / "whole", config, seed=1)

    update = TrainingState.update

    def killed(self: TrainingState, *batch: object) -> Tensor:
        if self.step == 5:  # two steps after the checkpoint: they must be done again
            raise KeyboardInterrupt
        return update(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train([cohort_path], tmp_path / "cut", config, seed=1)
    monkeypatch.undo()
    with open(tmp_path / "cut" / "log.jsonl", "a") as log:
        log.write('{"torn')
    torch.manual_seed(123)  # whatever came before must not matter
    assert train([cohort_path], tmp_path / "cut", config, seed=1)["resumed"]

    assert equal(state_of(tmp_path / "whole"), state_of(tmp_path / "cut"))
    assert load_tensors(tmp_path / "whole" / "model" / "weights.safetensors").keys()
    for name in ("model/weights.safetensors", "model/model.json", "samples.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_kill_while_the_checkpoint_is_written_leaves_the_old_one(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, step: int, tensors: object, facts: object) -> None:
        if step == 6:
            (folder / "000000006.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt
        save(folder, step, tensors, facts)  # type: ignore[arg-type]

    save = state_module.save_checkpoint
    monkeypatch.setattr(state_module, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train([cohort_path], tmp_path / "run", config, seed=1)
    found = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert found is not None
    assert found[0] == 3
    monkeypatch.undo()
    assert train([cohort_path], tmp_path / "run", config, seed=1)["images_seen"] == 48


def test_seed_and_config_decide_the_run(cohort_path: Path, config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, images=16)
    train([cohort_path], tmp_path / "a", config, seed=1)
    train([cohort_path], tmp_path / "b", config, seed=2)
    assert not equal(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    with pytest.raises(ArtifactError, match="seed"):
        train([cohort_path], tmp_path / "a", config, seed=2)


def test_training_learns(cohort_path: Path, config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, images=1600, checkpoint_images=1600, log_images=400, batch=16)
    train([cohort_path], tmp_path / "run", config, seed=0)
    losses = [
        line["validation_loss"] for line in RunFolder.read(tmp_path / "run").read_log() if "validation_loss" in line
    ]
    assert losses[-1] < min(0.85, losses[0])  # 1 is a network that always answers 0


def test_minutes_choose_the_images_once(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))  # every look at the clock is ten seconds later
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    result = train([cohort_path], tmp_path / "run", dataclasses.replace(config, minutes=0.25), seed=1)
    assert RunFolder.read(tmp_path / "run").info["steps"] * 8 == result["images_seen"]


@pytest.mark.parametrize(("options", "words"), [({"origin": "synthetic"}, "real"), ({"roles": ("test",)}, "'train'")])
def test_only_training_images_of_real_cohorts(
    make_cohort: Callable[..., Path], config: TrainConfig, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train([make_cohort("other", **options)], tmp_path / "run", config, seed=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("setting", "words"), [({"labels": ("colour",)}, "grade"), ({"size": 18}, "multiples of 4")])
def test_settings_that_do_not_fit_the_cohort_leave_nothing(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, setting: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train([cohort_path], tmp_path / "run", dataclasses.replace(config, **setting), seed=0)
    assert not (tmp_path / "run").exists()


def test_training_without_labels(cohort_path: Path, config: TrainConfig, tmp_path: Path) -> None:
    train([cohort_path], tmp_path / "run", dataclasses.replace(config, labels=(), images=8), 0)
    generator = load_generator(tmp_path / "run")
    assert generator.labels == {}
    assert next(generator.draw([{}], [1])).shape == (16, 16)


def test_no_validation_images_is_fine(make_cohort: Callable[..., Path], config: TrainConfig, tmp_path: Path) -> None:
    result = train([make_cohort("all", roles=("train",))], tmp_path / "run", dataclasses.replace(config, images=8), 0)
    assert result["images_seen"] == 8


def test_a_loss_that_is_not_finite_stops_with_words(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingState, "update", lambda self, *batch: torch.tensor(float("nan")))
    with pytest.raises(TrainingError, match="learning_rate"):
        train([cohort_path], tmp_path / "run", config, seed=0)


def test_memory_that_runs_out_is_said_in_words(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: TrainingState, *batch: object) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(TrainingState, "update", full)
    with pytest.raises(TrainingError, match=r"train\.batch"):
        train([cohort_path], tmp_path / "run", config, seed=0)


def test_rate_rises_holds_and_ends_near_zero() -> None:
    factors = [rate_factor(step, 1000, warmup=0.1, hold=0.3) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[100:300]) == {1.0}
    assert factors[-1] < 1e-4
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors[300:]))
