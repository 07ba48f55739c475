"""What is tried against a study, and refused."""

from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from synthcohort.study import reading
from synthcohort.study.access import Limits, invitation, replace_link, who_is_invited
from synthcohort.study.guard import MOST_BODY


@pytest.fixture
def at_work(served, tools):
    """anna has begun, bert too; anna's browser and page, and an item of bert's that is open."""
    pages = {}
    for person in ("anna-code", "bert-code"):
        client = served.browser(person)
        page = tools.press(client, client.get("/").text)
        pages[person] = (client, tools.press(client, page.text))
    client, page = pages["anna-code"]
    return client, page.text, tools.item_on(pages["bert-code"][1].text)


def test_another_readers_case_does_not_exist(served, tools, at_work):
    client, page, others = at_work
    for path in (f"/image/{others}/a", f"/feedback/{others}"):
        assert client.get(path).status_code == 404
    done = tools.press(client, page, f"/answer/{others}", answer="1", confidence="1", revision="0")
    assert done.status_code == 404
    assert reading.answers_of(served.store, others) == []


@pytest.mark.parametrize("path", ["/", "/back", "/overview", "/image/x/a", "/feedback/x"])
@pytest.mark.parametrize("cookie", [None, "", "forged", "a" * 43, "x" * 5000, "' OR 1=1 --"])
def test_without_a_session_there_is_nothing(served, path, cookie):
    client = served.browser()
    headers = {} if cookie is None else {"cookie": f"reading_session={cookie}"}
    assert client.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize("odd", ["é", "\x00", "a\x00b", "\ufffd", "😀" * 20, "%", "x" * 250])
def test_tokens_of_any_kind_are_only_unknown(served, tools, at_work, odd):
    client, page, _ = at_work
    token = quote(odd, safe="")
    assert client.get(f"/join/{token}").status_code in (404, 414)
    assert client.get(f"/image/{token}/a").status_code in (404, 414)
    assert client.get(f"/feedback/{token}").status_code in (404, 414)
    done = tools.press(client, page, f"/answer/{token}", answer=odd, confidence=odd, revision=odd)
    assert done.status_code in (404, 414)
    owner = served.browser("owner")
    assert tools.press(owner, owner.get("/overview").text, "/overview/link", person=odd).status_code == 404


def test_a_request_sent_again_changes_nothing(served, tools, at_work):
    """A whole request, cookie and token included, as somebody would send it who saw it once."""
    client, page, _ = at_work
    item, cookie = tools.item_on(page), client.cookies["reading_session"]
    seen = {"csrf": tools.csrf(page), "answer": "1", "confidence": "1", "revision": "0"}

    def again(**changes):
        browser = served.browser()
        return browser.post(
            f"/answer/{item}", data=seen | changes, headers={"cookie": f"reading_session={cookie}"},
            follow_redirects=False,
        ).status_code  # fmt: skip

    assert client.post(f"/answer/{item}", data=seen).status_code == 200
    assert again() == 303
    assert again(answer="2") == 409
    assert [row["revision"] for row in reading.answers_of(served.store, item)] == [0]
    tools.press(client, client.get("/").text, "/leave")
    assert again() == 401
    assert len(reading.answers_of(served.store, item)) == 1


def test_a_session_is_never_one_that_somebody_chose(served, tools):
    client = served.browser()
    client.cookies.set("reading_session", "chosen-by-somebody-else")
    client.post(f"/join/{invitation(served.secret, 'anna-code', 0)}", headers=tools.form, content="")
    given = [cookie.value for cookie in client.cookies.jar if cookie.name == "reading_session"]
    assert any(len(value) >= 43 and value != "chosen-by-somebody-else" for value in given)
    stranger = served.browser()
    chosen = {"cookie": "reading_session=chosen-by-somebody-else"}
    assert stranger.get("/", headers=chosen).status_code == 401


def test_other_verbs_are_refused_with_the_ones_that_may_be_used(served, at_work):
    client, _, _ = at_work
    for verb in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        refused = client.request(verb, "/step")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "POST"


