import errno
import os
from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.kept import new_array


def test_a_new_array_has_its_space_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    array = new_array(file, "uint16", (50, 100, 100))
    assert file.stat().st_blocks * 512 >= array.nbytes == 1_000_000  # no holes
    array[:] = np.arange(50, dtype=np.uint16)[:, None, None]
    array.flush()
    assert np.array_equal(np.load(file)[:, 3, 4], np.arange(50))


def test_a_file_system_that_cannot_set_space_aside_is_written_to_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*given: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    assert new_array(tmp_path / "b.npy", "uint8", (4, 4)).shape == (4, 4)


def test_a_disk_without_room_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as raised:
        new_array(tmp_path / "c.npy", "uint8", (4, 4))
    assert raised.value.errno == errno.ENOSPC
