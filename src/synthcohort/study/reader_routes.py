"""What a reader can ask for: the next page, an image of theirs, to answer, to correct the answer before."""

import json
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synthcohort.study import answering, reading
from synthcohort.study.access import Person
from synthcohort.study.answering import Asked
from synthcohort.study.pages import PHASE_WORDS, PURPOSE, case_page, message_page
from synthcohort.study.reading import PhaseFacts, Place
from synthcohort.study.server import COOKIE, Asking, Form, Posting, Study, from_our_page, home, study_of, with_token

router = APIRouter()
MOST_MS = 3_600_000  # an hour on one case: the reader was away
STEPS = {"consent": "consent", "intro": "phase {} begun"}


@router.get("/", response_class=HTMLResponse)
def start(request: Request, person: Asking) -> Response:
    """The one address a reader needs: it always shows what comes next."""
    study = study_of(request)
    if person.role in ("owner", "observer"):
        return RedirectResponse("/overview", 303)
    if person.role == "learner":
        return RedirectResponse("/quiz", 303)
    place = reading.place_of(study.store, study.phases, person.name, study.clock())
    if place.step == "case":
        assert place.phase is not None
        assert place.item is not None
        return HTMLResponse(_case(study, person, place.phase, place.item, ahead=place.ahead))
    return HTMLResponse(_between(study, person, place))


@router.post("/step")
def step(request: Request, posted: Posting) -> Response:
    """Consent, or the beginning of a phase: whichever the reader is at."""
    study, (person, _) = study_of(request), posted
    place = _place_of_reader(study, person)
    if place.step in STEPS:
        number = place.phase.number if place.phase else 0
        reading.reach(study.store, person.name, STEPS[place.step].format(number), study.clock())
    return home()


@router.post("/answer/{item}", response_class=HTMLResponse)
def answer(request: Request, item: str, form: Form) -> Response:
    """Takes an answer; who asks, and whether they may, comes from the database at once."""
    from_our_page(request)
    study, what = _asked(request, item)
    with_token(study, what.person, form)
    found, phase = _found(study, what.item)
    if what.person.role != "reader":
        raise HTTPException(404)
    if what.closed or not what.begun:
        return home()
    revision = _number(form.get("revision", "0"), reading.MOST_REVISIONS + 1)
    try:
        body = reading.checked(phase.questions, form)
        milliseconds = _number(form.get("active_ms", "0"), MOST_MS)
        answering.save(study.store, phase, what, body, revision, milliseconds, study.clock())
    except reading.WrongAnswer as wrong:
        if what.is_next and revision == 0:
            return HTMLResponse(_case(study, what.person, phase, found, form, str(wrong)), 422)
        page = message_page(study.title, "Not changed", [str(wrong)], link=("/", "Go on"))
        return HTMLResponse(page, 409)
    if found["training"] and phase.kind != "rate":  # ratings have no right answer
        return RedirectResponse(f"/feedback/{item}", 303)
    return home()


@router.get("/feedback/{item}", response_class=HTMLResponse)
def feedback(request: Request, item: str, person: Asking) -> Response:
    """A training case with the right answer beside the reader's; for no other case is there such a page."""
    study = study_of(request)
    found, phase = _found(study, reading.item_of(study.store, person.name, item))
    given = reading.answers_of(study.store, item)
    truth = reading.truth_of(study.store, phase, found)
    if not found["training"] or not given or truth is None:
        raise HTTPException(404)
    return HTMLResponse(_case(study, person, phase, found, json.loads(given[0]["body"]), truth=truth))


@router.get("/back", response_class=HTMLResponse)
def back(request: Request, person: Asking) -> Response:
    """The case before, to correct a slip of the finger."""
    study = study_of(request)
    place = _place_of_reader(study, person)
    if place.step != "case" or place.phase is None:
        return home()
    found = reading.last_answered(study.store, person.name, place.phase.number)
    if found is None:
        return home()
    given = reading.answers_of(study.store, found["item"])
    if len(given) > reading.MOST_REVISIONS:
        return home()
    chosen = json.loads(given[-1]["body"])
    return HTMLResponse(_case(study, person, place.phase, found, chosen, revision=len(given)))


@router.get("/image/{item}/{side}")
def image(request: Request, item: str, side: str) -> Response:
    """Raw pixels of an item of one's own: the present one, those before, and the next (so that it is there in time)."""
    study, what = _asked(request, item)
    found, _ = _found(study, what.item)
    number = {"a": found["image"], "b": found["other"]}.get(side)
    if number is None or (what.person.role == "reader" and not what.may_be_seen):
        raise HTTPException(404)
    headers = {"cache-control": "private, max-age=900"}
    return Response(study.payload(number), media_type="application/octet-stream", headers=headers)


