"""Which code made a thing: version, commit where it runs from a checkout, and a digest of the source either way."""

import functools
import hashlib
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "pydicom", "pillow", "pyarrow", "nibabel", "torch")  # what the bytes and the pixels depend on


@functools.lru_cache(maxsize=1)
def code_identity() -> dict[str, Any]:
    """{name, version, commit, changed, source_digest, libraries}; commit and changed are None outside a checkout."""
    package = Path(__file__).parents[1]
    state = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix().encode()
        state.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    commit, changed = _checkout(package)
    return {
        "name": "synthcohort",
        "version": metadata.version("synthcohort"),
        "commit": commit,
        "changed": changed,
        "source_digest": f"sha256:{state.hexdigest()}",
        "libraries": {name: found for name in LIBRARIES if (found := _version(name)) is not None},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _checkout(package: Path) -> tuple[str | None, bool | None]:
    """The commit of the checkout that holds the package, and whether the package's files differ from it."""
    if not (package.parents[1] / ".git").exists():
        return None, None
    try:
        # the last one that touched the package: a commit of documents alone makes no other model
        commit = _git(package, "log", "-1", "--format=%H", "--", ".").strip() or None
        changed = bool(_git(package, "status", "--porcelain", "--", ".").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, changed


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
    ).stdout  # fmt: skip
