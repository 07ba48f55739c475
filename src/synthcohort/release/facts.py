"""What all documents draw on, gathered once: scores, cohort, decision, provenance, answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.pages.document import Item
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.decision import Decision
from synthcohort.release.images import RELEASED_COLUMNS
from synthcohort.release.provenance import link
from synthcohort.release.questions import QUESTIONS, answered

TEXTS = {question.key: question for question in QUESTIONS}
MOST_VALUES = 20  # of a column, in a list


@dataclass(frozen=True)
class Facts:
    """The run, as far as a release knows it."""

    scores: Mapping[str, Any]
    synthetic: Cohort
    decision: Decision
    policy: Policy
    provenance: Mapping[str, Any]
    config: ReleaseConfig

    def ask(self, key: str, question: str = "") -> Item:
        """A question that only a person can answer: with the answer, or visibly open."""
        asked, text = TEXTS[key], answered(self.decision)[key]
        if text is not None:
            return Item(question or asked.text, text, "stated")
        kind = "counsel" if asked.who == "counsel" else "open"
        return Item(question or asked.text, "", "counsel" if kind == "counsel" else "open", f"answers key “{key}”")

    def link(self, name: str) -> dict[str, Any]:
        return link(self.provenance, name)

    def counts(self, column: str) -> dict[str, int]:
        """How many images have each value of a column: labels in their order, others most first."""
        if column not in (*RELEASED_COLUMNS, *self.synthetic.labels):
            raise ValueError(f"column {column!r} stays with the owner")
        found = pc.value_counts(self.synthetic.records.column(column)).to_pylist()
        counted = {str(item["values"]): item["counts"] for item in found if item["values"] is not None}
        label = self.synthetic.labels.get(column)
        order = {str(value): number for number, value in enumerate(label.values)} if label else {}
        return dict(sorted(counted.items(), key=lambda item: (order.get(item[0], 0), -item[1], item[0])))

    def counted(self, column: str) -> str:
        """The same in words."""
        counts = self.counts(column)
        if not counts:
            return ""
        shown = ", ".join(f"{name}: {count:,}" for name, count in list(counts.items())[:MOST_VALUES])
        more = len(counts) - MOST_VALUES
        absent = len(self.synthetic) - sum(counts.values())
        return shown + (f" and {more} more values" if more > 0 else "") + (f"; absent: {absent:,}" if absent else "")


def known(question: str, answer: Any, source: str = "") -> Item:
    """What the run says, or that it says nothing."""
    if answer in (None, "", [], {}):
        return Item(question, "Not recorded.", "none")
    return Item(question, str(answer), "evidence", source)