def test_what_breaks_is_said_in_words_and_shows_nothing(served, at_work):
    client, _, _ = at_work
    for file in (served.folder / "images").iterdir():
        file.unlink()
    quiet = TestClient(served.app, base_url="http://localhost", raise_server_exceptions=False)
    quiet.cookies = client.cookies
    broken = quiet.get(f"/image/{item_of(client)}/a")
    quiet.close()
    assert broken.status_code == 500
    assert "may not have been saved" in broken.text
    assert str(served.folder) not in broken.text
    assert broken.headers["content-security-policy"].startswith("default-src 'none'")


def item_of(client) -> str:
    return client.get("/").text.partition('data-image="/image/')[2].partition("/")[0]


def test_a_session_ends_by_leaving_and_by_time(served, tools):
    client = served.browser("anna-code")
    page = client.get("/").text
    stolen = client.cookies["reading_session"]
    tools.press(client, page, "/leave")
    other = served.browser()
    assert other.get("/", headers={"cookie": f"reading_session={stolen}"}).status_code == 401
    client = served.browser("anna-code")
    served.clock.now += 13 * 3600
    assert client.get("/").status_code == 401


def test_forms_need_the_sessions_token(served, tools, at_work):
    client, page, _ = at_work
    item, bert = tools.item_on(page), served.browser("bert-code")
    foreign = tools.csrf(bert.get("/").text)
    fields = {"answer": "1", "confidence": "1", "revision": "0"}
    for token in ("", "x", foreign):
        assert client.post(f"/answer/{item}", data={**fields, "csrf": token}).status_code == 403
    sent = {**fields, "csrf": tools.csrf(page)}
    crossed = client.post(f"/answer/{item}", data=sent, headers={"sec-fetch-site": "cross-site"})
    assert crossed.status_code == 403
    assert client.post(f"/answer/{item}", json=sent).status_code == 415
    assert reading.answers_of(served.store, item) == []
    assert served.store.one("SELECT COUNT(*) AS n FROM events WHERE detail = 'forged form'")["n"] == 3


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(served, tools):
    client = served.browser()
    link = f"/join/{invitation(served.secret, 'anna-code', 0)}"
    for base, secure in (("http://localhost", False), ("https://localhost", True)):
        said = client.post(base + link, headers=tools.form, content="", follow_redirects=False).headers
        cookie = said["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert ("; secure" in cookie) == secure
        assert ("strict-transport-security" in said) == secure


def test_links_cannot_be_guessed_and_can_be_replaced(served):
    token = invitation(served.secret, "anna-code", 0)
    assert who_is_invited(served.store, served.secret, token) == ("anna-code", "reader")
    for wrong in ("", "a", token[:-1], token + "a", token.upper(), invitation("00" * 32, "anna-code", 0)):
        assert who_is_invited(served.store, served.secret, wrong) is None
    client = served.browser("anna-code")
    assert client.get("/").status_code == 200
    replace_link(served.store, "anna-code", 0.0, "owner")
    assert client.get("/").status_code == 401
    assert served.browser().get(f"/join/{token}").status_code == 404


def test_a_link_is_not_used_up_by_a_scanner_that_follows_it(served):
    client = served.browser()
    page = client.get(f"/join/{invitation(served.secret, 'anna-code', 0)}")
    assert page.status_code == 200
    assert "set-cookie" not in page.headers
    assert served.store.rows("SELECT * FROM sessions") == []


@pytest.mark.parametrize(
    "path",
    [
        "/static/../study.db", "/static/%2e%2e/%2e%2e/study.db", "/static/style.css%00.html", "/static//etc/passwd",
        "/image/..%2f..%2fstudy.db/a", "/../../etc/passwd", "/images/x", "/study.db", "/invitations.txt",
        "/design.json",
        "/openapi.json", "/docs", "/redoc", "/static/layout.html", "/image/x/..", "/.git/config",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(at_work, path):
    client, _, _ = at_work
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert b"SQLite format" not in answer.content


def test_what_is_too_large_is_refused(served, tools, at_work):
    client, page, _ = at_work
    item = tools.item_on(page)
    large = client.post(f"/answer/{item}", headers=tools.form, content=b"a=" + b"x" * MOST_BODY)
    assert large.status_code == 413

    def pieces():
        for _ in range(40):
            yield b"x" * 1000

    assert client.post(f"/answer/{item}", headers=tools.form, content=pieces()).status_code == 413
    assert client.get("/?" + "q" * 400).status_code == 414
    many = "&".join(f"f{i}=1" for i in range(50))
    assert client.post(f"/answer/{item}", headers=tools.form, content=many).status_code == 400
    assert client.post(f"/answer/{item}", headers=tools.form, content="csrf=a&csrf=b").status_code == 400


@pytest.mark.parametrize(
    "value", ["-5", "1e9", "9" * 30, "NaN", "٣", "<script>alert(1)</script>", "'; DROP TABLE answers"]
)
def test_odd_values_are_harmless(served, tools, at_work, value):
    client, page, _ = at_work
    item = tools.item_on(page)
    done = tools.press(client, page, f"/answer/{item}", answer="1", confidence="1", revision="0", active_ms=value)
    assert done.status_code == 200
    assert 0 <= reading.answers_of(served.store, item)[0]["active_ms"] <= 3_600_000
    strange = tools.press(client, page, f"/answer/{item}", answer=value, confidence="1", revision=value)
    assert strange.status_code in (409, 422)
    assert "<script>alert" not in strange.text


def test_too_often_is_refused_and_the_others_go_on(make):
    served = make(limits=Limits(scale=0.01))
    client = served.browser()
    found = [client.get("/join/guess").status_code for _ in range(8)]
    assert found[:3] == [404, 404, 404]
    assert found[-1] == 429
    assert client.get("/").status_code == 401  # pages have a limit of their own


def test_every_answer_carries_the_policy(served, at_work):
    client, _, _ = at_work
    for path in ("/", "/static/viewer.js", "/nothing", "/join/x"):
        said = client.get(path).headers
        assert said["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in said["content-security-policy"]
        assert said["x-content-type-options"] == "nosniff"
        assert "server" not in said
    page = client.get("/").text
    assert " style=" not in page
    assert "onclick" not in page
    assert page.count("<script") == page.count('<script src="/static/')


def test_roles(served, tools):
    reader, watcher, owner = (served.browser(name) for name in ("anna-code", "watcher", "owner"))
    assert reader.get("/overview").status_code == 404
    seen = watcher.get("/overview")
    assert seen.status_code == 200
    assert "/join/" not in seen.text
    assert "Close the study" not in seen.text
    tried = tools.press(watcher, seen.text, "/overview/close", sure="yes")
    assert tried.status_code == 404
    assert tools.press(watcher, seen.text, "/overview/link", person="anna-code").status_code == 404
    page = owner.get("/overview").text
    assert page.count("/join/") == 3
    assert tools.press(owner, page, "/overview/link", person="owner").status_code == 404
    assert tools.press(owner, page, "/overview/link", person="nobody").status_code == 404
    assert tools.press(owner, page, "/overview/close").status_code == 400
    assert not reading.is_closed(served.store)
    assert tools.press(owner, page, "/overview/close", sure="yes").status_code == 200
    assert "closed" in reader.get("/").text


def test_nobody_sees_the_key_before_the_end(served, tools):
    """No page of anybody names an image of the cohorts, nor its origin, while the study is open."""
    ids = [row["image_id"] for row in served.store.rows("SELECT image_id FROM images")]
    for name in ("anna-code", "watcher", "owner"):
        client = served.browser(name)
        text = client.get("/").text
        assert not any(image_id in text for image_id in ids)
        assert "accuracy" not in text.lower()


def test_after_the_end_nothing_is_taken(served, tools, at_work):
    client, page, _ = at_work
    item = tools.item_on(page)
    reading.reach(served.store, "owner", "closed", 0.0)
    done = tools.press(client, page, f"/answer/{item}", answer="1", confidence="1", revision="0")
    assert "closed" in done.text
    assert reading.answers_of(served.store, item) == []


def test_the_owner_sees_how_far_everybody_is(served, tools):
    client = served.browser("anna-code")
    page = client.get("/").text
    while "A pause" not in page:
        acts = "data-image" in page
        page = (tools.answer(client, page, answer="1", confidence="2") if acts else tools.press(client, page)).text
    seen = served.browser("owner").get("/overview").text
    assert "17 of 17" in seen
    assert seen.count("opens 20") == 1
    assert "part 1 done" in seen
    assert "phase 0" not in seen
