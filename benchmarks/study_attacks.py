"""Schemathesis against a live server, once for each role: what it can't break, and what must hold afterwards.

The server publishes no interface; here it is written out: every address, form field and status that may occur. Ids in
the addresses are the reader's own items, another reader's, later ones, and in negative tests whatever Schemathesis
makes up; the same for tokens. Every run must end without a finding: no 5xx, no status, content type or header that is
not written here, no page without a session. Then: the server is alive and wrote no error, and in the database stands no
answer but the attacker's own to items that were open, each one of its options; nothing of another reader's was changed
or added.

    python benchmarks/study_attacks.py --out runs/study-attacks [--examples 100] [--database postgresql://…]
"""

import argparse
import json
import re
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parent))
from study_load import FORM, Server
from study_people import phantom_cohort

from synthcohort.study import reading
from synthcohort.study.backup import open_store
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase
from synthcohort.study.guard import HEADERS
from synthcohort.study.store import Store

PHASE = Phase("grade", label="kl_grade", real=10, synthetic=10, training=2, repeats=2)
DESIGN = Design(phases=(PHASE,), readers=("attacker", "other"), observers=("watcher",))
QUIZ = Design(
    title="Grading", teaching=True,
    phases=(Phase("grade", label="kl_grade", real=0, synthetic=30, training=0, confidence=0),),
)  # fmt: skip
ANY = "any words; the server decides"
HTML, TEXT, BYTES = "text/html", "text/plain", "application/octet-stream"
# what the guard says before any page: body too large, address too long, too often
ALWAYS = {"413": {TEXT, HTML}, "414": {TEXT}, "429": {TEXT}}
ANSWER = {
    "answer": ["0", "1", "2", "3", "4"], "confidence": ["1", "2", "3", "4", "5"], "revision": [], "active_ms": [],
}  # fmt: skip
# what the server may write: its greeting, and that something was no HTTP at all, which uvicorn refuses itself
EXPECTED = ("Owner's page", "Invalid HTTP request received")
Fields = dict[str, list[str]]


def operation(statuses: str, content: str = HTML, form: Fields | None = None, session: bool = True) -> dict[str, Any]:
    """One operation; `form` holds its fields besides the token against forged requests."""
    found = {status: {content if status[0] == "2" else HTML} for status in statuses.split()}
    found |= {"401": {HTML}} if session else {}
    found |= {"400": {HTML}, "403": {HTML}, "415": {HTML}} if form is not None else {}
    said: dict[str, Any] = {
        status: {
            "description": status,
            "content": {kind: {"schema": {"type": "string"}} for kind in sorted(kinds)} if status != "303" else {},
            "headers": {
                name.decode(): {"required": True, "schema": {"type": "string", "enum": [value.decode()]}}
                for name, value in HEADERS
            },
        }
        for status, kinds in {**found, **ALWAYS}.items()
    }
    made: dict[str, Any] = {"responses": said, "security": [{"session": []}] if session else []}
    if form is not None:
        made["requestBody"] = {"required": True, "content": {FORM["Content-Type"]: {"schema": _form(form)}}}
    return made


def _form(fields: Fields) -> dict[str, Any]:
    properties = {name: {"type": "string", **({"enum": known} if known else {})} for name, known in fields.items()}
    required = sorted(name for name, known in fields.items() if known)  # what is no whole number counts as 0
    return {"type": "object", "properties": properties, "required": required, "description": ANY}


def path_of(name: str, known: list[str]) -> list[dict[str, Any]]:
    schema: dict[str, Any] = {"type": "string", "enum": known} if known else {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema}]


