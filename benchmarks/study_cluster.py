"""A PostgreSQL of its own for the time of a run: made empty, reachable from this machine alone, removed afterwards."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")


def binaries() -> Path:
    """The folder of initdb, postgres and pg_ctl; SystemExit when there is no PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found or on_path:
        return found[-1].parent if found else Path(str(on_path)).resolve().parent
    raise SystemExit("needs PostgreSQL (Debian: apt-get install postgresql)")


@contextmanager
def cluster(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """URLs of new, empty databases of these names. As root, the server runs as the user postgres, as it insists."""
    where = Path(tempfile.mkdtemp(prefix="study-postgres-"))
    root = os.geteuid() == 0
    if root:
        shutil.chown(where, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(name: str, *arguments: str) -> None:
        given = {"user": "postgres", "group": "postgres", "extra_groups": ()} if root else {}
        command = [str(binaries() / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=where, **given)  # type: ignore[call-overload]

    data = str(where / "data")
    run("initdb", "-D", data, "-U", "study", "-A", "trust", "-E", "UTF8", "--no-locale")
    options = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"port={port}"))
    run("pg_ctl", "-D", data, "-w", "-t", "300", "-l", str(where / "log"), "-o", options, "start")
    try:
        import psycopg

        with psycopg.connect(f"postgresql://study@127.0.0.1:{port}/postgres", autocommit=True) as connection:
            for name in names:
                connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        yield tuple(f"postgresql://study@127.0.0.1:{port}/{name}" for name in names)
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(where, ignore_errors=True)
