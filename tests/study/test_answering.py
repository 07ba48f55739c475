"""What an answer costs the database, and what that must not cost."""

import threading

import pytest

from synthcohort.study import answering, reading
from synthcohort.study.design import Design, Phase
from synthcohort.study.store import Store

FIELDS = {"answer": "1", "confidence": "2", "active_ms": "9"}
DESIGN = Design(
    phases=(Phase("grade", label="kl_grade", real=3, synthetic=3, training=0, washout_days=0),) * 2,
    readers=("anna-code",),
)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """Every statement that reaches the database."""
    found: list[str] = []
    opened = Store._open_sqlite

    def traced(self):
        connection = opened(self)
        connection.set_trace_callback(found.append)
        return connection

    monkeypatch.setattr(Store, "_open_sqlite", traced)
    return found


@pytest.fixture
def short(said, make, tools):
    """A study of six cases in each part, begun; the reader's browser and the first case."""
    served = make(DESIGN)
    client = served.browser("anna-code")
    page = tools.press(client, client.get("/").text).text
    return served, client, tools.press(client, page).text


def posted(client, tools, page: str, **fields: str):
    form = {"csrf": tools.csrf(page), **FIELDS, **fields}
    return client.post(f"/answer/{tools.item_on(page)}", data=form, follow_redirects=False)


def cost(said: list[str], does) -> list[str]:
    del said[:]
    does()
    return [statement.split()[0] for statement in said]


def test_an_answer_is_one_statement_that_reads_and_one_that_adds(short, said, tools):
    _, client, page = short
    assert cost(said, lambda: posted(client, tools, page)) == ["SELECT", "INSERT"]
    back = client.get("/back").text
    assert cost(said, lambda: posted(client, tools, back, answer="2", revision="1")) == ["SELECT", "INSERT"]
    page = client.get("/").text
    assert cost(said, lambda: client.get(f"/image/{tools.item_on(page)}/a")) == ["SELECT"]
    assert cost(said, lambda: client.get("/")) == ["SELECT"] * 4


def test_the_last_answer_of_a_part_ends_it_in_one_transaction(short, said, tools):
    served, client, page = short
    for _ in range(5):
        posted(client, tools, page)
        page = client.get("/").text
    last = cost(said, lambda: posted(client, tools, page))
    assert last == ["SELECT", "BEGIN", "INSERT", "INSERT", "INSERT", "COMMIT"]
    assert "phase 0 done" in reading.milestones(served.store, "anna-code")
    assert served.store.one("SELECT COUNT(*) AS n FROM events WHERE what = 'phase 0 done'") == {"n": 1}


def test_a_last_answer_whose_milestone_cannot_be_kept_is_not_kept_either(short, tools):
    """Else the washout would be forgotten after a crash between the two."""
    served, client, page = short
    for _ in range(5):
        posted(client, tools, page)
        page = client.get("/").text
    with served.store.writing() as write:
        write.run("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(Exception, match="disk full"):
        posted(client, tools, page)
    assert reading.answers_of(served.store, tools.item_on(page)) == []
    assert "phase 0 done" not in reading.milestones(served.store, "anna-code")


def test_what_changed_between_looking_and_adding_is_seen(short, tools):
    """All conditions stand in the statement that adds: what was read before it is not relied on."""
    served, client, page = short
    item, cookie = tools.item_on(page), client.cookies["reading_session"]
    phase = reading.phases(served.store)[0]
    before = answering.asked(served.store, cookie, item, served.clock())
    posted(client, tools, page)
    answering.save(served.store, phase, before, {"answer": "1", "confidence": "2"}, 0, 9, 1.0)  # the same: once
    with pytest.raises(reading.WrongAnswer, match="answered already"):
        answering.save(served.store, phase, before, {"answer": "0", "confidence": "2"}, 0, 9, 1.0)
    page = client.get("/").text
    now = answering.asked(served.store, cookie, tools.item_on(page), served.clock())
    reading.reach(served.store, "owner", "closed", served.clock())
    with pytest.raises(reading.WrongAnswer, match="closed"):
        answering.save(served.store, phase, now, {"answer": "1", "confidence": "2"}, 0, 9, 1.0)
    assert served.store.one("SELECT COUNT(*) AS n FROM answers") == {"n": 1}


def test_a_correction_of_a_case_before_the_last_is_refused(short, tools):
    served, client, first = short
    posted(client, tools, first)
    posted(client, tools, client.get("/").text)
    assert posted(client, tools, first, answer="0", revision="1").status_code == 409
    assert len(reading.answers_of(served.store, tools.item_on(first))) == 1


def test_the_same_answer_from_many_windows_at_once_is_one(short, tools):
    served, client, page = short
    item, cookie = tools.item_on(page), client.cookies["reading_session"]
    phase = reading.phases(served.store)[0]
    what = answering.asked(served.store, cookie, item, served.clock())
    taken, refused, ready = [], [], threading.Barrier(6)

    def window(grade: str) -> None:
        ready.wait()
        try:
            answering.save(served.store, phase, what, {"answer": grade, "confidence": "2"}, 0, 9, 1.0)
            taken.append(grade)
        except reading.WrongAnswer:
            refused.append(grade)

    windows = [threading.Thread(target=window, args=(str(i % 2),)) for i in range(6)]
    for each in windows:
        each.start()
    for each in windows:
        each.join()
    assert len(reading.answers_of(served.store, item)) == 1
    assert len(set(taken)) == 1
    assert (len(taken), len(refused)) == (3, 3)
