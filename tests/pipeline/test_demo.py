"""All stages by the command line on a very small hospital: to the end, killed on the way, and with another setting."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from kill_loop import command, differences, environment, finish

SMALL = [
    "hospital.patients=24",
    "study.count=20",
    "train.images=96",
    "train.batch=16",
    "train.validation_images=16",
    "train.log_images=48",
    "train.checkpoint_images=32",
    "generate.sampling.steps=3",
    "evaluate.grader.steps=4",
    "evaluate.utility.steps=3",
    "evaluate.utility.images=24",
    "evaluate.folds=5",
    "evaluate.bootstrap=50",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, str], float]:
    out = tmp_path_factory.mktemp("demo") / "whole"
    prints, seconds = finish(out, SMALL)
    return out, prints, seconds


def test_every_stage_leaves_what_it_promises(whole) -> None:
    out, prints, _ = whole
    for name in (
        "cohort/cohort.json",
        "run/model/model.json",
        "synthetic/screened.json",
        "evidence/scores.json",
        "report.html",
    ):
        assert (out / name).is_file(), name
    assert "evidence/scores.json" in prints
    stages = [json.loads(line)["stage"] for line in (out / "pipeline" / "log.jsonl").read_text().splitlines()]
    assert stages == ["hospital", "ingest", "train", "generate", "evaluate", "audit", "release", "report"]
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert str(out) not in page


def test_same_command_again_does_nothing_and_says_so(whole) -> None:
    out, prints, _ = whole
    again, _ = finish(out, SMALL)
    assert again == prints


def test_no_name_of_the_hospital_reaches_what_may_leave(whole) -> None:
    out, _, _ = whole
    truth = (out / "hospital" / "dicom" / "metadata.csv").read_text().splitlines()[1:]
    sources = {Path(line.split(",")[0]).name.encode() for line in truth}
    names = {path.name.encode() for path in (out / "hospital" / "dicom").iterdir() if path.is_dir()}
    shared = ("synthetic", "evidence/scores.json", "evidence/report.html", "report.html", "cohort/records.parquet")
    files = [file for name in shared for file in [out / name, *(out / name).rglob("*")] if file.is_file()]
    assert sources
    assert names
    for file in files:
        content = file.read_bytes()
        assert not [s for s in sources | names if s in content], file.name


@pytest.mark.parametrize("share", [0.35, 0.75])
def test_killed_and_started_again_ends_in_the_same_bits(whole, tmp_path, share) -> None:
    _, prints, seconds = whole
    process = subprocess.Popen(
        command(tmp_path / "killed", SMALL),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(share * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed, _ = finish(tmp_path / "killed", SMALL)
    assert differences(prints, killed) == []


def test_another_setting_in_the_same_folder_is_named(whole) -> None:
    out, _, _ = whole
    settings = [*SMALL, "train.learning_rate=0.5"]
    done = subprocess.run(command(out, settings), env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train.learning_rate is 0.5; allowed: 0.001, as the run was begun" in done.stderr
