"""A diffusion model on latents: trained, resumed bit by bit, stored with its decoder, drawn from, and refused."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.models.autoencoder import AutoencoderConfig
from synthcohort.models.generator import load_generator
from synthcohort.training import train
from synthcohort.training.autoencoder import train_autoencoder
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig
from synthcohort.training.state import TrainingState


@pytest.fixture(scope="module")
def autoencoder(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = AutoencoderConfig(patch=2, channels=(8,), encoder_blocks=(1,), decoder_blocks=(1,), latent_channels=4)
    settings = AutoencoderTraining(images=32, size=16, network=network, batch=8, crop=8, report_images=0)
    out = tmp_path_factory.mktemp("autoencoder") / "run"
    train_autoencoder([cohort_path], out, settings, seed=1)
    return out


@pytest.fixture
def latent(config: TrainConfig, autoencoder: Path) -> TrainConfig:
    return dataclasses.replace(config, latent=autoencoder)


def test_trained_resumed_and_drawn(
    cohort_path: Path, latent: TrainConfig, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train([cohort_path], tmp_path / "whole", latent, seed=1)
    update = TrainingState.update

    def killed(self: TrainingState, images: Tensor, *rest: object) -> Tensor:
        assert images.shape[1:] == (4, 8, 8)
        if self.step == 5:
            raise KeyboardInterrupt
        return update(self, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train([cohort_path], tmp_path / "cut", latent, seed=1)
    monkeypatch.undo()
    moved = dataclasses.replace(latent, latent=Path(shutil.copytree(autoencoder, tmp_path / "elsewhere")))
    assert train([cohort_path], tmp_path / "cut", moved, seed=1)["resumed"]  # the same one, wherever it lies
    for name in ("model/weights.safetensors", "model/model.json", "model/autoencoder/weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    weights = (autoencoder / "autoencoder" / "weights.safetensors").read_bytes()
    assert (tmp_path / "whole" / "model" / "autoencoder" / "weights.safetensors").read_bytes() == weights

    generator = load_generator(tmp_path / "whole")
    assert generator.spec.kind == "latent"
    assert generator.spec.sigma_data == pytest.approx(1, abs=0.1)
    images = list(generator.draw([{"grade": n % 3} for n in range(3)], [1, 2, 3]))
    assert all(image.shape == (16, 16) and image.dtype == np.uint8 for image in images)
    assert np.array_equal(next(generator.draw([{"grade": 1}], [2])), images[1])  # whatever else is drawn
    unit = generator.to_unit(images[0], generator.spec.image)
    assert unit.shape == (4, 8, 8)
    back = generator.from_unit(unit, generator.spec.image)
    assert np.abs(back.astype(int) - images[0]).mean() < 30
    torch.manual_seed(0)


def test_refusals(cohort_path: Path, latent: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="augment"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, augment=0.1))
    with pytest.raises(ArtifactError, match="no run"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, latent=tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="multiples of 2"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, size=17))
    assert not (tmp_path / "a").exists()
    train([cohort_path], tmp_path / "b", latent)
    file = tmp_path / "b" / "model" / "autoencoder" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="not the file"):
        load_generator(tmp_path / "b")
