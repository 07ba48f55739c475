"""What readers answered, as arrays: the last answer of each case, readers who finished, and who did not.

A *table* is one phase: J readers by C cases. Practice never counts; a repeated case counts the first time, and its
second answer is kept apart.
"""

import json
from dataclasses import dataclass

import numpy as np

from synthcohort.study.reading import PhaseFacts
from synthcohort.study.store import Store


@dataclass(frozen=True)
class Table:
    """`values[name]` is [J, C] of text, "" where a reader did not answer; `again[name]` the same for repeats."""

    phase: PhaseFacts
    readers: tuple[str, ...]
    unfinished: tuple[str, ...]
    origin: np.ndarray  # [C] text; of a pair: the side of the real image is in `label`
    label: np.ndarray  # [C] text
    values: dict[str, np.ndarray]
    again: dict[str, np.ndarray]
    seconds: np.ndarray  # [J, C]
    revised: int

    def of(self, cases: np.ndarray) -> "Table":
        """The table of some cases, [C] bool."""
        return Table(
            self.phase, self.readers, self.unfinished, self.origin[cases], self.label[cases],
            {name: table[:, cases] for name, table in self.values.items()},
            {name: table[:, cases] for name, table in self.again.items()},
            self.seconds[:, cases], self.revised,
        )  # fmt: skip

    @property
    def classes(self) -> list[str]:
        """The label's values in their order; for phases that are not graded, those that occur."""
        if self.phase.kind == "grade":
            return [option.value for option in self.phase.questions[0].options]
        return sorted({str(value) for value in self.label if value})


def load(store: Store, phase: PhaseFacts) -> Table:
    """The table of a phase. Readers who have not finished are named in `unfinished` and left out."""
    rows = store.rows(
        "SELECT i.item, i.person, i.again, i.image, i.other, g.origin, g.label FROM items i "
        "JOIN images g ON g.image = i.image WHERE i.phase = ? AND i.training = 0 ORDER BY i.person, i.position",
        phase.number,
    )
    given = {
        row["item"]: row
        for row in store.rows(
            "SELECT a.item, a.body, a.active_ms, a.revision FROM answers a JOIN items i ON i.item = a.item "
            "WHERE i.phase = ? ORDER BY a.revision",
            phase.number,
        )
    }
    people = sorted({row["person"] for row in rows})
    open_ones = {row["person"] for row in rows if row["item"] not in given}
    finished = [person for person in people if person not in open_ones]
    keys = sorted({_case_key(row) for row in rows})
    place = {key: i for i, key in enumerate(keys)}
    shape = (len(finished), len(keys))
    names = [question.name for question in phase.questions]
    values = {name: np.full(shape, "", dtype=object) for name in names}
    again = {name: np.full(shape, "", dtype=object) for name in names}
    origin, label = np.full(len(keys), "", dtype=object), np.full(len(keys), "", dtype=object)
    seconds = np.full(shape, np.nan)
    first_ms = {row["item"]: row["active_ms"] for row in reversed(list(_all_first(store, phase)))}
    reader = {person: j for j, person in enumerate(finished)}
    for row in rows:
        case = place[_case_key(row)]
        origin[case], label[case] = row["origin"], row["label"]
        if row["person"] not in reader:
            continue
        j = reader[row["person"]]
        body = json.loads(given[row["item"]]["body"])
        if phase.kind == "pairs":  # as if the real image always stood on the left
            turned = row["origin"] != "real"
            body["answer"] = {"left": "right", "right": "left"}[body["answer"]] if turned else body["answer"]
        for name in names:
            (again if row["again"] else values)[name][j, case] = body[name]
        if not row["again"]:
            seconds[j, case] = first_ms[row["item"]] / 1000
    revised = sum(given[row["item"]]["revision"] > 0 for row in rows if row["item"] in given)
    unfinished = tuple(sorted(open_ones))
    return Table(phase, tuple(finished), unfinished, origin, label, values, again, seconds, revised)


def _all_first(store: Store, phase: PhaseFacts) -> list[dict[str, int]]:
    return store.rows(
        "SELECT a.item, a.active_ms FROM answers a JOIN items i ON i.item = a.item "
        "WHERE i.phase = ? AND a.revision = 0",
        phase.number,
    )


def _case_key(row: dict[str, int]) -> tuple[int, int]:
    """A case is its image, or both images of a pair whatever their sides."""
    if row["other"] is None:
        return row["image"], -1
    return min(row["image"], row["other"]), max(row["image"], row["other"])
