"""A study kept in PostgreSQL, from the sample to the analysis, and its backup into SQLite and into another database.

Everything is checked by assertions, in two empty databases: those named, or of a PostgreSQL of its own.

    python benchmarks/study_postgres.py [postgresql://USER@127.0.0.1/first postgresql://USER@127.0.0.1/second]
"""

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from starlette.testclient import TestClient
from study_cluster import cluster
from study_people import phantom_cohort

from synthcohort.core.errors import ArtifactError
from synthcohort.study.access import Limits, invitation
from synthcohort.study.analyze import analyze
from synthcohort.study.backup import backup, open_store, restore
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase
from synthcohort.study.server import make_app
from synthcohort.study.store import TABLES, Store

PHASE = Phase("grade", label="kl_grade", real=3, synthetic=3, training=1, repeats=1)
DESIGN = Design(phases=(PHASE,), readers=("a", "b"))
FORM = {"content-type": "application/x-www-form-urlencoded"}


def read(app, secret: str, person: str) -> int:
    """Answers all cases of a person; each is tried to be changed afterwards, which must be refused."""
    answers = 0
    with TestClient(app, base_url="http://localhost") as client:
        client.post(f"/join/{invitation(secret, person, 0)}", headers=FORM, content="")
        while True:
            page = client.get("/").text
            found = re.search(r'"/image/([a-z0-9]+)/a"', page)
            token = re.search(r'name="csrf" value="([^"]*)"', page)
            assert token
            if found is None:
                if 'action="/step"' not in page:
                    return answers
                client.post("/step", data={"csrf": token.group(1)})
                continue
            path, body = f"/answer/{found.group(1)}", {"csrf": token.group(1), "answer": "2", "confidence": "3"}
            assert client.post(path, data=body).status_code == 200
            assert client.post(path, data={**body, "answer": "3"}).status_code == 409
            answers += 1


def everything(store: Store) -> dict[str, list]:
    return {name: sorted(store.rows(f"SELECT * FROM {name}"), key=str) for name in TABLES if name != "sessions"}


def cut(database: str) -> int:
    """Ends all connections of others, as a restart of PostgreSQL does; returns how many there were."""
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended.fetchall())


def refused(store: Store, statement: str) -> bool:
    try:
        with store.writing() as write:
            write.run(statement)
    except Exception as error:
        return type(error).__name__ == "RaiseException"
    return False


def main(first: str, second: str) -> int:
    folder = Path(tempfile.mkdtemp())
    real = phantom_cohort(folder / "real", "real", 20, 32)
    made = phantom_cohort(folder / "made", "synthetic", 20, 32)
    create(made.path, folder / "study", DESIGN, real.path, first)
    try:
        create(made.path, folder / "other", DESIGN, real.path, first)
        raise AssertionError("a second study was made in the same database")
    except ArtifactError:
        assert not (folder / "other").exists()
    store = Store(first)
    secret = store.meta()["secret"]
    app = make_app(folder / "study", store, limits=Limits(scale=1e6))
    for person in DESIGN.readers:
        assert read(app, secret, person) == 8
        assert cut(first) > 0, "no connection was there to cut"  # the next reader comes after it
    for statement in ("UPDATE answers SET body = 'x'", "DELETE FROM events", "TRUNCATE milestones"):
        assert refused(store, statement), statement
    assert backup(folder / "study", folder / "b.zip", first)["answers"] == 16
    kept = everything(store)
    for name, database in (("sqlite", None), ("postgres", second)):
        restore(folder / "b.zip", folder / name, database)
        again = open_store(folder / name, database)
        assert everything(again) == kept, name
        with again.writing() as write:
            write.add("events", at=1.0, person="x", what="after the restore", detail="")
        again.close()
    done = analyze(folder / "study", folder / "results", first, early=True)
    assert done["phases"] == [{"kind": "grade", "readers": 2, "unfinished": 0}]
    store.close()
    print('{"ok": true}')
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    with cluster(("first", "second")) as databases:
        status = main(*databases)
    sys.exit(status)
