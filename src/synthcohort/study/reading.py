"""Where a reader stands and what an answer changes; knows nothing of HTTP.

The way: consent, then for each phase its introduction, training cases, cases; before a later phase the washout. The
place follows from what is in the database alone, so that any device, and a server started again, goes on from there.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from synthcohort.study.access import note
from synthcohort.study.questions import Question, question_from_json
from synthcohort.study.store import Store, Taken

MOST_REVISIONS = 3
DAY = 86_400.0


@dataclass(frozen=True)
class PhaseFacts:
    """One phase as the pages need it."""

    number: int
    kind: str
    label: str
    ordered: bool
    intro: str
    washout_days: float
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Place:
    """What a reader is shown next: `case` has an item; `waiting` says until when (seconds since 1970)."""

    step: Literal["consent", "intro", "case", "waiting", "done", "closed"]
    phase: PhaseFacts | None = None
    item: dict[str, Any] | None = None
    until: float = 0.0
    ahead: str = ""  # the item after this one


class WrongAnswer(Exception):
    """The answer can't be taken; the text says why, in words for the reader."""


def phases(store: Store) -> list[PhaseFacts]:
    found = []
    for row in store.rows("SELECT phase, body FROM phases ORDER BY phase"):
        body = json.loads(row["body"])
        asked = tuple(question_from_json(stored) for stored in body["questions"])
        found.append(
            PhaseFacts(
                row["phase"], body["kind"], body["label"], body["ordered"], body["intro"], body["washout_days"], asked
            )
        )
    return found


def place_of(store: Store, all_phases: list[PhaseFacts], person: str, now: float) -> Place:
    """Where this reader is."""
    noted = store.rows(
        "SELECT person, what, at FROM milestones WHERE person = ? OR (person = 'owner' AND what = 'closed')", person
    )
    if any(row["person"] == "owner" and row["what"] == "closed" for row in noted):
        return Place("closed")
    reached = {row["what"]: row["at"] for row in noted if row["person"] == person}
    if "consent" not in reached:
        return Place("consent")
    for phase in all_phases:
        if f"phase {phase.number} done" in reached:
            continue
        before = reached.get(f"phase {phase.number - 1} done")
        if before is not None and now < before + phase.washout_days * DAY:
            return Place("waiting", phase, until=before + phase.washout_days * DAY)
        if f"phase {phase.number} begun" not in reached:
            return Place("intro", phase)
        coming = open_items(store, person, phase.number, 2)
        if coming:
            return Place("case", phase, coming[0], ahead=coming[1]["item"] if len(coming) > 1 else "")
    return Place("done")


def milestones(store: Store, person: str) -> dict[str, float]:
    return {row["what"]: row["at"] for row in store.rows("SELECT what, at FROM milestones WHERE person = ?", person)}


def is_closed(store: Store) -> bool:
    return store.one("SELECT what FROM milestones WHERE person = ? AND what = ?", "owner", "closed") is not None


def reach(store: Store, person: str, what: str, now: float) -> None:
    """Notes a milestone; once is enough."""
    try:
        with store.writing() as write:
            write.add("milestones", person=person, what=what, at=now)
            note(write, now, person, what)
    except Taken:
        pass


def open_items(store: Store, person: str, phase: int, count: int) -> list[dict[str, Any]]:
    """The next items without an answer, in the reader's order."""
    return store.rows(
        "SELECT i.* FROM items i LEFT JOIN answers a ON a.item = i.item "
        "WHERE i.person = ? AND i.phase = ? AND a.item IS NULL ORDER BY i.position LIMIT ?",
        person,
        phase,
        count,
    )


def item_of(store: Store, person: str, item: str) -> dict[str, Any] | None:
    """An item, if it is this person's; what can't be one is not looked for."""
    if not (item.isascii() and item.isalnum()):
        return None
    return store.one("SELECT * FROM items WHERE item = ? AND person = ?", item, person)


def answers_of(store: Store, item: str) -> list[dict[str, Any]]:
    return store.rows("SELECT * FROM answers WHERE item = ? ORDER BY revision", item)


def last_answered(store: Store, person: str, phase: int) -> dict[str, Any] | None:
    """The last case answered in this phase, which may still be corrected; training cases may not."""
    return store.one(
        "SELECT i.* FROM items i WHERE i.person = ? AND i.phase = ? AND i.training = 0 "
        "AND EXISTS (SELECT 1 FROM answers a WHERE a.item = i.item) ORDER BY i.position DESC LIMIT 1",
        person,
        phase,
    )


def progress(store: Store, person: str, phase: int) -> tuple[int, int, bool]:
    """Answered and all cases of a phase, training included; whether one was answered that may still be corrected."""
    row = store.one(
        "SELECT COUNT(*) AS every, COUNT(a.item) AS answered, "
        "COUNT(CASE WHEN i.training = 0 THEN a.item END) AS own FROM items i "
        "LEFT JOIN answers a ON a.item = i.item AND a.revision = 0 WHERE i.person = ? AND i.phase = ?",
        person,
        phase,
    )
    assert row is not None
    return int(row["answered"]), int(row["every"]), row["own"] > 0


def checked(asked: tuple[Question, ...], given: dict[str, str]) -> dict[str, str]:
    """The values of all questions, each one of its options; WrongAnswer otherwise."""
    body = {}
    for question in asked:
        value = given.get(question.name, "")
        if value not in {option.value for option in question.options}:
            raise WrongAnswer(f"Please answer: {question.text}")
        body[question.name] = value
    return body


def truth_of(store: Store, phase: PhaseFacts, item: dict[str, Any]) -> str | None:
    """The right answer of a training case; None where there is none."""
    image = store.one("SELECT origin, label FROM images WHERE image = ?", item["image"])
    assert image is not None
    if phase.kind == "grade":
        return str(image["label"])
    if phase.kind == "origin":
        return "synthetic" if image["origin"] == "synthetic" else "real"
    if phase.kind == "pairs":
        return "left" if image["origin"] == "real" else "right"
    return None
