"""Files that are whole or absent: atomic writes, canonical JSON, digests, locks, versioned artefacts."""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import ArtifactError, InputError, Problem

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a disk without room, or a user beyond the allowance, answers


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renamed onto it on success, removed on failure.

    The old content stays whole until the new one is. A folder may replace only a path that is absent.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
        if temporary.is_file():
            _sync_file(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        remove(temporary)
        raise


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a whole file or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove(path: Path) -> None:
    """Removes a file or a folder; an absent one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """JSON-able copy of a value: numpy scalars and tuples made plain, NaN and infinity made None (JSON has neither)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return value.as_posix()
    return value


def json_text(mapping: Any) -> str:
    """Canonical JSON: the same content always gives the same bytes."""
    return json.dumps(plain(mapping), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, mapping: Any) -> None:
    write_atomic(path, json_text(mapping))


def read_json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(Problem(str(path), "no such file")) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(Problem(str(path), f"cannot be read as JSON ({error})")) from error


def write_artifact(path: Path, format: str, version: int, mapping: Mapping[str, Any]) -> None:
    """Writes a JSON file that says what it is (docs/formats.md)."""
    write_atomic(path, artifact_text(format, version, mapping))


def artifact_text(format: str, version: int, mapping: Mapping[str, Any]) -> str:
    """The text of such a file."""
    return json_text({**mapping, "format": f"synthcohort.{format}", "version": version})


def read_artifact(path: Path, format: str, version: int) -> dict[str, Any]:
    """Reads a JSON file of ours; another format or a newer version is an error, never a guess."""
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else None
    if found != f"synthcohort.{format}":
        raise ArtifactError(Problem(str(path), f"format {found!r}", f"'synthcohort.{format}'"))
    if not isinstance(content.get("version"), int) or content["version"] > version:
        raise ArtifactError(
            Problem(str(path), f"version {content.get('version')!r}", f"up to {version}", "use a newer synthcohort")
        )
    return content


def digest_bytes(data: bytes | memoryview) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    return digest_bytes(json_text(value).encode())


def digest_each(values: Iterable[Any]) -> str:
    """Digest of JSON values one after the other, however many."""
    state = hashlib.sha256()
    for value in values:
        state.update(json.dumps(value, sort_keys=True).encode() + b"\n")
    return "sha256:" + state.hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Digest over dtype, shape and values."""
    contiguous = np.ascontiguousarray(array)
    state = hashlib.sha256(f"{contiguous.dtype.str} {contiguous.shape} ".encode())
    state.update(contiguous.view(np.uint8).reshape(-1).data if contiguous.size else b"")
    return "sha256:" + state.hexdigest()


def check_writable(out: Path) -> None:
    """Raises InputError early when `out` can't be made or written, before any work is done."""
    folder = Path(out)
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(Problem(f"output {out}", f"{folder} is a file", "a folder", "choose another --out"))
    probe = folder / f".synthcohort-{os.getpid()}.tmp"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            Problem(
                f"output {out}",
                f"{folder} cannot be written ({error.strerror})",
                "a writable folder",
                "choose another --out",
            )
        ) from None


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Holds the output folder's lock file; a second process on the same folder is refused.

    The lock is the kernel's, so a killed process leaves none behind.
    """
    check_writable(out)
    path = out.with_name(f".{out.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                Problem(
                    f"output {out}", "another process is working on it", remedy="wait for it, or choose another --out"
                )
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
