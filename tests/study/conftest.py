"""Small cohorts of knees that never were, and a study in the hands of readers, in this process."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng
from synthcohort.study.access import Limits, invitation
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase
from synthcohort.study.server import make_app
from synthcohort.study.store import Store

SIZE = 24


def write_cohort(path: Path, origin: str, count: int = 60, dtype: str = "uint16", **settings) -> Cohort:
    writer = CohortWriter(path, origin, origin, [LabelColumn("kl_grade", "ordinal", (0, 1, 2))], {}, "study")
    top = 255 if dtype == "uint8" else 4095
    for i in range(count):
        image = rng("study image", origin, i).integers(0, top, (SIZE, SIZE)).astype(dtype)
        record = {"image_id": f"{origin}-{i:03d}", "kl_grade": i % 3, "caption": f"A knee, grade {i % 3}"}
        if origin == "real":
            record |= {"patient_id": f"p{i // 2}", "group_id": f"p{i // 2}", "split": "test"}
        writer.add(image, record | settings)
    return writer.finish(screened=True)


DESIGN = Design(
    title="Knees",
    phases=(
        Phase("grade", label="kl_grade", real=6, synthetic=6, degraded=1, repeats=2, training=2),
        Phase("origin", label="kl_grade", real=4, synthetic=4, training=2, washout_days=14),
    ),
    readers=("anna-code", "bert-code"),
    observers=("watcher",),
)


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Served:
    """A study with its application, and browsers of its people."""

    def __init__(self, folder: Path, limits: Limits | None = None, database: str | None = None):
        self.folder, self.clock = folder, Clock()
        self.store = Store(database or folder / "study.db")
        self.secret = self.store.meta()["secret"]
        self.app = make_app(folder, self.store, self.clock, limits or Limits(scale=1e6))
        self._clients: list[TestClient] = []

    def browser(self, person: str | None = None) -> TestClient:
        client = TestClient(self.app, base_url="http://localhost", follow_redirects=True)
        self._clients.append(client)
        if person is not None:
            done = client.post(f"/join/{invitation(self.secret, person, 0)}", headers=FORM, content="")
            assert done.status_code == 200, done.text
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.store.close()


FORM = {"content-type": "application/x-www-form-urlencoded"}


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]*)"', page)
    assert found
    return found.group(1)


def item_on(page: str) -> str:
    found = re.search(r'data-image="/image/([a-z0-9]+)/a"', page)
    assert found
    return found.group(1)


def press(client: TestClient, page: str, action: str = "/step", **fields: str):
    return client.post(action, data={"csrf": csrf(page), **fields})


def answer(client: TestClient, page: str, **fields: str):
    """Answers the case on a page and returns the next page, past the feedback of a training case."""
    done = press(client, page, f"/answer/{item_on(page)}", active_ms="1234", revision="0", **fields)
    return client.get("/") if "/feedback/" in str(done.url) else done


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cohorts")
    write_cohort(folder / "real", "real")
    write_cohort(folder / "synthetic", "synthetic")
    return folder / "real", folder / "synthetic"


@pytest.fixture(scope="session")
def whole(cohorts, tmp_path_factory) -> Path:
    """A study that nobody has opened."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    create(cohorts[1], folder, DESIGN, cohorts[0])
    return folder


@pytest.fixture
def make(cohorts, whole, tmp_path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(design: Design = DESIGN, limits: Limits | None = None, **settings) -> Served:
        folder = tmp_path / f"study{len(made)}"
        if design is DESIGN and not settings:
            shutil.copytree(whole, folder)
        else:
            create(cohorts[1], folder, design, None if design.teaching else cohorts[0], **settings)
        made.append(Served(folder, limits, settings.get("database")))
        return made[-1]

    yield make
    for served in made:
        served.close()


@pytest.fixture
def served(make) -> Served:
    return make()


@pytest.fixture
def tools():
    """The functions above, for tests that cannot import them."""

    class Tools:
        csrf, item_on, press, answer = (
            staticmethod(csrf),
            staticmethod(item_on),
            staticmethod(press),
            staticmethod(answer),
        )
        write_cohort = staticmethod(write_cohort)
        design, form, Served = DESIGN, FORM, Served

    return Tools
