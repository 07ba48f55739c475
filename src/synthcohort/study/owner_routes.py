"""What the owner and observers see: who is how far. Never an answer, never an image's origin."""

import statistics
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synthcohort.pages.render import render
from synthcohort.study import reading
from synthcohort.study.access import Person, invitation, replace_link
from synthcohort.study.server import Asking, Posting, Study, study_of

router = APIRouter()
LAST_EVENTS = 40


@router.get("/overview", response_class=HTMLResponse)
def overview(request: Request, person: Asking) -> Response:
    study = study_of(request)
    if person.role not in ("owner", "observer"):
        raise HTTPException(404)
    owner = person.role == "owner"
    base = str(request.base_url).rstrip("/")
    everyone = study.store.rows("SELECT person, role, generation FROM people ORDER BY person")
    readers = [row for row in everyone if row["role"] in ("reader", "learner")]
    others = [row for row in everyone if row["role"] in ("observer", "course")] if owner else []
    return HTMLResponse(
        render(
            "study_overview.html",
            title=study.title,
            csrf=person.csrf,
            owner=owner,
            closed=reading.is_closed(study.store),
            phase_names=[f"Part {phase.number + 1}" for phase in study.phases],
            people=[_row(study, row, base) for row in readers],
            others=[{"person": row["person"], "link": _link(study, row, base)} for row in others],
            events=_events(study) if owner else [],
        )
    )


@router.post("/overview/link")
def new_link(request: Request, posted: Posting) -> Response:
    study, (person, form) = study_of(request), posted
    _only_owner(person)
    others = study.store.rows("SELECT person FROM people WHERE role <> ?", "owner")
    if form.get("person") not in {row["person"] for row in others}:
        raise HTTPException(404)
    replace_link(study.store, form["person"], study.clock(), person.name)
    return RedirectResponse("/overview", 303)


@router.post("/overview/close")
def close(request: Request, posted: Posting) -> Response:
    study, (person, form) = study_of(request), posted
    _only_owner(person)
    if form.get("sure") != "yes":
        raise HTTPException(400)
    reading.reach(study.store, "owner", "closed", study.clock())
    return RedirectResponse("/overview", 303)


def _only_owner(person: Person) -> None:
    if person.role != "owner":
        raise HTTPException(404)


def _row(study: Study, row: dict[str, Any], base: str) -> dict[str, Any]:
    name = row["person"]
    place = reading.place_of(study.store, study.phases, name, study.clock())
    times = study.store.rows(
        "SELECT a.active_ms, a.revision FROM answers a JOIN items i ON i.item = a.item "
        "WHERE i.person = ? AND i.training = 0",
        name,
    )
    first = [time["active_ms"] / 1000 for time in times if time["revision"] == 0]
    return {
        "person": name,
        "link": _link(study, row, base),
        "consent": "consent" in reading.milestones(study.store, name),
        "phases": [
            (*reading.progress(study.store, name, phase.number)[:2], _opens(place) if place.phase == phase else "")
            for phase in study.phases
        ],
        "seconds": statistics.median(first) if first else None,
        "corrections": len(times) - len(first),
    }


def _opens(place: reading.Place) -> str:
    """The day on which the part that a reader waits for opens."""
    return datetime.fromtimestamp(place.until, UTC).strftime("%Y-%m-%d") if place.step == "waiting" else ""


def _link(study: Study, row: dict[str, Any], base: str) -> str:
    return f"{base}/join/{invitation(study.secret, row['person'], row['generation'])}"


def _events(study: Study) -> list[dict[str, Any]]:
    rows = study.store.rows("SELECT at, person, what, detail FROM events ORDER BY event DESC LIMIT ?", LAST_EVENTS)
    when = [datetime.fromtimestamp(row["at"], UTC).strftime("%Y-%m-%d %H:%M:%S") for row in rows]
    return [{**row, "what": _what(row["what"]), "time": time} for row, time in zip(rows, when, strict=True)]


def _what(what: str) -> str:
    """An event in the page's words: the database counts phases from 0, people count parts from 1."""
    kind, _, rest = what.partition(" ")
    number, _, done = rest.partition(" ")
    return f"part {int(number) + 1} {done}" if kind == "phase" and number.isdigit() else what