def interface(token: str, items: list[str], people: list[str], quiz: bool, destructive: bool) -> dict[str, Any]:
    """The whole application as OpenAPI; with `destructive` also what ends sessions, links and the study."""
    csrf = {"csrf": [token]}
    sides = [{"name": "side", "in": "path", "required": True, "schema": {"type": "string", "enum": ["a", "b", "c"]}}]
    paths: dict[str, Any] = {
        "/": {"get": operation("200 303")},
        "/join/{token}": {
            "parameters": path_of("token", []),
            "get": operation("200 404", session=False),
            "post": operation("303 403 404", session=False),
        },
        "/static/{name}": {
            "parameters": path_of("name", ["nothing.css", "../study.db", "%2e%2e%2fstudy.db"]),
            "get": operation("404", session=False),
        },
        "/step": {"post": operation("303 404", form=csrf)},
        "/answer/{item}": {
            "parameters": path_of("item", items),
            "post": operation("303 404 409 422", form={**csrf, **ANSWER}),
        },
        "/feedback/{item}": {"parameters": path_of("item", items), "get": operation("200 404")},
        "/back": {"get": operation("200 303 404")},
        "/image/{item}/{side}": {
            "parameters": path_of("item", items) + sides,
            "get": operation("200 404", BYTES),
        },
        "/overview": {"get": operation("200 404")},
    }
    if quiz:
        paths |= {
            "/quiz": {"get": operation("200 303 404")},
            "/quiz/progress": {"get": operation("200 404")},
            "/quiz/feedback/{item}": {"parameters": path_of("item", items), "get": operation("200 404")},
            "/quiz/answer/{item}": {
                "parameters": path_of("item", items),
                "post": operation("303 404 422", form={**csrf, "answer": ANSWER["answer"]}),
            },
        }
    if destructive:
        paths |= {
            "/leave": {"post": operation("200", form=csrf)},
            "/overview/link": {"post": operation("303 404", form={**csrf, "person": people})},
            "/overview/close": {"post": operation("303 400 404", form={**csrf, "sure": ["yes", "no"]})},
        }
    session = {"type": "apiKey", "in": "cookie", "name": "reading_session"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "A reader study", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"session": session}},
    }


def joined(port: int, link: str) -> tuple[str, str]:
    """Cookie and form token of a person, who has begun."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(method: str, path: str, body: str = "", cookie: str = "") -> tuple[str, str]:
        connection.request(method, path, body or None, {**FORM, "Cookie": cookie} if cookie else FORM)
        answer = connection.getresponse()
        return answer.read().decode("utf-8", "replace"), (answer.headers.get("Set-Cookie") or "").partition(";")[0]

    _, cookie = ask("POST", link)
    token = ""
    for path in ("/", "/overview", "/quiz", "/quiz/progress"):
        page, _ = ask("GET", path, cookie=cookie)
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        if found:
            token = found.group(1)
            break
    for _ in range(2):  # consent, start; nothing for the others
        ask("POST", "/step", urlencode({"csrf": token}), cookie)
    ask("GET", "/quiz", cookie=cookie)  # a learner's first case is made when it is asked for
    connection.close()
    return cookie, token


# Of Schemathesis, and 413 and 414: what is too long is refused too. Without 5xx, which nothing may answer.
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 428, 429]


def answer_one(store: Store, person: str) -> None:
    """The one who is attacked has answered their first case."""
    item = reading.open_items(store, person, 0, 1)[0]
    body = json.dumps({"answer": "1", "confidence": "3"}, sort_keys=True)
    with store.writing() as write:
        write.add("answers", item=item["item"], revision=0, body=body, active_ms=1000, at=time.time())


def attack(name: str, out: Path, port: int, cookie: str, document: dict[str, Any], examples: int) -> dict[str, Any]:
    """One run of Schemathesis; returns its exit status, number of requests and findings."""
    file = out / f"{name}.json"
    file.write_text(json.dumps(document, indent=1))
    command = [
        str(Path(sys.executable).parent.absolute() / "schemathesis"), "--no-color", "run", file.name,
        "--url", f"http://127.0.0.1:{port}", "--checks", "all", "--exclude-checks", "positive_data_acceptance",
        "--mode", "all", "--max-examples", str(examples), "--seed", "8", "--max-redirects", "0",
        "--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all", "--warnings", "off",
        "--report", "ndjson", "--report-ndjson-path", f"{name}.ndjson",
    ]  # fmt: skip
    config = f'[auth.openapi.session]\napi_key = "{cookie.partition("=")[2]}"\n' if cookie else ""
    config += f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n"
    (out / "schemathesis.toml").write_text(config)  # a header of the command line would hide what a lost cookie does
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, check=False)
    (out / f"{name}.txt").write_text(done.stdout + done.stderr)
    cases = re.search(r"([\d,]+) generated", done.stdout)
    found = re.findall(r"^- (.+)$", done.stdout, re.MULTILINE)
    return {
        "run": name, "exit": done.returncode, "requests": int(cases.group(1).replace(",", "")) if cases else 0,
        "findings": sorted(set(found))[:20],
    }  # fmt: skip


def foreign(store: Store, person: str) -> dict[str, Any]:
    """Everything in the database that is not this person's own, sessions and the log left out."""
    answers = store.rows(
        "SELECT a.* FROM answers a JOIN items i ON i.item = a.item WHERE i.person <> ? ORDER BY a.answer", person
    )
    tables = {name: store.rows(f"SELECT * FROM {name}") for name in ("meta", "phases", "images")}
    marks = store.rows("SELECT * FROM milestones WHERE person <> ? ORDER BY person, what", person)
    people = store.rows("SELECT person, role, generation FROM people WHERE role <> 'learner' ORDER BY person")
    return {**tables, "answers": answers, "milestones": marks, "people": people}


