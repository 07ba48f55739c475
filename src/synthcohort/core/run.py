"""A run folder: what was asked, what happened (log.jsonl), and enough to go on after a kill."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import check_writable, read_artifact, write_artifact

FORMAT, VERSION = "run", 1


class RunFolder:
    """The folder of one training run. run.json holds kind, configuration and facts; log.jsonl grows line by line."""

    def __init__(self, path: Path, info: dict[str, Any]):
        self.path, self.info = Path(path), info

    @classmethod
    def open(cls, path: Path, kind: str, config: Mapping[str, Any]) -> "RunFolder":
        """Creates the folder, or continues it when kind and configuration are the same.

        Raises ArtifactError naming the settings that differ from those the run was begun with.
        """
        path = Path(path)
        file = path / "run.json"
        if not file.exists():
            check_writable(path)
            path.mkdir(parents=True, exist_ok=True)
            info: dict[str, Any] = {"kind": kind, "config": dict(config), "done": False, "sensitive": True}
            write_artifact(file, FORMAT, VERSION, info)
        run = cls(path, read_artifact(file, FORMAT, VERSION))
        differing = [
            Problem(
                f"run {path}",
                f"{name} is {new!r}",
                f"{old!r}, as the run was begun",
                "use another --out or the old setting",
            )
            for name, old, new in _differences(run.info["config"], json.loads(json.dumps(config)))
        ]
        if run.info["kind"] != kind:
            differing.append(Problem(f"run {path}", f"is a run of kind {run.info['kind']!r}", repr(kind)))
        if differing:
            raise ArtifactError(*differing)
        run._mend_log()
        return run

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Opens an existing run for reading."""
        if not (Path(path) / "run.json").is_file():
            raise ArtifactError(
                Problem(f"run {path}", "is not a run folder (no run.json)", remedy="make one with synthcohort train")
            )
        return cls(Path(path), read_artifact(Path(path) / "run.json", FORMAT, VERSION))

    @property
    def done(self) -> bool:
        return bool(self.info.get("done"))

    def update(self, **facts: Any) -> None:
        """Adds facts to run.json, atomically."""
        self.info.update(facts)
        write_artifact(self.path / "run.json", FORMAT, VERSION, self.info)

    def log(self, event: str, **fields: Any) -> None:
        """Appends one line to log.jsonl; the only place where clock times stand."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=float)
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        file = self.path / "log.jsonl"
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]

    def _mend_log(self) -> None:
        """Cuts a last line that a kill tore in two."""
        file = self.path / "log.jsonl"
        if file.exists() and (content := file.read_bytes()) and not content.endswith(b"\n"):
            with open(file, "r+b") as handle:
                handle.truncate(content.rfind(b"\n") + 1)
                os.fsync(handle.fileno())


def _differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)]
    return [] if old == new else [(name, old, new)]
