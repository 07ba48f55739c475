"""The autoencoder's training: exact resume, what it leaves behind, refusals, and what its report says."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import build, to_mapping
from synthcohort.core.errors import ArtifactError, ConfigError, InputError, TrainingError
from synthcohort.core.run import RunFolder
from synthcohort.models.autoencoder import AutoencoderConfig, load_autoencoder
from synthcohort.models.checkpoint import ImageSpec, load_checkpoint
from synthcohort.models.condition import Vocabulary
from synthcohort.training import autoencoder as loop
from synthcohort.training.autoencoder import AutoencoderState, draw_crops, train_autoencoder
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.data import training_set
from synthcohort.training.joint import JointSet
from synthcohort.training.reconstruction import reconstruction

TINY = AutoencoderConfig(patch=2, channels=(8, 32), encoder_blocks=(0, 1), decoder_blocks=(0, 1), latent_channels=4)


@pytest.fixture
def tiny() -> AutoencoderTraining:
    return AutoencoderTraining(
        images=48, size=16, network=TINY, batch=8, crop=8, validation_images=4, report_images=4, log_images=16,
        checkpoint_images=24,
    )  # fmt: skip


def test_run_folder_holds_autoencoder_log_and_report_but_no_pixels(
    cohort_path: Path, tiny: AutoencoderTraining, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert train_autoencoder([cohort_path], out, tiny, seed=1) == {
        "run": out.as_posix(), "images_seen": 48, "resumed": False,
    }  # fmt: skip
    progress = [line for line in RunFolder.read(out).read_log() if line["event"] == "progress"]
    assert [line["images_seen"] for line in progress] == [16, 32, 48]
    assert all(line["loss"] > 0 and line["validation_psnr_db"] > 10 for line in progress)
    assert not (out / "data").exists()
    assert sorted(path.name for path in (out / "owner").iterdir()) == ["reconstructions.png"]
    report = json.loads((out / "reconstruction.json").read_text())
    figures = report["images"]["discs"]
    assert figures["count"] == figures["patients"] == 4
    assert 15 < figures["psnr_db"] < 60
    assert 0 < figures["ssim"] <= 1
    assert abs(figures["bias"]) < 20
    assert figures["frechet_packaged"] is None  # too few images to say anything
    autoencoder, spec, content = load_autoencoder(out / "autoencoder")
    assert spec.images[0].modality == "DX"
    assert content["facts"]["training_images"] == sum(r == "train" for r in Cohort.open(cohort_path).column("split"))
    view = Cohort.open(cohort_path).select(split="train")
    x = torch.from_numpy(view.images()).float()[:, None] / 127.5 - 1
    mean, std = autoencoder.encode(x)
    unit = autoencoder.latents(mean, std, torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(unit.mean((0, 2, 3)), torch.zeros(4), atol=0.03)
    assert torch.allclose(unit.std((0, 2, 3)), torch.ones(4), atol=0.03)
    assert train_autoencoder([cohort_path], out, tiny, seed=1)["resumed"]


def test_killed_and_resumed_training_is_bit_identical(
    cohort_path: Path, tiny: AutoencoderTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_autoencoder([cohort_path], tmp_path / "whole", tiny, seed=1)
    learn = AutoencoderState.learn

    def killed(self: AutoencoderState, images: Tensor, noise: Tensor) -> Tensor:
        if self.step == 5:  # two steps after the checkpoint: they must be done again
            raise KeyboardInterrupt
        return learn(self, images, noise)

    monkeypatch.setattr(AutoencoderState, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder([cohort_path], tmp_path / "cut", tiny, seed=1)
    monkeypatch.undo()
    torch.manual_seed(123)  # whatever came before must not matter
    assert train_autoencoder([cohort_path], tmp_path / "cut", tiny, seed=1)["resumed"]
    states = [load_checkpoint(tmp_path / name / "checkpoint") for name in ("whole", "cut")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0][1].keys() == states[1][1].keys()
    assert any(name.startswith("optimizer1.") for name in states[0][1])  # Muon has something to move
    assert all(torch.equal(states[0][1][name], states[1][1][name]) for name in states[0][1])
    for name in ("autoencoder/weights.safetensors", "autoencoder/autoencoder.json", "reconstruction.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_training_improves_on_the_linear_code(cohort_path: Path, tiny: AutoencoderTraining, tmp_path: Path) -> None:
    config = dataclasses.replace(
        tiny, images=1_600, batch=16, log_images=160, checkpoint_images=1_600, report_images=0, 
        texture_weight=0.0,
    )  # fmt: skip
    train_autoencoder([cohort_path], tmp_path / "run", config, seed=0)
    lines = [line for line in RunFolder.read(tmp_path / "run").read_log() if line["event"] == "progress"]
    assert lines[-1]["validation_loss"] < 0.95 * lines[0]["validation_loss"]
    assert lines[-1]["validation_pixel"] < 0.95 * lines[0]["validation_pixel"]
    assert not (tmp_path / "run" / "reconstruction.json").exists()


def test_crops_are_a_function_of_the_step_and_lie_in_their_images(
    make_cohort: Callable[..., Path], tiny: AutoencoderTraining, tmp_path: Path
) -> None:
    view = Cohort.open(make_cohort("discs")).select(split="train")
    image = ImageSpec(16, 16, 1, "uint8", 0, 255)
    data = training_set(tmp_path / "x.npy", [view], image, "pad", Vocabulary())
    joint = JointSet((data,), np.ones(1), 1, Vocabulary())
    plain = dataclasses.replace(tiny, flip=False)
    first, noise = draw_crops(joint, 3, plain, seed=1)
    assert first.shape == (8, 1, 8, 8)
    assert noise.shape == (8, 4, 2, 2)
    assert torch.equal(draw_crops(joint, 3, plain, seed=1)[0], first)
    assert not torch.equal(draw_crops(joint, 4, plain, seed=1)[1], noise)
    images = joint.unit_images(*joint.batch_rows(3, 8, 1))
    for crop, whole in zip(first, images, strict=True):
        windows = whole[0].unfold(0, 8, 1).unfold(1, 8, 1).flatten(0, 1)
        assert bool((windows == crop[0]).flatten(1).all(1).any())
    whole, noise = draw_crops(joint, 0, dataclasses.replace(plain, crop=None), seed=1)
    assert whole.shape[2:] == (16, 16)
    assert noise.shape[2:] == (4, 4)
    assert draw_crops(joint, 0, dataclasses.replace(plain, crop=64), seed=1)[0].shape[2:] == (16, 16)


def test_refusals(
    cohort_path: Path, make_cohort: Callable[..., Path], tiny: AutoencoderTraining, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(InputError, match="real"):
        train_autoencoder([make_cohort("s", origin="synthetic")], tmp_path / "a", tiny)
    with pytest.raises(ConfigError, match="multiples of 4"):
        train_autoencoder([cohort_path], tmp_path / "a", dataclasses.replace(tiny, size=18))
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError) as caught:
        AutoencoderTraining(crop=30, kl_weight=0.0, batch=0)
    assert len(caught.value.problems) == 3
    assert build(AutoencoderTraining, to_mapping(tiny)) == tiny
    train_autoencoder([cohort_path], tmp_path / "b", dataclasses.replace(tiny, images=8, report_images=0), seed=1)
    with pytest.raises(ArtifactError, match="seed"):
        train_autoencoder([cohort_path], tmp_path / "b", dataclasses.replace(tiny, images=8, report_images=0), seed=2)
    monkeypatch.setattr(loop, "texture_loss", lambda x, target: x.sum() * float("nan"))
    with pytest.raises(TrainingError, match="not a finite number"):
        train_autoencoder([cohort_path], tmp_path / "c", tiny)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(AutoencoderState, "save", full)
    with pytest.raises(TrainingError, match="make room"):
        train_autoencoder([cohort_path], tmp_path / "d", tiny)


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.uint16, 4095)])
def test_report_of_known_reconstructions(dtype: Any, high: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = ImageSpec(24, 16, 1, np.dtype(dtype).name, 0, high)
    originals = [random.integers(high // 4, high // 2, (24, 16)).astype(dtype) for _ in range(3)]
    brighter = [original + dtype(high // 85) for original in originals]
    found = reconstruction(originals, brighter, image, ["a", "a", "b"], tmp_path)
    assert found["bias"] == high // 85
    assert found["psnr_db"] == pytest.approx(20 * np.log10(high / (high // 85)))
    assert found["patients"] == 2
    assert np.allclose(found["band_power"], 1)
    assert reconstruction(originals, originals, image, ["a", "a", "b"], tmp_path)["psnr_db"] == 100
