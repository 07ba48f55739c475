import pytest

from synthcohort.core.errors import ArtifactError
from synthcohort.core.run import RunFolder


def test_same_configuration_continues_and_another_is_named(tmp_path) -> None:
    RunFolder.open(tmp_path / "r", "diffusion", {"a": {"b": 1}, "c": (1, 2)}).update(images=5)
    again = RunFolder.open(tmp_path / "r", "diffusion", {"a": {"b": 1}, "c": (1, 2)})
    assert again.info["images"] == 5
    assert not again.done
    with pytest.raises(ArtifactError, match=r"a\.b is 2; allowed: 1, as the run was begun"):
        RunFolder.open(tmp_path / "r", "diffusion", {"a": {"b": 2}, "c": (1, 2)})
    with pytest.raises(ArtifactError, match="kind 'diffusion'"):
        RunFolder.open(tmp_path / "r", "gan", {"a": {"b": 1}, "c": (1, 2)})


def test_torn_last_log_line_is_cut(tmp_path) -> None:
    run = RunFolder.open(tmp_path / "r", "diffusion", {})
    run.log("step", images=1)
    with open(tmp_path / "r" / "log.jsonl", "a") as file:
        file.write('{"event": "st')
    run = RunFolder.open(tmp_path / "r", "diffusion", {})
    run.log("step", images=2)
    assert [line["images"] for line in run.read_log()] == [1, 2]


def test_a_folder_without_run_is_explained(tmp_path) -> None:
    with pytest.raises(ArtifactError, match="is not a run folder"):
        RunFolder.read(tmp_path)
