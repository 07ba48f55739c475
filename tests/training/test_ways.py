"""Other ways to train: in pieces, with changes, on two processes, from another run, another network, a full disk."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from synthcohort.core.errors import ConfigError, TrainingError
from synthcohort.core.run import RunFolder
from synthcohort.models import checkpoint
from synthcohort.models.autoencoder import AutoencoderConfig
from synthcohort.models.checkpoint import load_checkpoint, load_tensors
from synthcohort.models.generator import load_generator
from synthcohort.models.transformer import TransformerConfig
from synthcohort.training import diffusion as loop
from synthcohort.training import train
from synthcohort.training.autoencoder import train_autoencoder
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig


@pytest.fixture
def quick(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, validation_images=0, watch_images=0, precision="float32")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "model" / "weights.safetensors")


def furthest(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_pieces_of_a_batch_give_the_same_step(cohort_path: Path, quick: TrainConfig, tmp_path: Path) -> None:
    for name, pieces in (("one", 1), ("three", 3)):
        train([cohort_path], tmp_path / name, dataclasses.replace(quick, accumulate=pieces), seed=0)
    one, three = weights(tmp_path / "one"), weights(tmp_path / "three")
    assert furthest(one, three) < 1e-3
    train([cohort_path], tmp_path / "other", quick, seed=1)
    assert furthest(one, weights(tmp_path / "other")) > 1e-2


def test_changes_are_made_told_and_resumed_bit_for_bit(
    cohort_path: Path, quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(quick, augment=0.5, flip=False, checkpoint_images=16, clip=1.0)
    train([cohort_path], tmp_path / "whole", config, seed=0)
    assert load_generator(tmp_path / "whole").spec.vocabulary.augmented
    update = loop.TrainingState.update

    def killed(self: loop.TrainingState, *given: object) -> torch.Tensor:
        if self.step == 4:
            raise KeyboardInterrupt
        return update(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.TrainingState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train([cohort_path], tmp_path / "cut", config, seed=0)
    monkeypatch.undo()
    assert train([cohort_path], tmp_path / "cut", config, seed=0)["resumed"]
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


PROGRAM = """
import sys
from pathlib import Path
from synthcohort.core.config import build
from synthcohort.training import train
from synthcohort.training.autoencoder import train_autoencoder
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig
network = dict(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16)
config = build(TrainConfig, dict(images=48, size=16, network=network, batch=8, validation_images=0, watch_images=0,
    log_images=16, checkpoint_images=24, precision="float32", latent=Path(sys.argv[3]) if sys.argv[3:] else None))
train([Path(sys.argv[1])], Path(sys.argv[2]), config, seed=0)
"""


def on_two_processes(program: Path, *given: Path) -> None:
    program.write_text(PROGRAM)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(
        [*command, *map(str, given)], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-20_000:]


def on_one_thread(cohort: Path, out: Path, config: TrainConfig) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train([cohort], out, config, seed=0)
    finally:
        torch.set_num_threads(threads)


def test_two_processes_train_as_one(cohort_path: Path, quick: TrainConfig, tmp_path: Path) -> None:
    for name in ("two", "again"):
        on_two_processes(tmp_path / "program.py", cohort_path, tmp_path / name)
    on_one_thread(cohort_path, tmp_path / "one", quick)
    one, two, again = (weights(tmp_path / name) for name in ("one", "two", "again"))
    assert all(torch.equal(two[name], again[name]) for name in two)
    assert furthest(one, two) < 1e-3


def test_two_processes_train_as_one_on_latents(cohort_path: Path, quick: TrainConfig, tmp_path: Path) -> None:
    space = AutoencoderConfig(patch=2, channels=(8,), encoder_blocks=(1,), decoder_blocks=(1,), latent_channels=4)
    settings = AutoencoderTraining(images=32, size=16, network=space, batch=8, crop=8, report_images=4)
    train_autoencoder([cohort_path], tmp_path / "space", settings, seed=1)
    on_two_processes(tmp_path / "program.py", cohort_path, tmp_path / "two", tmp_path / "space")
    on_one_thread(cohort_path, tmp_path / "one", dataclasses.replace(quick, latent=tmp_path / "space"))
    assert furthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-3


def test_tuning_starts_from_what_the_other_run_knows(
    make_cohort: Callable[..., Path], cohort_path: Path, quick: TrainConfig, tmp_path: Path
) -> None:
    train([cohort_path], tmp_path / "old", quick, seed=0)
    config = dataclasses.replace(quick, images=8, finetune_rate=1e-6)
    other = make_cohort("other", count=60)
    train([other], tmp_path / "new", config, 5, tmp_path / "old")
    old, new = weights(tmp_path / "old"), weights(tmp_path / "new")
    assert furthest(old, new) < 1e-3  # one step at nearly no rate
    facts = load_generator(tmp_path / "new")
    assert facts.facts["started_from"]
    assert facts.spec.sigma_data == load_generator(tmp_path / "old").spec.sigma_data
    wider = dataclasses.replace(config, network=dataclasses.replace(config.network, channels=(8, 32)))
    with pytest.raises(ConfigError, match="another network"):
        train([other], tmp_path / "wide", wider, 5, tmp_path / "old")


def test_a_transformer_trains_and_draws(cohort_path: Path, quick: TrainConfig, tmp_path: Path) -> None:
    small = TransformerConfig(patch=4, width=16, depth=1, head_width=8, embedding_width=16)
    config = dataclasses.replace(quick, architecture="transformer", transformer=small)
    train([cohort_path], tmp_path / "run", config, seed=0)
    generator = load_generator(tmp_path / "run")
    assert generator.spec.network == small
    assert next(generator.draw([{"grade": 1}], [0])).shape == (16, 16)
    with pytest.raises(ConfigError, match="multiples of 4"):
        train([cohort_path], tmp_path / "odd", dataclasses.replace(config, size=18), seed=0)


def test_the_average_is_picked_and_can_be_changed_afterwards(
    cohort_path: Path, config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, images=160, average="auto", watch_images=0)
    train([cohort_path], tmp_path / "run", config, seed=0)
    chosen = load_generator(tmp_path / "run").facts["chosen"]
    assert chosen["average_losses"][str(chosen["average"])] == min(chosen["average_losses"].values())
    before = weights(tmp_path / "run")
    again = train([cohort_path], tmp_path / "run", dataclasses.replace(config, average=0.1), seed=0)
    assert again["resumed"]
    assert load_generator(tmp_path / "run").facts["chosen"]["average"] == 0.1
    assert RunFolder.read(tmp_path / "run").info["images_seen"] == 160
    if chosen["average"] != 0.1:
        assert furthest(before, weights(tmp_path / "run")) > 0


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(
    cohort_path: Path, quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(quick, checkpoint_images=16)
    save = checkpoint.save_file

    def full(tensors: dict[str, torch.Tensor], file: Path) -> None:
        if file.parent.name == "checkpoint" and int(file.name.split(".")[1]) > 2:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(tensors, file)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match="make room, then run the same command again"):
        train([cohort_path], tmp_path / "run", config, seed=0)
    found = load_checkpoint(tmp_path / "run" / "checkpoint")
    assert found is not None
    assert found[0] == 2
    monkeypatch.undo()
    assert train([cohort_path], tmp_path / "run", config, seed=0)["images_seen"] == 48


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_memory_that_runs_out_names_the_way_out(
    error: Exception, cohort_path: Path, quick: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(loop.TrainingState, "update", fail)
    with pytest.raises(TrainingError, match=r"raise train\.accumulate"):
        train([cohort_path], tmp_path / "run", quick, seed=0)
