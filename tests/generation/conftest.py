"""A run trained for two steps: its images are noise, which is all that the tests of drawing again need."""

from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.training import train
from synthcohort.training.config import TrainConfig


@pytest.fixture(scope="session")
def noise_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    labels = [LabelColumn("grade", "ordinal", (0, 1, 2))]
    writer = CohortWriter(folder / "cohort", "noise", "real", labels, {}, "fingerprint")
    random = np.random.default_rng(0)
    for n in range(24):
        own = {"image_id": f"i{n:02d}", "patient_id": f"p{n:02d}", "group_id": f"p{n:02d}", "grade": n % 3}
        split = "train" if n < 16 else "validation"
        pixels = random.integers(0, 4096, (16, 16)).astype(np.uint16)
        writer.add(pixels, {**own, "split": split, "bits_stored": 12, "modality": "DX", "body_part": "KNEE"})
    writer.finish()
    network = NetworkConfig(
        channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=16
    )
    train(
        [folder / "cohort"], folder / "run",
        TrainConfig(images=16, batch=8, size=16, network=network, validation_images=0), 0,
    )  # fmt: skip
    return folder / "run"
