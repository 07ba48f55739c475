"""A tiny real cohort: bright discs whose size is the grade, with patients in all four roles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort import ROLES, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.training.config import TrainConfig

GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))
TINY = NetworkConfig(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16
)


def disc(number: int, grade: int, size: int) -> np.ndarray:
    random = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] / size - 0.5 - random.normal(0, 0.05, 2)[:, None, None]
    image = 40 + 150 * (np.hypot(y, x) < 0.12 + 0.1 * grade) + random.normal(0, 4, (size, size))
    return image.clip(0, 255).astype(np.uint8)


def write_cohort(
    path: Path, count: int = 40, size: int = 16, origin: str = "real", roles: tuple[str, ...] = ROLES
) -> Path:
    writer = CohortWriter(path, "discs", origin, [GRADE], {}, "fingerprint")
    for n in range(count):
        role = roles[0] if n % 10 < 6 else roles[n % len(roles)]
        record = {
            "image_id": f"i{n:03d}",
            "patient_id": f"p{n:03d}",
            "group_id": f"p{n:03d}",
            "split": role,
            "grade": n % 3,
            "bits_stored": 8,
            "modality": "DX",
            "body_part": "KNEE",
        }
        writer.add(disc(n, n % 3, size), record)
    writer.finish()
    return path


@pytest.fixture(scope="session")
def cohort_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "discs")


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, **options: object) -> Path:
        return write_cohort(tmp_path / name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(
        images=48, size=16, network=TINY, batch=8, validation_images=4, log_images=16, checkpoint_images=24
    )
