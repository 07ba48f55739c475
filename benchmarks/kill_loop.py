"""Kills `synthcohort demo --tiny` at random moments, starts it again, and compares the end with an uninterrupted run.

The moments are spread over the run, one in each of equal slices, so that every stage is hit. Compared bit for bit:
every file of the synthetic cohort, scores.json, the bundle when there is one, and the result on stdout.

    python benchmarks/kill_loop.py --kills 20 --jobs 2
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COMPARED = ("synthetic", "evidence/scores.json", "bundle", "report.html")


def command(out: Path, settings: list[str]) -> list[str]:
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "synthcohort.cli.main", "demo", "--tiny", "--out", str(out), *overrides]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def fingerprint(out: Path) -> dict[str, str]:
    """Digest of every compared file, by name."""
    files = [
        file for name in COMPARED for file in ([out / name] if (out / name).is_file() else (out / name).rglob("*"))
    ]
    return {
        file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def finish(out: Path, settings: list[str]) -> tuple[dict[str, str], float]:
    """Runs to the end; returns the fingerprint and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(command(out, settings), env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-2000:]}")
    result = json.loads(done.stdout)
    assert result["decision"] in ("release", "refuse")
    return fingerprint(out), time.monotonic() - began


def kill_at(out: Path, settings: list[str], seconds: float) -> str:
    """Starts, kills the whole process group after `seconds`, and says which stage it was in."""
    process = subprocess.Popen(
        command(out, settings),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    errors = process.communicate()[1]
    stages = [line for line in errors.splitlines() if line.startswith("[") and "done before" not in line]
    return stages[-1] if stages else "before the first stage"


def differences(a: dict[str, str], b: dict[str, str]) -> list[str]:
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--set", action="append", default=[])
    args = arguments.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, seconds = finish(Path(folder) / "whole", args.set)
        print(f"uninterrupted: {seconds:.1f} s, {len(whole)} files compared", flush=True)
        moments = (np.arange(args.kills) + rng.random(args.kills)) / args.kills * seconds

        def trial(number: int) -> bool:
            out = Path(folder) / f"killed-{number:02d}"
            where = kill_at(out, args.set, float(moments[number]))
            try:
                differing = differences(whole, finish(out, args.set)[0])
                outcome = "equal" if not differing else f"DIFFERS in {', '.join(differing[:5])}"
            except RuntimeError as error:
                outcome = f"DID NOT FINISH: {error}"
            print(f"kill {number + 1:2d} at {moments[number]:5.1f} s in {where}: {outcome}", flush=True)
            return outcome == "equal"

        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            equal = sum(pool.map(trial, range(args.kills)))
    print(f"{equal} of {args.kills} killed runs finished and equal the uninterrupted one")
    return 0 if equal == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
