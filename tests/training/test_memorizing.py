"""A training that goes on for far too long on a handful of patients is caught, and not made a model of."""

from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.run import RunFolder
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.generator import load_generator
from synthcohort.training import train
from synthcohort.training.config import TrainConfig

SIZE = 32


def texture(number: int) -> np.ndarray:
    """A pattern of its own for each patient: a few blobs at random places."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.full((SIZE, SIZE), 40.0)
    for _ in range(8):
        (a, b), wide = random.uniform(2, SIZE - 2, 2), random.uniform(1.2, 3)
        image += random.uniform(60, 160) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * wide**2))
    return image.clip(0, 255).astype(np.uint8)


def few_patients(path: Path, train_images: int, validation_images: int = 60) -> Path:
    writer = CohortWriter(path, "textures", "real", [], {}, "fingerprint")
    for n in range(train_images + validation_images):
        split = "train" if n < train_images else "validation"
        writer.add(
            texture(n),
            {"image_id": f"i{n:03d}", "patient_id": f"p{n:03d}", "group_id": f"p{n:03d}", "split": split,
             "bits_stored": 8},
        )  # fmt: skip
    writer.finish()
    return path


@pytest.mark.slow
def test_training_too_long_on_four_patients_is_seen_said_and_undone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = NetworkConfig(
        channels=(32, 64), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=32
    )
    config = TrainConfig(
        images=9_600, size=SIZE, network=network, batch=16, flip=False, validation_images=16, watch_images=32,
        log_images=4_000, checkpoint_images=20_000,
    )  # fmt: skip
    train([few_patients(tmp_path / "cohort", 4)], tmp_path / "run", config, seed=0)
    looks = [line for line in RunFolder.read(tmp_path / "run").read_log() if line["event"] == "watch"]
    first, last = looks[0], looks[-1]
    assert first["copies"] == 0
    assert first["warnings"] == []
    assert last["copies"] >= 0.8 * last["drawn"] == 0.8 * 32
    assert last["validation_loss"] > 1.1 * first["validation_loss"]
    assert last["training_loss"] < 0.8 * first["training_loss"]
    assert ["copies of training images" in last["warnings"][0], "by heart" in last["warnings"][1]] == [True, True]
    assert all(f"warning: {text}" in capsys.readouterr().err for text in last["warnings"][:1])
    assert "The training begins to memorize" in (tmp_path / "run" / "training.html").read_text()
    chosen = load_generator(tmp_path / "run").facts["chosen"]
    assert chosen["step"] == first["step"]
    assert not chosen["copying"]
