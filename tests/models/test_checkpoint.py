"""Training states on disk: the newest whole one counts."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from synthcohort.core.errors import ArtifactError
from synthcohort.models import checkpoint
from synthcohort.models.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None


def test_round_trip_of_values_and_types_and_only_one_is_kept(tmp_path: Path) -> None:
    for step in (1, 2):
        tensors = {
            "a": torch.full((2, 3), float(step)),
            "b": torch.arange(4, dtype=torch.int64),
            "c": torch.ones(1, 4, 2, 2).to(memory_format=torch.channels_last),
        }
        save_checkpoint(tmp_path, step, tensors, {"images_seen": 10 * step})
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 2
    assert all(
        torch.equal(found[1][name], value) and found[1][name].dtype == value.dtype for name, value in tensors.items()
    )
    assert found[2] == {"images_seen": 20}
    assert [file.name for file in tmp_path.glob("*.safetensors")] == ["000000002.safetensors"]


def test_a_state_that_no_json_names_does_not_count(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"a": torch.zeros(1)}, {})
    save_tensors(tmp_path / "000000002.safetensors", {"a": torch.ones(1)})
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 1


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("words", "number"),
    [("I/O error: No space left on device (os error 28)", errno.ENOSPC), ("no such name", None)],
)
def test_a_full_disk_is_told_by_its_number_and_leaves_the_old_file(
    words: str, number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.safetensors"
    save_tensors(file, {"a": torch.zeros(1)})

    def fail(*given: object) -> None:
        raise SafetensorError(f"Error while serializing: {words}")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError if number else SafetensorError) as caught:
        save_tensors(file, {"a": torch.ones(1)})
    if number:
        assert isinstance(caught.value, OSError)
        assert (caught.value.errno, caught.value.filename) == (number, str(file))
    assert load_tensors(file)["a"] == 0
    assert list(tmp_path.iterdir()) == [file]
