"""A whole study through the real HTTP interface, in this process."""

import json
import sqlite3

import pytest

from synthcohort.core.files import read_artifact
from synthcohort.study import reading
from synthcohort.study.analyze import analyze
from synthcohort.study.design import Design, Phase


def read_phase(client, tools, choose) -> int:
    """Answers everything that is open, from the introduction on; returns how many cases there were."""
    page = tools.press(client, client.get("/").text)
    count = 0
    while "data-image" in page.text:
        page = tools.answer(client, page.text, **choose(tools.item_on(page.text)))
        assert page.status_code == 200
        count += 1
    return count


def key_of(served, item: str) -> tuple[str, str]:
    row = served.store.one(
        "SELECT g.origin, g.label FROM items i JOIN images g ON g.image = i.image WHERE i.item = ?", item
    )
    return row["origin"], row["label"]


def test_two_phases_from_the_link_to_study_json(served, tools, tmp_path):
    """One reader who is always right and one who always says the same, resumed on another device."""

    def sees(item):
        origin, label = key_of(served, item)
        return {"answer": label, "confidence": "5"} if phase == 0 else {
            "answer": "synthetic" if origin == "synthetic" else "real", "confidence": "5"}  # fmt: skip

    def blind(item):
        return {"answer": "1" if phase == 0 else "real", "confidence": "1"}

    for phase in (0, 1):
        for person, chooses in (("anna-code", sees), ("bert-code", blind)):
            client = served.browser(person)
            page = client.get("/")
            if phase == 0:
                assert "Before you begin" in page.text
                tools.press(client, page.text)
            assert read_phase(client, tools, chooses) == (17 if phase == 0 else 10)
        assert ("A pause" if phase == 0 else "Done") in client.get("/").text
        served.clock.now += 15 * 86_400
    reading.reach(served.store, "owner", "closed", served.clock())
    result = analyze(served.folder, tmp_path / "results")
    assert result["closed"] is True
    content = read_artifact(tmp_path / "results" / "study.json", "study", 1)
    grades, origin = content["phases"]
    assert grades["readers"] == ["anna-code", "bert-code"]
    assert grades["cases"] == {"real": 6, "synthetic": 6, "degraded": 1}
    by_reader = {(f["name"], f["reader"]): f["value"] for f in grades["figures"] if f["subset"] is None and f["reader"]}
    assert by_reader["accuracy", "anna-code"] == 1.0
    assert by_reader["accuracy", "bert-code"] == pytest.approx(1 / 3)
    assert by_reader["same_again", "anna-code"] == 1.0
    told = {(f["name"], f["reader"]): f["value"] for f in origin["figures"] if f["subset"] is None}
    assert told["accuracy", "anna-code"] == 1.0
    assert told["auc", "anna-code"] == 1.0
    assert told["sensitivity", "bert-code"] == 0.0
    assert told["auc", "bert-code"] == 0.5
    (same,) = [f for f in origin["figures"] if (f["name"], f["reader"]) == ("auc", "bert-code")]
    assert same["low"] is None  # who always says the same is not certain to guess
    assert told["accuracy", None] == 0.75
    assert grades["equivalence"]["difference"] == pytest.approx(0.0)
    assert "2 readers graded KL grade of each image, unaware" in content["methods"]
    table = (tmp_path / "results" / "table.csv").read_text().splitlines()
    assert len(table) == 1 + sum(len(phase["figures"]) for phase in content["phases"])
    assert "Read" in (tmp_path / "results" / "report.html").read_text()


