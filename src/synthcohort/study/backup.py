"""A whole study as one file, and back: every table as JSON lines, every payload, a digest of each.

The same file restores into SQLite or PostgreSQL, so it also moves a study from one to the other. It holds the key of
the study and its links: it is the owner's alone.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import artifact_text, atomic_path, digest_bytes
from synthcohort.study.create import DATABASE
from synthcohort.study.store import TABLES, Store

FORMAT, VERSION = "study-backup", 1
ORDER = {name: columns[0].split()[0] for name, columns in TABLES.items()}
PLAIN = ("design.json", "invitations.txt")


def open_store(folder: Path, database: str | None = None) -> Store:
    """The store of a study's folder; InputError when the folder is none."""
    folder = Path(folder)
    if not (folder / "design.json").is_file():
        raise InputError(Problem(f"study {folder}", "is not a study's folder (no design.json)", remedy="make one with "
                                 "synthcohort study create"))  # fmt: skip
    said = json.loads((folder / "design.json").read_text(encoding="utf-8")).get("database")
    if said == "postgresql" and not database:
        raise InputError(Problem("--database", "is missing", "the URL that the study was created with"))
    if said == "sqlite" and database:
        raise InputError(Problem("--database", "is given for a study kept in SQLite", remedy="leave it out, or restore "
                                 "a backup into that database"))  # fmt: skip
    return Store(database or folder / DATABASE)


def backup(folder: Path, out: Path, database: str | None = None) -> dict[str, Any]:
    """Writes the file; readers may go on meanwhile, and what they answer after the beginning is not in it."""
    if Path(out).exists():
        raise InputError(Problem(f"output {out}", "already exists", remedy="choose another --out"))
    store = open_store(folder, database)
    try:
        store.meta()
        tables = _snapshot(store)
    finally:
        store.close()
    digests: dict[str, str] = {}
    with atomic_path(Path(out)) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:

            def put(name: str, data: bytes) -> None:
                archive.writestr(zipfile.ZipInfo(name), data)
                digests[name] = digest_bytes(data)

            for name, rows in tables.items():
                put(f"tables/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
            for name in PLAIN:
                if (Path(folder) / name).is_file():
                    put(name, (Path(folder) / name).read_bytes())
            for row in tables["images"]:
                put(f"images/{row['payload']}", (Path(folder) / "images" / row["payload"]).read_bytes())
            archive.writestr("backup.json", artifact_text(FORMAT, VERSION, {"files": digests}))
        os.chmod(temporary, 0o600)
    return {"backup": Path(out).as_posix(), "answers": len(tables["answers"]), "images": len(tables["images"])}


def _snapshot(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All tables as of one moment; sessions end with a backup."""
    with store.writing():  # nobody else writes meanwhile (SQLite); PostgreSQL reads one after the other
        return {
            name: [] if name == "sessions" else store.rows(f"SELECT * FROM {name} ORDER BY {key}")
            for name, key in ORDER.items()
        }


def restore(file: Path, out: Path, database: str | None = None) -> dict[str, Any]:
    """Makes the folder (and tables) again; ArtifactError when the file is damaged."""
    if Path(out).exists():
        raise InputError(Problem(f"output {out}", "already exists", remedy="choose another --out"))
    try:
        with zipfile.ZipFile(file) as archive, atomic_path(Path(out)) as folder:
            content = _checked(archive, file)
            (folder / "images").mkdir(parents=True)
            os.chmod(folder, 0o700)
            for name, data in content.items():
                if name.startswith("images/") or name in PLAIN:
                    (folder / name).write_bytes(data)
            _say_database(folder, database)
            (folder / "invitations.txt").chmod(0o600)
            tables = {
                name: [json.loads(line) for line in content[f"tables/{name}.jsonl"].splitlines()] for name in TABLES
            }
            store = Store(database or folder / DATABASE)
            try:
                _load(store, tables)
            finally:
                store.close()
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        kind = type(error).__name__
        raise ArtifactError(Problem(f"backup {file}", f"cannot be read ({kind})", remedy="take another")) from None
    return {"study": Path(out).as_posix(), "answers": len(tables["answers"]), "images": len(tables["images"])}


def _checked(archive: zipfile.ZipFile, file: Path) -> dict[str, bytes]:
    """What the file holds, by name; names that would leave the folder are none of ours."""
    said = json.loads(archive.read("backup.json"))
    if said.get("format") != f"synthcohort.{FORMAT}" or said.get("version", 0) > VERSION:
        raise ArtifactError(Problem(f"backup {file}", "is of another format or a newer version"))
    content = {}
    for name, digest in said["files"].items():
        folder, _, last = name.rpartition("/")
        if folder not in ("", "images", "tables") or last in ("", ".", "..") or "\\" in last or ":" in last:
            raise ArtifactError(Problem(f"backup {file}", "holds a name that is not ours"))
        data = archive.read(name)
        if digest_bytes(data) != digest:
            raise ArtifactError(Problem(f"backup {file}", "is damaged", remedy="take another"))
        content[name] = data
    return content


def _say_database(folder: Path, database: str | None) -> None:
    design = json.loads((folder / "design.json").read_text(encoding="utf-8"))
    design["database"] = "postgresql" if database else "sqlite"
    from synthcohort.core.files import json_text

    (folder / "design.json").write_text(json_text(design), encoding="utf-8")


def _load(store: Store, tables: dict[str, list[dict[str, Any]]]) -> None:
    meta = {row["name"]: json.loads(row["value"]) for row in tables["meta"]}
    store.create(meta)
    with store.writing() as write:
        for name, rows in tables.items():
            if name not in ("meta", "sessions"):
                write.add_all(name, rows)
        if store.postgres:  # the counters go on after the rows that are there
            for name, key in (("answers", "answer"), ("events", "event")):
                write.run(
                    f"SELECT setval(pg_get_serial_sequence('{name}', '{key}'), "
                    f"COALESCE((SELECT MAX({key}) FROM {name}), 0) + 1, false)"
                )
