"""One step of the pipeline: done once, recorded, and done again only where what it was made from has changed."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthcohort.core.files import remove
from synthcohort.core.run import RunFolder


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: what it is called, the folder or file it makes, and the work."""

    name: str
    output: str
    work: Callable[[], dict[str, Any]]
    resumable: bool  # goes on from a half-made output by itself; otherwise an unrecorded output is made anew
    made_from: str | None = None  # digest of what may change between two calls; another one: the work is done again


def run_stage(record: RunFolder, stage: Stage, out: Path, title: str) -> dict[str, Any]:
    """Does a stage unless it was done before, from the same; returns its result."""
    finished: dict[str, Any] = record.info.get("stages", {})
    made_from: dict[str, Any] = record.info.get("made_from", {})
    if stage.name in finished and made_from.get(stage.name) == stage.made_from:
        print(f"{title}: done before", file=sys.stderr)
        return dict(finished[stage.name])
    print(title, file=sys.stderr)
    if not stage.resumable:
        remove(out / stage.output)
    began = time.monotonic()
    result = stage.work()
    record.update(stages={**finished, stage.name: result}, made_from={**made_from, stage.name: stage.made_from})
    record.log(
        "stage",
        stage=stage.name,
        seconds=round(time.monotonic() - began, 2),
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )
    return result
