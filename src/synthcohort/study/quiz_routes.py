"""The quiz's pages: a case, what was expected, and how far the learner is."""

import json
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from synthcohort.pages.render import render
from synthcohort.study import quiz, reading
from synthcohort.study.access import Person, invitation
from synthcohort.study.pages import case_page
from synthcohort.study.questions import spelled
from synthcohort.study.server import Asking, Posting, Study, study_of

router = APIRouter()


@router.get("/quiz", response_class=HTMLResponse)
def case(request: Request, person: Asking) -> Response:
    study = study_of(request)
    _only_learner(person)
    history = quiz.history_of(study.store, person.name)
    if not history and "welcomed" not in reading.milestones(study.store, person.name):
        reading.reach(study.store, person.name, "welcomed", study.clock())
        return RedirectResponse("/quiz/progress", 303)
    phase = study.phases[0]
    item = quiz.present_item(study.store, study.secret, phase, person.name)
    return HTMLResponse(_page(study, person, item, len(history)))


@router.post("/quiz/answer/{item}")
def answer(request: Request, item: str, posted: Posting) -> Response:
    study, (person, form) = study_of(request), posted
    _only_learner(person)
    found = reading.item_of(study.store, person.name, item)
    if found is None:
        raise HTTPException(404)
    phase = study.phases[found["phase"]]
    try:
        body = reading.checked(phase.questions, form)
    except reading.WrongAnswer as wrong:
        done = len(quiz.history_of(study.store, person.name))
        return HTMLResponse(_page(study, person, found, done, form, str(wrong)), 422)
    text = form.get("active_ms", "0")
    milliseconds = min(int(text), 3_600_000) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    quiz.save_quiz(study.store, item, body, milliseconds, study.clock())
    return RedirectResponse(f"/quiz/feedback/{item}", 303)


@router.get("/quiz/feedback/{item}", response_class=HTMLResponse)
def feedback(request: Request, item: str, person: Asking) -> Response:
    study = study_of(request)
    _only_learner(person)
    found = reading.item_of(study.store, person.name, item)
    given = reading.answers_of(study.store, item) if found is not None else []
    if found is None or not given:
        raise HTTPException(404)
    truth = reading.truth_of(study.store, study.phases[found["phase"]], found)
    done = len(quiz.history_of(study.store, person.name))
    return HTMLResponse(_page(study, person, found, done, json.loads(given[0]["body"]), truth=truth))


@router.get("/quiz/progress", response_class=HTMLResponse)
def progress(request: Request, person: Asking) -> Response:
    study = study_of(request)
    _only_learner(person)
    phase, history = study.phases[0], quiz.history_of(study.store, person.name)
    present = set(quiz.images_of(study.store).values())
    classes = [option.value for option in phase.questions[0].options if option.value in present]
    steps = quiz.levels(classes, phase.ordered)
    now = quiz.standing(history, len(steps))
    generation = study.store.one("SELECT generation FROM people WHERE person = ?", person.name)
    assert generation is not None
    token = invitation(study.secret, person.name, generation["generation"])
    rows = []
    for name in classes:
        own = [seen.right for seen in history if seen.label == name]
        last = " ".join("✓" if right else "✗" for right in own[-5:])
        rows.append({"name": name, "seen": len(own), "right": sum(own), "last": last})
    return HTMLResponse(
        render(
            "study_learner.html", title=study.title, label=spelled(phase.label), seen=len(history),
            right=sum(seen.right for seen in history), level=now.level, levels=len(steps), due=now.num_due,
            classes=rows if history else [], link=f"{str(request.base_url).rstrip('/')}/join/{token}",
            csrf=person.csrf,
        )
    )  # fmt: skip


def _only_learner(person: Person) -> None:
    if person.role != "learner":
        raise HTTPException(404)


def _page(
    study: Study, person: Person, item: dict[str, Any], done: int, chosen: dict[str, str] | None = None,
    problem: str = "", truth: str | None = None,
) -> str:  # fmt: skip
    phase = study.phases[item["phase"]]
    total = max(10, 10 * (done // 10 + 1))  # rounds of ten
    return case_page(
        study.title, item=item, asked=phase.questions, recipe=study.recipe, csrf=person.csrf, done=done, every=total,
        chosen=chosen, problem=problem, truth=truth, action=f"/quiz/answer/{item['item']}", next_action="/quiz",
        progress_link="/quiz/progress",
    )  # fmt: skip
