import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

from synthcohort.core.config import build
from synthcohort.core.errors import InputError
from synthcohort.ingest import IngestConfig, decoder_process, ingest, reading
from synthcohort.ingest.decode import Task
from synthcohort.ingest.reading import choose_workers, chunked, read_all
from synthcohort.ingest.scan import SourceFile

# A decoder that does what the end of a file's bytes says; it reaches every Python that is started in a test.
HOOK = """
import os, signal, time
import synthcohort.formats.raster as raster
plain, count = raster._single, 0

def single(data):
    global count
    count += 1
    if data.endswith(b"DIE"):
        os._exit(11)
    if data.endswith(b"HANG"):
        time.sleep(60)
    while data.endswith(b"LOOP"):
        pass
    if data.endswith(b"SLOW"):
        time.sleep(0.3)
    flag = os.environ.get("KILLED_ONCE")
    if flag and data.endswith(b"KILLED") and not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if count > int(os.environ.get("MOST_IMAGES", 10**9)):
        os._exit(12)
    return plain(data)

raster._single = single
"""
SETTINGS = {"key": "seed", "pixel_text": "unchecked", "near_duplicates": "off", "captions": "-"}


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    monkeypatch.setattr(reading, "IN_PROCESS_FILES", 0)
    monkeypatch.setattr(reading, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(decoder_process, "LOOK_SECONDS", 0.1)


@pytest.fixture
def hook(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


@pytest.fixture
def make(tmp_path):
    """Writes images; `ends` are bytes to put behind the end of those of that number."""

    def make(count, ends=None):
        folder = tmp_path / "source"
        folder.mkdir()
        files = []
        for number in range(count):
            path = folder / f"{number:02d}.png"
            PIL.Image.fromarray(np.random.default_rng(number).integers(0, 255, (20, 30), np.uint8)).save(path)
            path.write_bytes(path.read_bytes() + (ends or {}).get(number, b""))
            files.append(SourceFile(path.name, path.stat().st_size, "raster"))
        return folder, files

    return make


def task(root, size=None):
    return Task(root, size, "pad", bytes(32))


def chunks(files, size=7):
    numbered = list(enumerate(files))
    return [numbered[i : i + size] for i in range(0, len(files), size)]


def in_this_process(files, own, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(reading, "IN_PROCESS_FILES", 1000)
        return pa.concat_tables(read_all(chunks(files), own, None, 0, print))


def reasons(table):
    return {row["file"]: row["reason"] for row in table.to_pylist() if row["reason"]}


def config(**settings):
    return build(IngestConfig, SETTINGS | settings, "ingest")


def everything(folder):
    """Every file's bytes, save the number of processes that cohort.json tells."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return files | {"cohort.json": re.sub(rb'"workers": \d', b"", files["cohort.json"])}


def test_any_number_of_processes_gives_the_same(make, monkeypatch):
    root, files = make(41)
    (root / "20.png").write_bytes(b"broken")
    own = task(root, (8, 8))
    expected = in_this_process(files, own, monkeypatch)
    assert expected.column("file").to_pylist() == list(range(41))
    assert reasons(expected).keys() == {20}
    for workers in (0, 2):
        assert pa.concat_tables(read_all(chunks(files), own, None, workers, print)).equals(expected)


def test_files_that_end_or_stop_their_decoder_are_refused_alone(make, hook, tmp_path, monkeypatch):
    source, _ = make(12, {2: b"DIE", 4: b"HANG", 7: b"LOOP"})
    monkeypatch.setattr(decoder_process, "FILE_SECONDS", 0.8)
    monkeypatch.setattr(decoder_process, "IDLE_SECONDS", 3.0)  # healthy ones may wait for a busy machine
    result = ingest(source, tmp_path / "cohort", config(workers=2, size=8), 0)
    assert (result["found"], result["taken"]) == (12, 9)
    lines = (tmp_path / "cohort" / "refused.csv").read_text().splitlines()[1:]
    listed = {row["file"]: row["reason"] for row in csv.DictReader(lines)}
    assert "ends the process" in listed["02.png"]
    assert "stands still" in listed["04.png"]
    assert "takes more than" in listed["07.png"]


def test_a_slow_chunk_of_healthy_files_is_left_in_peace(make, hook, monkeypatch):
    root, files = make(10, dict.fromkeys(range(10), b"SLOW"))
    monkeypatch.setattr(decoder_process, "FILE_SECONDS", 2.0)
    monkeypatch.setattr(decoder_process, "IDLE_SECONDS", 1.5)
    said = []
    assert reasons(pa.concat_tables(read_all(chunks(files, 10), task(root), None, 1, said.append))) == {}
    assert said == []


def test_a_time_limit_counts_the_process_s_own_work(make):
    root, files = make(1)
    decoder = decoder_process.Decoder(task(root))
    try:
        decoder.begin(decoder_process.Order(0, [(0, files[0])], None, only_try=True))
        while (outcome := decoder.outcome()) is None:
            time.sleep(0.02)
        assert outcome is True
        assert 0.05 < decoder._cpu_seconds() < 20
        assert decoder._limit(0) == pytest.approx(300, abs=0.1)
    finally:
        decoder.end()


@pytest.mark.parametrize(("program", "words"), [("/nowhere/python", "No such file"), ("/bin/false", "code 1")])
def test_processes_that_cannot_start_are_no_fault_of_files(make, tmp_path, monkeypatch, program, words):
    source, _ = make(3)
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(InputError, match=f"cannot be run on this machine .*{words}"):
        ingest(source, tmp_path / "cohort", config(workers=2), 0)
    monkeypatch.undo()
    assert ingest(source, tmp_path / "cohort", config(workers=1), 0)["taken"] == 3


def test_a_process_the_system_killed_is_tried_again_with_fewer(make, hook, tmp_path, monkeypatch):
    root, files = make(12, {3: b"KILLED"})
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "flag"))
    said = []
    table = pa.concat_tables(read_all(chunks(files, 6), task(root), None, 2, said.append))
    assert (tmp_path / "flag").exists()
    assert (reasons(table), table.num_rows, len(said)) == ({}, 12, 1)


def test_files_that_are_well_alone_and_not_together_are_taken(make, hook, tmp_path, monkeypatch):
    source, _ = make(3)
    monkeypatch.setattr(reading, "IN_PROCESS_FILES", 10)
    whole = ingest(source, tmp_path / "whole", config(), 0)
    monkeypatch.setattr(reading, "IN_PROCESS_FILES", 0)
    monkeypatch.setenv("MOST_IMAGES", "1")  # each process dies at its second
    pieces = ingest(source, tmp_path / "pieces", config(), 0)
    assert (whole["taken"], pieces["taken"]) == (3, 3)
    names = [json.loads((tmp_path / name / "cohort.json").read_text())["digest"] for name in ("whole", "pieces")]
    assert names[0] == names[1]


def test_the_command_survives_a_dying_decoder_however_small_the_source(make, hook, tmp_path):
    source, _ = make(3, {1: b"DIE"})
    script = "import sys; from synthcohort.cli.main import main\n"
    script += "sys.exit(main([*sys.argv[1:], '--dry-run']) or main(sys.argv[1:]))"
    settings = [f"--set=ingest.{key}={value}" for key, value in SETTINGS.items()]
    arguments = [sys.executable, "-c", script, "ingest", str(source), "--out", str(tmp_path / "cohort"), *settings]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    dry, end = json.JSONDecoder().raw_decode(done.stdout)
    for result in (dry, json.loads(done.stdout[end:])):
        assert [result[key] for key in ("found", "taken", "refused")] == [3, 2, 1]


def test_a_script_needs_no_guard(make, tmp_path):
    source, _ = make(3)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom synthcohort.ingest import IngestConfig, ingest\nprint('once')\n"
        "config = IngestConfig(key='seed', pixel_text='unchecked', near_duplicates='off', captions='-', workers=2)\n"
        "print(ingest(sys.argv[1], Path(sys.argv[2]), config, 0)['taken'])\n"
    )
    done = subprocess.run([sys.executable, script, source, tmp_path / "c"], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["once", "3"], done.stderr


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "group"), [(signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGINT, True)])
def test_an_ended_run_leaves_no_process_and_goes_on(make, hook, tmp_path, monkeypatch, number, group):
    source, _ = make(12, dict.fromkeys(range(6, 12), b"SLOW"))
    monkeypatch.setattr(reading, "CHUNK_FILES", 3)
    out = tmp_path / "cut"
    script = (
        "import signal, sys; from pathlib import Path; from synthcohort.ingest import IngestConfig, ingest, reading\n"
    )
    # a test run in the background of a shell ignores this signal, and so would its children
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "reading.CHUNK_FILES, out = 3, Path(sys.argv[2])\n"
    script += f"try: ingest(sys.argv[1], out, IngestConfig(**{SETTINGS}, workers=2), 0)\n"
    script += "except KeyboardInterrupt: sys.exit(130)"
    arguments = [sys.executable, "-c", script, str(source), str(out)]
    run = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "cut.partial" / "parts"
    give_up = time.monotonic() + 30
    while not any(parts.glob("0*.parquet")) and time.monotonic() < give_up:
        time.sleep(0.02)
    workers = children(run.pid)
    assert len(workers) == 2
    (os.killpg if group else os.kill)(run.pid, number)
    _, said = run.communicate(timeout=20)
    assert run.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in said
    while any(map(running, workers)) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not any(map(running, workers))
    assert not out.exists()
    if number != signal.SIGKILL or not group:
        return
    ingest(source, out, config(workers=1), 0)
    monkeypatch.setattr(reading, "IN_PROCESS_FILES", 100)
    ingest(source, tmp_path / "w" / "cut", config(), 0)
    assert everything(out) == everything(tmp_path / "w" / "cut")


def test_chunks_hold_every_file_once_and_are_no_larger_than_they_may():
    files = [(i, SourceFile(str(i), size, "raster")) for i, size in enumerate([1, 2**25, 5, 2**26, 7, *[3] * 300])]
    cut = chunked(files)
    assert [item for chunk in cut for item in chunk] == files
    assert all(sum(f.size for _, f in chunk) <= 2**25 or len(chunk) == 1 for chunk in cut)
    assert max(map(len, cut)) == 256


def test_more_processes_are_started_only_where_they_pay():
    assert choose_workers(10**6, 10) == 1
    assert choose_workers(10**10) == choose_workers(10**6, 1000) >= 1