def odd_answers(store: Store) -> int:
    """Answers with anything but options, to a case before its turn, or revised more often than is allowed."""
    odd = 0
    for row in store.rows("SELECT body, revision, active_ms FROM answers"):
        body = json.loads(row["body"])
        known = "answer" in body and all(body[name] in ANSWER[name] for name in body)
        odd += not known or not 0 <= row["revision"] <= 3 or not 0 <= row["active_ms"] <= 3_600_000
    gaps = store.rows(
        "SELECT i.item FROM items i JOIN answers a ON a.item = i.item AND a.revision = 0 WHERE EXISTS ("
        "SELECT 1 FROM items b LEFT JOIN answers c ON c.item = b.item "
        "WHERE b.person = i.person AND b.phase = i.phase AND b.position < i.position AND c.item IS NULL)"
    )
    return odd + len(gaps)


def try_study(out: Path, design: Design, real: Path | None, made: Path, args: argparse.Namespace) -> list[str]:
    """All roles of one study; returns what went wrong."""
    quiz = design.teaching
    study = out / f"{'quiz' if quiz else 'study'}-{int(time.time())}"
    create(made, study, design, real, args.database)
    links = dict(line.split("\t") for line in (study / "invitations.txt").read_text().splitlines())
    log = out / f"{study.name}.log"
    server = Server(study, args.database, log)
    store = open_store(study, args.database)
    wrong: list[str] = []
    roles = ("", "course", "owner") if quiz else ("", "other", "attacker", "watcher", "owner")
    for role in roles:
        cookie, token = joined(server.port, links[role]) if role else ("", "x")
        if role == "other":
            answer_one(store, role)
            continue
        if args.only not in (None, role):
            continue
        name = f"{'quiz' if quiz else 'study'}-{role or 'nobody'}"
        learner = store.one("SELECT person FROM people WHERE role = 'learner' ORDER BY person LIMIT 1")
        person = str(learner["person"]) if role == "course" and learner else role
        items = [row["item"] for row in store.rows("SELECT item FROM items WHERE person <> 'other' ORDER BY position")]
        items = [*items[:6], *items[-2:]]  # few, so that many a request is for the case that is open
        theirs = store.rows("SELECT item FROM items WHERE person = 'other' ORDER BY position LIMIT 3")
        items += [row["item"] for row in theirs]
        before = foreign(store, person)
        document = interface(token, items, ["attacker", "nobody", "owner"], quiz, role in ("", "watcher"))
        done = attack(name, out, server.port, cookie, document, args.examples)
        print(json.dumps(done), flush=True)
        wrong += [f"{name}: schemathesis found something, see {name}.txt"] if done["exit"] else []
        wrong += [f"{name}: changed what is not its own"] if foreign(store, person) != before else []
        wrong += [f"{name}: took odd answers"] if odd_answers(store) else []
    answers = store.one("SELECT COUNT(*) AS n FROM answers")
    print(json.dumps({"study": study.name, "answers": answers["n"] if answers else 0}), flush=True)
    store.close()
    server.stop()
    lines = [line for line in log.read_text().splitlines() if line and line[0] != "{"]
    said = [line for line in lines if not any(expected in line for expected in EXPECTED)]
    return wrong + [f"{study.name}: the server wrote {len(said)} lines: {said[-1]}" for _ in said[:1]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--only", metavar="NAME", help="one person: attacker, watcher, owner, course")
    parser.add_argument("--database", help="an empty PostgreSQL database, for the study without the quiz")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    real = phantom_cohort(args.out / "real", "real", 40, 32)
    made = phantom_cohort(args.out / "synthetic", "synthetic", 40, 32)
    wrong = try_study(args.out, DESIGN, real.path, made.path, args)
    if not args.database:
        wrong += try_study(args.out, QUIZ, None, made.path, args)
    print(json.dumps({"wrong": wrong}, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
