"""The study's database: SQLite in the study's folder, or PostgreSQL by URL; the same tables and the same SQL.

What readers did is only ever added to: the database itself refuses to change or delete answers, milestones and events.
An answer is acknowledged after it is on disk.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ArtifactError, InputError, Problem

VERSION = 1
# name -> columns; the first line of each is its primary key
TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("name TEXT PRIMARY KEY", "value TEXT NOT NULL"),
    "people": ("person TEXT PRIMARY KEY", "role TEXT NOT NULL", "generation INTEGER NOT NULL"),
    "phases": ("phase INTEGER PRIMARY KEY", "body TEXT NOT NULL"),
    "images": (
        "image INTEGER PRIMARY KEY", "payload TEXT NOT NULL UNIQUE", "origin TEXT NOT NULL", "label TEXT NOT NULL",
        "cohort TEXT NOT NULL", "image_id TEXT NOT NULL", "caption TEXT NOT NULL",
    ),
    "items": (
        "item TEXT PRIMARY KEY", "person TEXT NOT NULL", "phase INTEGER NOT NULL", "position INTEGER NOT NULL",
        "training INTEGER NOT NULL", "again INTEGER NOT NULL", "image INTEGER NOT NULL", "other INTEGER",
        "UNIQUE (person, phase, position)",
    ),
    "answers": (
        "answer {serial}", "item TEXT NOT NULL", "revision INTEGER NOT NULL", "body TEXT NOT NULL",
        "active_ms INTEGER NOT NULL", "at DOUBLE PRECISION NOT NULL", "UNIQUE (item, revision)",
    ),
    "milestones": (
        "person TEXT NOT NULL", "what TEXT NOT NULL", "at DOUBLE PRECISION NOT NULL", "PRIMARY KEY (person, what)",
    ),
    "sessions": (
        "session TEXT PRIMARY KEY", "person TEXT NOT NULL", "csrf TEXT NOT NULL", "ends DOUBLE PRECISION NOT NULL",
    ),
    "events": (
        "event {serial}", "at DOUBLE PRECISION NOT NULL", "person TEXT NOT NULL", "what TEXT NOT NULL",
        "detail TEXT NOT NULL",
    ),
}  # fmt: skip
APPEND_ONLY = ("answers", "milestones", "events")
Row = dict[str, Any]


class Taken(Exception):
    """A row with this key is there already: somebody else, or the same request, was first."""


class Store:
    """One study's database. Each thread has a connection of its own; `close` ends all of them."""

    def __init__(self, place: Path | str):
        self.url = str(place)
        self.postgres = self.url.startswith(("postgresql://", "postgres://"))
        self._local = threading.local()
        self._all: list[Any] = []
        self._lock = threading.Lock()
        # SQLite has one writer; who finds it at work sleeps up to 0.1 s and tries again, who waits here goes on at once
        self._turn: AbstractContextManager[Any] = nullcontext() if self.postgres else threading.Lock()

    # --- connections ------------------------------------------------------------------------------------------------

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None or (self.postgres and connection.closed):
            connection = self._open_postgres() if self.postgres else self._open_sqlite()
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection

    def _open_sqlite(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.url, timeout=30, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    def _open_postgres(self) -> Any:
        try:
            import psycopg
            from psycopg.rows import dict_row
        except ImportError:
            raise InputError(
                Problem("database", "PostgreSQL needs psycopg", remedy="pip install 'psycopg[binary]'")
            ) from None
        try:
            return psycopg.connect(self.url, autocommit=True, row_factory=dict_row, connect_timeout=10)
        except psycopg.OperationalError:
            raise InputError(
                Problem("database", "cannot be reached", "postgresql://USER@HOST/NAME", "check the URL and the server")
            ) from None

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()

    # --- reading and writing ----------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Rows of a query with `?` for values."""
        return [dict(row) for row in self._begun(self._said(sql), values).fetchall()]

    def one(self, sql: str, *values: Any) -> Row | None:
        found = self.rows(sql, *values)
        return found[0] if found else None

    def run(self, sql: str, *values: Any) -> int:
        """A statement that is a transaction of its own: on disk when it is back. Returns how many rows it changed.

        It may run twice where a connection is cut, so it must add nothing the second time.
        """
        with self._turn:
            return int(self._begun(self._said(sql), values).rowcount)

    @contextmanager
    def writing(self) -> Iterator["Writing"]:
        """One transaction: all of it is on disk afterwards, or nothing. Raises Taken where a key was there already."""
        with self._turn:
            self._begun("BEGIN" if self.postgres else "BEGIN IMMEDIATE", ())
            connection = self._connection()
            try:
                yield Writing(self, connection)
                connection.execute("COMMIT")
            except BaseException as error:
                if not (self.postgres and connection.closed):
                    connection.execute("ROLLBACK")
                if _is_taken(error):
                    raise Taken from None
                raise

    def _begun(self, sql: str, values: tuple[Any, ...]) -> Any:
        """Runs a statement with which nothing was done yet: a connection that was cut is made anew, once."""
        connection = self._connection()
        try:
            return connection.execute(sql, values)
        except Exception:
            if not (self.postgres and connection.closed):
                raise
        return self._connection().execute(sql, values)

    def _said(self, sql: str) -> str:
        return sql.replace("?", "%s") if self.postgres else sql

    # --- what is in it ----------------------------------------------------------------------------------------------

    def create(self, meta: Mapping[str, Any]) -> None:
        """Makes the tables; ArtifactError when they are there."""
        serial = "BIGSERIAL PRIMARY KEY" if self.postgres else "INTEGER PRIMARY KEY AUTOINCREMENT"
        if self.exists():
            raise ArtifactError(Problem("database", "already holds a study", remedy="choose another"))
        with self.writing() as write:
            for name, columns in TABLES.items():
                body = ", ".join(column.format(serial=serial) for column in columns)
                write.run(f"CREATE TABLE {name} ({body})")
            write.run("CREATE INDEX items_of ON items (person, phase)")
            for statement in _append_only(self.postgres):
                write.run(statement)
            for name, value in {**meta, "version": VERSION}.items():
                write.add("meta", name=name, value=json.dumps(value))

    def exists(self) -> bool:
        if self.postgres:
            found = self.one("SELECT to_regclass('public.meta') AS name")
            return found is not None and found["name"] is not None
        return self.one("SELECT name FROM sqlite_master WHERE name = 'meta'") is not None

    def meta(self) -> dict[str, Any]:
        """Facts of the study; ArtifactError when there is none, or one of a newer version."""
        if not self.exists():
            raise ArtifactError(Problem("database", "holds no study", remedy="make one with synthcohort study create"))
        found = {row["name"]: json.loads(row["value"]) for row in self.rows("SELECT name, value FROM meta")}
        if found["version"] > VERSION:
            raise ArtifactError(Problem("database", f"version {found['version']}", f"up to {VERSION}"))
        return found


class Writing:
    """What can be done inside a transaction."""

    def __init__(self, store: Store, connection: Any):
        self._store, self._connection = store, connection

    def run(self, sql: str, *values: Any) -> int:
        """Runs a statement; returns the number of rows it changed."""
        return int(self._connection.execute(self._store._said(sql), values).rowcount)

    def add(self, table: str, **values: Any) -> None:
        """Adds one row. The names come from this program alone, the values are bound."""
        self.add_all(table, [values])

    def add_all(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        names = list(rows[0])
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        cursor = self._connection.cursor()
        cursor.executemany(self._store._said(sql), [[row[name] for name in names] for row in rows])
        cursor.close()


def _append_only(postgres: bool) -> list[str]:
    """Statements that make the database refuse to change what readers did."""
    if not postgres:
        return [
            f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} are only ever added to'); END"
            for table in APPEND_ONLY
            for verb in ("UPDATE", "DELETE")
        ]
    function = (
        "CREATE FUNCTION only_added() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'rows are only ever added'; END $$ "
        "LANGUAGE plpgsql"
    )
    return [
        function,
        *(
            f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} EXECUTE FUNCTION only_added()"
            for table in APPEND_ONLY
        ),
    ]


def _is_taken(error: BaseException) -> bool:
    if isinstance(error, sqlite3.IntegrityError):
        return "UNIQUE" in str(error) or "PRIMARY KEY" in str(error)
    return type(error).__name__ == "UniqueViolation"
