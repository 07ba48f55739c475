"""A long benchmark in stages: each runs in a process of its own and leaves a JSON file; one that is there stays."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthcohort.core.files import read_json, write_json


class Stages:
    """The settings of a run and its folder of results. `work` maps the first word of a stage's name to its function.

    `args` hold `out` and `threads`; the command runs a stage when it is given --stage NAME.
    """

    work: Mapping[str, Any] = {}

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, Path(args.out)

    def stage(self, name: str) -> dict[str, Any]:
        """The result of a stage, computed in a fresh process unless its file is there."""
        file = self.out / "results" / f"{name}.json"
        if not file.exists():
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            threads = str(self.args.threads)
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
            began, load = time.time(), os.getloadavg()[0]
            subprocess.run([sys.executable, *sys.argv, "--stage", name], env=environment, check=True)
            timing = {"stage_seconds": time.time() - began, "load_before": load, "load_after": os.getloadavg()[0]}
            write_json(file, read_json(file) | {"process": timing})
        return dict(read_json(file))

    def run(self, name: str) -> None:
        """Inside the stage's process."""
        import torch

        torch.set_num_threads(self.args.threads)
        kind, *rest = name.split("/")
        write_json(self.out / "results" / f"{name}.json", self.work[kind](self, *rest))

    def begin(self, *names: str) -> dict[str, Any]:
        """The settings of these names, kept beside the results; ends the program when the folder holds others."""
        settings = {name: getattr(self.args, name) for name in names}
        file = self.out / "settings.json"
        if file.exists() and read_json(file) != settings:
            found = read_json(file)
            print(f"error: {self.out}: was begun with {found}; do: the same settings or another --out", file=sys.stderr)
            raise SystemExit(2)
        write_json(file, settings)
        return settings
