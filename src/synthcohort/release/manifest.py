"""The manifest: every file of a bundle with its digest, however many there are.

`manifest.json` lists the documents, and for each folder of images the file in `checksums/` that lists them, at most
1,000 to a folder, in the form that `sha256sum -c` reads. `manifest.sha256` holds the digest of `manifest.json`, and
`manifest.sig` the owner's Ed25519 signature over its bytes. So any changed byte is found, and without the owner's key
nobody can make a manifest that the owner's public key accepts.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import digest_bytes, digest_file, read_artifact

FORMAT, VERSION = "bundle", 2
MANIFEST, SIDECAR, SIGNATURE = "manifest.json", "manifest.sha256", "manifest.sig"
SEALS = (MANIFEST, SIDECAR, SIGNATURE)
CHECKSUMS = "checksums"
PER_FOLDER = 1000  # images: a million files in one folder are slow on every system
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass
class Writer:
    """Writes the files of a bundle and remembers the digest of each; of images only until their folder is full."""

    folder: Path
    files: list[dict[str, Any]] = field(default_factory=list)
    folders: list[dict[str, Any]] = field(default_factory=list)
    _open: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # group -> (name, digest) of its last folder
    _full: dict[str, int] = field(default_factory=dict)  # group -> how many folders are full

    def add(self, name: str, data: bytes | str) -> None:
        """Writes a document."""
        content = data.encode() if isinstance(data, str) else data
        self._write(name, content)
        self.files.append({"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})

    def add_written(self, name: str) -> None:
        """Remembers a document that was written piece by piece."""
        path = self.folder / name
        self.files.append(
            {"path": name, "sha256": digest_file(path).removeprefix("sha256:"), "size": path.stat().st_size}
        )

    def add_image(self, group: str, name: str, data: bytes) -> str:
        """Writes one of very many files below `group`, such as images/dicom; returns its path in the bundle."""
        entries = self._open.setdefault(group, [])
        if len(entries) == PER_FOLDER:
            self._close(group)
            entries = self._open.setdefault(group, [])
        path = f"{group}/{self._full.get(group, 0):06d}/{name}"
        self._write(path, data)
        entries.append((path, hashlib.sha256(data).hexdigest()))
        return path

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _close(self, group: str) -> None:
        """Writes the checksums of a group's last folder."""
        entries, number = sorted(self._open.pop(group)), self._full.get(group, 0)
        listing = f"{CHECKSUMS}/{group}/{number:06d}.sha256"
        self.add(listing, "".join(f"{digest}  {path}\n" for path, digest in entries))
        self.folders.append({"path": f"{group}/{number:06d}", "list": listing, "files": len(entries)})
        self._full[group] = number + 1

    def finish(self) -> dict[str, Any]:
        """What the manifest says of the files: {files, folders}."""
        for group in sorted(self._open):
            self._close(group)
        lines = sorted(f"{entry['sha256']}  {entry['path']}\n" for entry in self.files)
        self.add(f"{CHECKSUMS}/documents.sha256", "".join(lines))  # for those who have sha256sum and nothing else
        return {
            "files": sorted(self.files, key=lambda entry: str(entry["path"])),
            "folders": sorted(self.folders, key=lambda entry: str(entry["path"])),
        }


def sidecar_text(manifest: bytes, signature: bytes | None = None) -> str:
    """A line for the manifest and one for its signature, for `sha256sum -c manifest.sha256`."""
    named = [(MANIFEST, manifest), *([(SIGNATURE, signature)] if signature is not None else [])]
    return "".join(f"{digest_bytes(data).removeprefix('sha256:')}  {name}\n" for name, data in named)


def safe_path(name: Any) -> bool:
    """Whether a manifest's path stays inside the bundle on every system: relative, plain, no dots, no back-slash."""
    if not isinstance(name, str) or not name or "\\" in name or ":" in name or "\x00" in name or name.startswith("/"):
        return False
    return str(PurePosixPath(name)) == name and not {"", ".", ".."} & set(name.split("/"))


def read_manifest(bundle: Path) -> dict[str, Any]:
    """Reads and checks the form of a manifest. Raises ArtifactError for anything that is not one."""
    content = read_artifact(bundle / MANIFEST, FORMAT, VERSION)
    files, folders = content.get("files"), content.get("folders")
    if not isinstance(files, list) or not files:
        raise ArtifactError(Problem(MANIFEST, "lists no files"))
    if not isinstance(folders, list):
        raise ArtifactError(Problem(MANIFEST, "lists no folders of images"))
    seen: set[str] = set()
    for entry in files:
        name = entry.get("path") if isinstance(entry, dict) else None
        if not safe_path(name) or name in SEALS:
            raise ArtifactError(Problem(MANIFEST, f"names the path {name!r}", "plain paths inside the bundle"))
        if str(name).lower() in seen:
            raise ArtifactError(Problem(MANIFEST, f"names {name!r} twice"))
        size, digest = entry.get("size"), entry.get("sha256")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not _is_hex(digest):
            raise ArtifactError(Problem(MANIFEST, f"has no valid size and digest for {name!r}"))
        seen.add(str(name).lower())
    places: set[str] = set()
    for entry in folders:
        path, listing = (entry.get("path"), entry.get("list")) if isinstance(entry, dict) else (None, None)
        if not safe_path(path) or str(path).lower() in places:
            raise ArtifactError(Problem(MANIFEST, f"names the folder {path!r}", "plain paths, each once"))
        if not isinstance(listing, str) or listing.lower() not in seen:
            raise ArtifactError(Problem(MANIFEST, f"names no listed checksums for the folder {path!r}"))
        places.add(str(path).lower())
    return content


def read_checksums(path: Path, folder: str) -> dict[str, str]:
    """A list of checksums of one folder: {path: digest}. Raises ArtifactError for anything else in it."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.fullmatch(line)
        name = match[2] if match else None
        if match is None or not safe_path(name) or str(name).rpartition("/")[0] != folder or str(name) in found:
            raise ArtifactError(Problem(path.name, "holds a line that names no file of its folder"))
        found[str(name)] = match[1]
    return found


def _is_hex(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def walk(bundle: Path) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Folder by folder: (path of the folder, its entries that are no folder: (path, is a plain file)).

    An empty folder is an entry of its own. Follows no link.
    """
    for folder, folders, names in os.walk(bundle, followlinks=False):
        place = Path(folder)
        here = place.relative_to(bundle).as_posix()
        entries = []
        for name in sorted([*names, *(name for name in folders if (place / name).is_symlink())]):
            path = place / name
            entries.append((path.relative_to(bundle).as_posix(), path.is_file() and not path.is_symlink()))
        if not folders and not names and place != bundle:
            entries.append((here + "/", False))
        folders.sort()
        yield here, entries
