"""What goes wrong from outside while a GAN is trained or drawn from: each error names the way out, nothing is lost."""

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ArtifactError, ConfigError, InputError, TrainingError
from synthcohort.core.files import read_json
from synthcohort.models import checkpoint
from synthcohort.models.checkpoint import load_checkpoint
from synthcohort.models.gan import GanNetworkConfig
from synthcohort.models.generator import load_generator
from synthcohort.training.gan import train_gan
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.gan_state import GanState

TINY = GanNetworkConfig(latent=4, channels=8, most=16, embedding_width=8)


@pytest.fixture
def small() -> GanConfig:
    return GanConfig(
        images=48, size=16, network=TINY, batch=8, looks=2, guard_images=0, watch_images=0, log_images=16,
        checkpoint_images=16, augment=0.0,
    )  # fmt: skip


def stopped_at(monkeypatch: pytest.MonkeyPatch, spent: int, error: BaseException) -> None:
    """The error comes instead of the step after so many images."""
    update = GanState.update

    def failing(self: GanState, *batches: Any) -> Any:
        if self.images_spent == spent:
            raise error
        return update(self, *batches)

    monkeypatch.setattr(GanState, "update", failing)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_memory_that_runs_out_names_the_way_out(
    error: Exception, cohort_path: Path, small: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(monkeypatch, 0, error)
    with pytest.raises(TrainingError, match=r"memory: ran out while training; raise gan\.accumulate, or lower gan\.ba"):
        train_gan([cohort_path], tmp_path / "run", small, 0)


@pytest.mark.parametrize("folder", ["checkpoint", "good", "averages", "model"])
def test_a_full_disk_is_said_and_the_same_command_goes_on(
    folder: str, cohort_path: Path, small: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, written = checkpoint.save_file, []

    def full(tensors: dict[str, torch.Tensor], file: Path) -> None:
        if folder in file.parent.name and "run" in file.parts[-3]:
            written.append(file)
            if len(written) > (folder in ("checkpoint", "good")):  # the first one has room
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(tensors, file)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"no space left while writing the run; make room, then run the same"):
        train_gan([cohort_path], tmp_path / "run", small, 0)
    assert written
    monkeypatch.undo()
    assert train_gan([cohort_path], tmp_path / "run", small, 0)["images_seen"] == 48
    assert load_generator(tmp_path / "run").spec.kind == "gan"


def test_a_full_disk_at_a_small_file(
    cohort_path: Path, small: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("synthcohort.training.gan.write_atomic", full)
    with pytest.raises(TrainingError, match="make room"):
        train_gan([cohort_path], tmp_path / "run", small, 0)


def test_a_checkpoint_of_another_version_is_not_guessed_at(
    cohort_path: Path, small: GanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stopped_at(monkeypatch, 32, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train_gan([cohort_path], run, small, 0)
    monkeypatch.undo()
    file = run / "checkpoint" / "checkpoint.json"
    whole = read_json(file)

    def resumed_with(changes: dict[str, Any]) -> None:
        file.write_text(json.dumps(whole | changes))
        train_gan([cohort_path], run, small, 0)

    with pytest.raises(ArtifactError, match="use a newer synthcohort"):
        resumed_with({"version": 99})
    course = whole["facts"]["course"]
    for other in (course | {"mood": 1}, {k: v for k, v in course.items() if k != "pace"}):
        with pytest.raises(ArtifactError, match=r"is of another version .*(mood|pace).*train into another --out"):
            resumed_with({"facts": whole["facts"] | {"course": other}})
    weights = file.parent / whole["file"]
    tensors = load_checkpoint_tensors(run)
    kept = weights.read_bytes()
    checkpoint.save_tensors(weights, {k: v for k, v in tensors.items() if not k.startswith("generator.head")})
    with pytest.raises(ArtifactError, match=r"does not fit this run .*train into another --out"):
        resumed_with({})
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        resumed_with({})
    weights.write_bytes(kept)
    resumed_with({})
    assert load_generator(run).spec.kind == "gan"


def load_checkpoint_tensors(run: Path) -> dict[str, torch.Tensor]:
    found = load_checkpoint(run / "checkpoint")
    assert found is not None
    return found[1]


def test_a_model_of_a_newer_version(cohort_path: Path, small: GanConfig, tmp_path: Path) -> None:
    train_gan([cohort_path], tmp_path / "run", small, 0)
    file = tmp_path / "run" / "model" / "model.json"
    whole = read_json(file)
    file.write_text(json.dumps(whole | {"version": 99}))
    with pytest.raises(ArtifactError, match="use a newer synthcohort"):
        load_generator(tmp_path / "run")


def test_an_image_type_that_the_model_does_not_know(small: GanConfig, tmp_path: Path) -> None:
    train_gan([noise(tmp_path / "knees", "KNEE"), noise(tmp_path / "heads", "HEAD")], tmp_path / "run", small, 0)
    generator = load_generator(tmp_path / "run")
    assert sorted(image.name for image in generator.spec.images) == ["heads", "knees"]
    assert next(generator.draw([{"image_type": "heads", "grade": 1}], [0])).shape == (16, 16)
    with pytest.raises(InputError, match=r"heads, knees|knees, heads"):
        next(generator.draw([{"image_type": "hips", "grade": 1}], [0]))


def noise(path: Path, part: str, size: int = 16) -> Path:
    """A cohort of a body part, which is an image type of its own."""
    writer = CohortWriter(path, path.name, "real", [LabelColumn("grade", "ordinal", (0, 1))], {}, "fingerprint")
    random = np.random.default_rng(size)
    for n in range(24):
        own = {"image_id": f"i{n:02d}", "patient_id": f"p{n:02d}", "group_id": f"p{n:02d}", "grade": n % 2}
        split = "train" if n < 16 else "validation"
        pixels = random.integers(0, 256, (size, size)).astype(np.uint8)
        writer.add(pixels, {**own, "split": split, "bits_stored": 8, "modality": "DX", "body_part": part})
    writer.finish()
    return path


def test_types_of_two_sizes_are_said_before_anything_is_written(small: GanConfig, tmp_path: Path) -> None:
    knees, heads = noise(tmp_path / "knees", "KNEE"), noise(tmp_path / "heads", "HEAD", 24)
    config = dataclasses.replace(small, size=None)
    with pytest.raises(ConfigError, match=r"16 x 16, 24 x 24.*set gan\.size"):
        train_gan([knees, heads], tmp_path / "run", config, 0)
    assert not (tmp_path / "run").exists()
