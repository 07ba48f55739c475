"""Finished steps are kept under a key of everything they depend on, so a killed evaluation goes on where it stopped."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ArtifactError
from synthcohort.core.files import digest_bytes, digest_json, read_json, write_json

_CODE = ("core", "imaging", "metrics", "models", "learning", "evaluation")


@cache
def code_digest() -> str:
    """Digest of the code that figures depend on: a changed formula never meets an old result."""
    root = Path(__file__).parents[1]
    files = sorted(path.relative_to(root).as_posix() for folder in _CODE for path in (root / folder).rglob("*.py"))
    return digest_json({name: digest_bytes((root / name).read_bytes()) for name in files})


class Steps:
    """Results of steps as JSON files in a folder, one for each name and key."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def result(self, name: str, key: Mapping[str, Any], work: Callable[[], Any]) -> Any:
        """The kept result, or that of `work()`; always as read back from JSON, so that both are the same."""
        digest = digest_json({"key": key, "code": code_digest()}).partition(":")[2]
        path = self.folder / f"{re.sub('[^a-z0-9_]+', '_', name)}-{digest[:24]}.json"
        if path.is_file():
            try:
                return read_json(path)
            except ArtifactError:
                pass  # a damaged file is made anew below
        write_json(path, work())
        return read_json(path)
