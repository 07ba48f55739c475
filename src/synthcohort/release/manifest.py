"""The manifest: every file of a bundle with size and digest, and a digest of the manifest itself beside it.

`manifest.json` lists all other files; `manifest.sha256` holds the digest of `manifest.json` in the form that
`sha256sum -c` reads. Together they find every accidental change of any byte, and every change by somebody who does not
also rewrite both. They do not stop a forger who does: without a signature nobody can tell who wrote the manifest.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import digest_bytes, digest_file, read_artifact

FORMAT, VERSION = "bundle", 1
MANIFEST, SIDECAR = "manifest.json", "manifest.sha256"


@dataclass
class Writer:
    """Writes the files of a bundle and remembers size and digest of each."""

    folder: Path
    files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, data: bytes | str) -> None:
        content = data.encode() if isinstance(data, str) else data
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files.append({"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})

    def add_written(self, name: str) -> None:
        """Remembers a file that was written piece by piece."""
        path = self.folder / name
        self.files.append(
            {"path": name, "sha256": digest_file(path).removeprefix("sha256:"), "size": path.stat().st_size}
        )


def sidecar_text(manifest: bytes) -> str:
    """One line for `sha256sum -c manifest.sha256`."""
    return f"{digest_bytes(manifest).removeprefix('sha256:')}  {MANIFEST}\n"


def safe_path(name: Any) -> bool:
    """Whether a manifest's path stays inside the bundle on every system: relative, plain, no dots, no back-slash."""
    if not isinstance(name, str) or not name or "\\" in name or ":" in name or "\x00" in name or name.startswith("/"):
        return False
    return str(PurePosixPath(name)) == name and not {"", ".", ".."} & set(name.split("/"))


def read_manifest(bundle: Path) -> dict[str, Any]:
    """Reads and checks the form of a manifest. Raises ArtifactError for anything that is not one."""
    path = bundle / MANIFEST
    content = read_artifact(path, FORMAT, VERSION)
    files = content.get("files")
    if not isinstance(files, list) or not files:
        raise ArtifactError(Problem(MANIFEST, "lists no files"))
    seen: set[str] = set()
    for entry in files:
        name = entry.get("path") if isinstance(entry, dict) else None
        if not safe_path(name) or name in (MANIFEST, SIDECAR):
            raise ArtifactError(Problem(MANIFEST, f"names the path {name!r}", "plain paths inside the bundle"))
        if str(name).lower() in seen:
            raise ArtifactError(Problem(MANIFEST, f"names {name!r} twice"))
        size, digest = entry.get("size"), entry.get("sha256")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not _is_hex(digest):
            raise ArtifactError(Problem(MANIFEST, f"has no valid size and digest for {name!r}"))
        seen.add(str(name).lower())
    return content


def _is_hex(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def walk(bundle: Path) -> Iterator[tuple[str, bool]]:
    """Every entry of the bundle that is not a folder with something in it: (path, is a plain file). Follows no link."""
    for folder, folders, names in os.walk(bundle, followlinks=False):
        place = Path(folder)
        for name in sorted([*names, *(name for name in folders if (place / name).is_symlink())]):
            path = place / name
            yield path.relative_to(bundle).as_posix(), path.is_file() and not path.is_symlink()
        if not folders and not names and place != bundle:
            yield place.relative_to(bundle).as_posix() + "/", False
