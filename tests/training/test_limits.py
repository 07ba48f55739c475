"""Memory and disks that run out."""

import errno
import os
from pathlib import Path

import pytest

from synthcohort.core.errors import TrainingError
from synthcohort.training import train
from synthcohort.training.config import TrainConfig
from synthcohort.training.limits import explained


def test_a_disk_without_room_for_the_images_is_an_error_and_leaves_nothing_half_made(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        assert length > 16 * 16
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match="no space left while writing the run; make room"):
        train([cohort_path], tmp_path / "run", config, seed=0)
    assert list((tmp_path / "run" / "data").rglob("*.npy")) == []


def test_other_errors_pass() -> None:
    with pytest.raises(PermissionError), explained(Path("run"), "lower train.batch"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(RuntimeError, match="shapes"), explained(Path("run"), "lower train.batch"):
        raise RuntimeError("shapes differ")
    ran_out = pytest.raises(TrainingError, match=r"ran out while training; lower train\.batch")
    with ran_out, explained(Path("run"), "lower train.batch"):
        raise MemoryError
