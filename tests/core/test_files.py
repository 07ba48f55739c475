import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.files import (
    atomic_path,
    check_writable,
    digest_array,
    json_text,
    lock,
    read_artifact,
    read_json,
    write_artifact,
    write_atomic,
)


def test_failed_write_leaves_the_old_content(tmp_path) -> None:
    file = tmp_path / "a.txt"
    write_atomic(file, "old")

    def fail() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def _write_and_die(path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_write_leaves_the_old_content_and_the_next_write_works(tmp_path) -> None:
    file = tmp_path / "a.txt"
    write_atomic(file, "old")
    killed = subprocess.run([sys.executable, __file__, str(file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert file.read_text() == "old"
    write_atomic(file, "new")
    assert file.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_json_is_canonical_and_has_no_nan() -> None:
    one = json_text({"b": np.float64("nan"), "a": (np.int64(1), np.array([1.5]))})
    assert one == json_text({"a": [1, [1.5]], "b": None})


@given(st.dictionaries(st.text(), st.floats() | st.integers() | st.text() | st.lists(st.booleans())))
def test_json_text_depends_on_content_alone(mapping) -> None:
    assert json_text(mapping) == json_text(dict(reversed(list(mapping.items()))))


def test_artefacts_of_another_format_or_newer_version_are_refused(tmp_path) -> None:
    write_artifact(tmp_path / "a.json", "cohort", 2, {"x": 1})
    assert read_artifact(tmp_path / "a.json", "cohort", 2)["x"] == 1
    with pytest.raises(ArtifactError, match="version 2; allowed: up to 1"):
        read_artifact(tmp_path / "a.json", "cohort", 1)
    with pytest.raises(ArtifactError, match=r"format 'synthcohort\.cohort'; allowed: 'synthcohort\.run'"):
        read_artifact(tmp_path / "a.json", "run", 1)
    (tmp_path / "torn.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match="cannot be read as JSON"):
        read_json(tmp_path / "torn.json")


def test_array_digest_sees_dtype_shape_and_value() -> None:
    a = np.arange(6, dtype=np.uint8).reshape(2, 3)
    variants = [a, a.T.copy(), a.astype(np.uint16), a + 1, np.asfortranarray(a)]
    digests = [digest_array(v) for v in variants]
    assert digests[0] == digests[4]
    assert len(set(digests)) == 4


def test_output_that_is_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_writable(tmp_path / "file" / "out")


def test_second_lock_on_one_folder_is_refused(tmp_path) -> None:
    with lock(tmp_path / "out"), pytest.raises(InputError, match="another process"), lock(tmp_path / "out"):
        pass
    with lock(tmp_path / "out"):
        pass


if __name__ == "__main__":
    _write_and_die(Path(sys.argv[1]))
