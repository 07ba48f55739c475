"""An answer at the floor of its cost: one statement reads all that it depends on, one adds it.

Each statement is a round trip to the database, and fifty readers share two cores. The statement that adds holds all
conditions itself, so that nothing can change between looking and adding; when it is back, the answer is on disk.
"""

import json
from dataclasses import dataclass
from typing import Any

from synthcohort.study.access import Person, digest_of, note
from synthcohort.study.reading import MOST_REVISIONS, PhaseFacts, WrongAnswer, answers_of, is_closed
from synthcohort.study.store import Store, Taken

_OPEN = (
    "FROM items j WHERE j.person = i.person AND j.phase = i.phase "
    "AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.item = j.item)"
)
_ANSWERS = "(SELECT COUNT(*) FROM answers a WHERE a.item = i.item)"
_CLOSED = "EXISTS (SELECT 1 FROM milestones m WHERE m.person = 'owner' AND m.what = 'closed')"
_BEGUN = "EXISTS (SELECT 1 FROM milestones m WHERE m.person = i.person AND m.what = 'phase ' || i.phase || ' begun')"
_DONE = "EXISTS (SELECT 1 FROM milestones m WHERE m.person = i.person AND m.what = 'phase ' || i.phase || ' done')"
_READ = (
    "SELECT s.session, s.person, s.csrf, p.role, i.item, i.phase, i.training, i.image, i.other, "
    f"{_CLOSED} AS closed, {_BEGUN} AS begun, {_ANSWERS} AS answers, "
    f"(SELECT COUNT(*) {_OPEN} AND j.position < i.position) AS before, "
    f"(SELECT COUNT(*) {_OPEN} AND j.position > i.position) AS after "
    "FROM sessions s JOIN people p ON p.person = s.person LEFT JOIN items i ON i.item = ? AND i.person = s.person "
    "WHERE s.session = ? AND s.ends > ?"
)
_ADD = (
    "INSERT INTO answers (item, revision, body, active_ms, at) SELECT i.item, ?, ?, ?, ? FROM items i "
    f"WHERE i.item = ? AND {_ANSWERS} = ? AND {_BEGUN} AND NOT {_CLOSED} AND NOT {_DONE} "
)
_FIRST = f"AND NOT EXISTS (SELECT 1 {_OPEN} AND j.position < i.position)"
_CORRECTION = (
    "AND i.training = 0 AND NOT EXISTS (SELECT 1 FROM items j JOIN answers a ON a.item = j.item "
    "WHERE j.person = i.person AND j.phase = i.phase AND j.training = 0 AND j.position > i.position)"
)
_ONCE = " ON CONFLICT DO NOTHING"  # the same request in two windows


@dataclass(frozen=True)
class Asked:
    """A person, an item of theirs, and where it stands; `item` is None when it is not this person's."""

    person: Person
    item: dict[str, Any] | None
    closed: bool
    begun: bool  # the item's phase
    answers: int
    before: int  # open items before this one, in its phase
    after: int

    @property
    def is_next(self) -> bool:
        return not self.answers and not self.before

    @property
    def may_be_seen(self) -> bool:
        """The present case, those before, and the next one, so that its image is there in time."""
        return self.begun and (self.answers > 0 or self.before < 2)


def asked(store: Store, cookie: str | None, item: str, now: float) -> Asked | None:
    """The session's person and the item, by one statement; None without a session."""
    if not cookie or len(cookie) > 200:
        return None
    sought = item if item.isascii() and item.isalnum() else ""  # what can't be an item is not looked for
    row = store.one(_READ, sought, digest_of(cookie), now)
    if row is None:
        return None
    person = Person(row["person"], row["role"], row["csrf"], row["session"])
    if row["item"] is None:
        return Asked(person, None, bool(row["closed"]), False, 0, 0, 0)
    found = {name: row[name] for name in ("item", "person", "phase", "training", "image", "other")}
    counts = row["answers"], row["before"], row["after"]
    return Asked(person, found, bool(row["closed"]), bool(row["begun"]), *counts)


def save(
    store: Store, phase: PhaseFacts, what: Asked, body: dict[str, str], revision: int, active_ms: int, now: float
) -> None:
    """Adds an answer, or its correction, and is back when it is on disk; the last of a phase ends it, together.

    The same answer sent twice is one answer. Raises WrongAnswer when another one is there already, and when a case is
    not the one that is open or the one before it.
    """
    assert what.item is not None
    if revision > MOST_REVISIONS:
        _explain(store, what.item["item"], body, revision)
        return
    sql = _ADD + (_CORRECTION if revision else _FIRST) + _ONCE
    text = json.dumps(body, sort_keys=True)
    values = (revision, text, active_ms, now, what.item["item"], revision)
    if revision == 0 and what.is_next and not what.after:
        added = _last(store, phase, what.person.name, sql, values, now)
    else:
        added = store.run(sql, *values)
    if not added:
        _explain(store, what.item["item"], body, revision)


def _last(store: Store, phase: PhaseFacts, person: str, sql: str, values: tuple[Any, ...], now: float) -> int:
    """Adds the last answer of a phase and its milestone in one transaction: the washout counts from here."""
    try:
        with store.writing() as write:
            added = write.run(sql, *values)
            if added:
                done = f"phase {phase.number} done"
                write.add("milestones", person=person, what=done, at=now)
                note(write, now, person, done)
            return added
    except Taken:
        return 0


def _explain(store: Store, item: str, body: dict[str, str], revision: int) -> None:
    """Why nothing was added; silent where this very answer is there already."""
    there = answers_of(store, item)
    if any(answer["revision"] == revision and json.loads(answer["body"]) == body for answer in there):
        return
    if is_closed(store):
        raise WrongAnswer("The study is closed.")
    if revision != len(there) or revision > MOST_REVISIONS:
        raise WrongAnswer("This case has been answered already. The first answer was kept.")
    if revision == 0:
        raise WrongAnswer("This case is not the next one.")
    raise WrongAnswer("Only the case before the present one can be changed.")