def test_a_study_that_is_open_is_not_analyzed_by_mistake(served, tmp_path):
    with pytest.raises(Exception, match="still open"):
        analyze(served.folder, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    assert analyze(served.folder, tmp_path / "results", early=True)["closed"] is False
    assert "before the study was closed" in (tmp_path / "results" / "methods.txt").read_text()


def begun(served, tools, person: str = "anna-code"):
    client = served.browser(person)
    page = tools.press(client, client.get("/").text)
    return client, tools.press(client, page.text)


def past_practice(served, tools):
    client, page = begun(served, tools)
    while "Practice" in page.text:
        page = tools.answer(client, page.text, answer="1", confidence="2")
    return client, page


def test_practice_shows_what_was_expected_and_nothing_else_does(served, tools):
    client, page = begun(served, tools)
    item = tools.item_on(page.text)
    done = tools.press(client, page.text, f"/answer/{item}", answer="0", confidence="2", revision="0")
    assert str(done.url).endswith(f"/feedback/{item}")
    assert ("Expected here" in done.text) == (key_of(served, item)[1] != "0")
    client, page = past_practice(served, tools)
    case = tools.item_on(page.text)
    tools.answer(client, page.text, answer="1", confidence="2")
    assert client.get(f"/feedback/{case}").status_code == 404


def test_nothing_is_taken_before_the_consent_and_the_start(served, tools):
    client = served.browser("anna-code")
    first = served.store.rows("SELECT item FROM items WHERE person = 'anna-code' ORDER BY phase, position")[0]["item"]
    page = client.get("/").text
    assert "autofocus" not in page
    for _ in range(2):  # at the consent, then at the introduction
        done = tools.press(client, page, f"/answer/{first}", answer="1", confidence="1", revision="0")
        assert tools.csrf(done.text)
        assert reading.answers_of(served.store, first) == []
        assert client.get(f"/image/{first}/a").status_code == 404
        page = tools.press(client, page).text
    done = tools.press(client, page, f"/answer/{first}", answer="1", confidence="1", revision="0")
    assert len(reading.answers_of(served.store, first)) == 1


def test_another_device_goes_on_where_the_first_stopped(served, tools):
    first, page = past_practice(served, tools)
    page = tools.answer(first, page.text, answer="2", confidence="4")
    second = served.browser("anna-code")
    assert tools.item_on(second.get("/").text) == tools.item_on(page.text)


def test_the_answer_before_can_be_corrected_and_nothing_is_overwritten(served, tools):
    client, page = past_practice(served, tools)
    item = tools.item_on(page.text)
    assert 'href="/back"' not in page.text
    page = tools.answer(client, page.text, answer="2", confidence="4")
    back = client.get("/back")
    assert tools.item_on(back.text) == item
    assert "Correction" in back.text
    assert 'value="2" data-key="2" checked' in back.text
    done = tools.press(client, back.text, f"/answer/{item}", answer="1", confidence="5", revision="1")
    assert tools.item_on(done.text) == tools.item_on(page.text)
    stored = reading.answers_of(served.store, item)
    assert [json.loads(row["body"])["answer"] for row in stored] == ["2", "1"]


def test_an_answer_sent_twice_counts_once(served, tools):
    client, page = past_practice(served, tools)
    item = tools.item_on(page.text)
    fields = {"answer": "2", "confidence": "4", "revision": "0"}
    assert tools.press(client, page.text, f"/answer/{item}", **fields).status_code == 200
    assert tools.press(client, page.text, f"/answer/{item}", **fields).status_code == 200
    changed = tools.press(client, page.text, f"/answer/{item}", **{**fields, "answer": "0"})
    assert changed.status_code == 409
    assert [json.loads(row["body"])["answer"] for row in reading.answers_of(served.store, item)] == ["2"]


@pytest.mark.parametrize("fields", [{"answer": "7", "confidence": "2"}, {"answer": "1"}, {}])
def test_an_answer_that_is_none_of_the_options_is_asked_again(served, tools, fields):
    client, page = past_practice(served, tools)
    item = tools.item_on(page.text)
    again = tools.press(client, page.text, f"/answer/{item}", **fields)
    assert again.status_code == 422
    assert "Please answer" in again.text
    assert tools.item_on(again.text) == item
    assert reading.answers_of(served.store, item) == []


def test_cases_come_in_their_order_only(served, tools):
    client, page = past_practice(served, tools)
    later = served.store.rows(
        "SELECT item FROM items WHERE person = 'anna-code' AND phase = 0 ORDER BY position DESC LIMIT 1"
    )[0]["item"]
    early = tools.press(client, page.text, f"/answer/{later}", answer="1", confidence="1", revision="0")
    assert early.status_code == 409
    assert client.get(f"/image/{later}/a").status_code == 404


def test_the_database_itself_refuses_to_change_answers(served, tools):
    client, page = past_practice(served, tools)
    tools.answer(client, page.text, answer="2", confidence="4")
    for statement in ("UPDATE answers SET body = '{}'", "DELETE FROM answers", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"), served.store.writing() as write:
            write.run(statement)


def test_washout_holds_the_second_part_back(served, tools):
    client = served.browser("anna-code")
    tools.press(client, client.get("/").text)
    read_phase(client, tools, lambda item: {"answer": "1", "confidence": "1"})
    served.clock.now += 13 * 86_400
    assert "A pause" in client.get("/").text or client.get("/").status_code == 401
    client = served.browser("anna-code")
    assert "A pause" in client.get("/").text
    served.clock.now += 2 * 86_400
    assert "Part 2 of 2" in served.browser("anna-code").get("/").text


def test_the_purpose_is_told_at_the_end_and_not_before(make, tools):
    """Consent promises it. After the last part, where that one told already; else when the study is closed."""
    for kinds, at_once in ((("grade",), False), (("origin",), True)):
        phases = tuple(Phase(kind, label="kl_grade", real=2, synthetic=2, training=0) for kind in kinds)
        served = make(Design(phases=phases, readers=("anna-code",), contact="the office"))
        client = served.browser("anna-code")
        tools.press(client, client.get("/").text)
        while True:
            page = read_one(client, tools, kinds[0])
            if "data-image" not in page:
                break
            assert "computer program that had learned" not in page
        assert "Done" in page
        assert "the office" in page
        assert ("computer program that had learned" in page) == at_once
        reading.reach(served.store, "owner", "closed", served.clock())
        assert "computer program that had learned" in client.get("/").text


def read_one(client, tools, kind: str) -> str:
    page = client.get("/").text
    if "data-image" not in page:
        page = tools.press(client, page).text
    return tools.answer(client, page, answer="1" if kind == "grade" else "real", confidence="2").text