def _asked(request: Request, item: str) -> tuple[Study, Asked]:
    """Person and item of a request; 401 without a session."""
    study = study_of(request)
    what = answering.asked(study.store, request.cookies.get(COOKIE), item, study.clock())
    if what is None:
        raise HTTPException(401)
    return study, what


def _found(study: Study, item: dict[str, Any] | None) -> tuple[dict[str, Any], PhaseFacts]:
    """An item of the person's, with its phase; another's does not exist for them, and is None here."""
    if item is None:
        raise HTTPException(404)
    return item, study.phases[item["phase"]]


def _place_of_reader(study: Study, person: Person) -> Place:
    if person.role != "reader":
        raise HTTPException(404)
    return reading.place_of(study.store, study.phases, person.name, study.clock())


def _case(
    study: Study, person: Person, phase: PhaseFacts, item: dict[str, Any], chosen: dict[str, str] | None = None,
    problem: str = "", revision: int = 0, truth: str | None = None, ahead: str = "",
) -> str:  # fmt: skip
    done, every, correctable = reading.progress(study.store, person.name, phase.number)
    caption = ""
    if phase.kind == "rate":
        row = study.store.one("SELECT caption FROM images WHERE image = ?", item["image"])
        caption = str(row["caption"]) if row else ""
    return case_page(
        study.title, item=item, asked=phase.questions, recipe=study.recipe, csrf=person.csrf, done=done, every=every,
        caption=caption, chosen=chosen, revision=revision, truth=truth, problem=problem, ahead=ahead,
        back=correctable and not revision and truth is None, training=bool(item["training"]), next_action="/",
    )  # fmt: skip


def _between(study: Study, person: Person, place: Place) -> str:
    """The pages between cases."""
    title, csrf = study.title, person.csrf
    if place.step == "consent":
        words = [study.consent] + ([f"Questions: {study.contact}"] if study.contact else [])
        return message_page(  # an Enter too many must not agree
            title, "Before you begin", words, action="/step", button="I agree and want to take part", csrf=csrf,
            leave=True, focus=False,
        )  # fmt: skip
    if place.step == "intro":
        assert place.phase is not None
        _, every, _ = reading.progress(study.store, person.name, place.phase.number)
        training = study.store.one(
            "SELECT COUNT(*) AS n FROM items WHERE person = ? AND phase = ? AND training = 1",
            person.name,
            place.phase.number,
        )
        count = int(training["n"]) if training else 0
        words = [place.phase.intro or PHASE_WORDS[place.phase.kind], _counted(every - count, count)]
        heading = f"Part {place.phase.number + 1} of {len(study.phases)}" if len(study.phases) > 1 else "The cases"
        return message_page(title, heading, words, action="/step", button="Start", csrf=csrf, listed=KEYS, leave=True)
    if place.step == "waiting":
        day = datetime.fromtimestamp(place.until, UTC).strftime("%d %B %Y, %H:%M UTC")
        words = ["Thank you: this part is complete, and everything is saved.", f"The next part opens on {day}."]
        return message_page(title, "A pause", words, csrf=csrf, leave=True)
    asked = [f"Questions: {study.contact}"] if study.contact else []
    if place.step == "closed":
        took_part = "consent" in reading.milestones(study.store, person.name)
        words = ["Thank you for your time.", *([PURPOSE] if took_part else []), *asked]
        return message_page(title, "The study is closed", words, csrf=csrf, leave=True)
    words = ["All parts are complete, and everything is saved. Thank you."]
    told = any(phase.kind in ("origin", "pairs") for phase in study.phases)
    words += [PURPOSE if told else "When all have finished, this link tells you what the study was for.", *asked]
    return message_page(title, "Done", words, csrf=csrf, leave=True)


KEYS = (
    "The keys on the buttons choose an answer; Enter saves and goes on; Backspace goes one case back.",
    "Arrows move the image, + and − zoom, brackets [ ] change contrast, comma and period brightness.",
    "I inverts, Home resets the view, ? shows all keys.",
)


def _counted(cases: int, training: int) -> str:
    words = "There is one case." if cases == 1 else f"There are {cases} cases."
    if training == 1:
        words += " One more comes first for practice: after it the expected answer is shown."
    elif training:
        words += f" {training} more come first for practice: after these the expected answer is shown."
    return words + " You may stop at any time and come back with your link."


def _number(text: str, most: int) -> int:
    """A whole number from a form, between 0 and `most`."""
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 12 else 0
