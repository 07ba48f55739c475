"""Documents of a bundle as pages: sections of questions, each answered by the run, by a person, or visibly open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from synthcohort.pages.render import render

Kind = Literal["evidence", "fixed", "stated", "open", "counsel", "none"]

# What stands beside an answer: (sign, words). An open one is never to be overlooked, also without color.
KINDS: dict[str, tuple[str, str]] = {
    "evidence": ("▪", "from the run"),  # no tick: what the run says may be bad news
    "fixed": ("▪", "holds for every bundle"),
    "stated": ("¶", "stated by the owner"),
    "open": ("?", "open: the owner has to answer"),
    "counsel": ("§", "open: counsel has to answer"),
    "none": ("–", "no evidence"),
}


@dataclass(frozen=True)
class Item:
    """A question with its answer; `kind` says who answered, `source` where the answer comes from."""

    question: str
    answer: str
    kind: Kind
    source: str = ""


@dataclass(frozen=True)
class Section:
    """A chapter of a document."""

    title: str
    items: tuple[Item, ...]
    lead: str = ""


@dataclass(frozen=True)
class Document:
    """One document: `name` is its file's, without suffix."""

    name: str
    title: str
    lead: str
    sections: tuple[Section, ...]
    after: str = ""  # the work that its form follows

    @property
    def open(self) -> int:
        """How many questions wait for a person."""
        return sum(item.kind in ("open", "counsel") for section in self.sections for item in section.items)


def render_document(
    document: Document, cohort: str, others: Sequence[tuple[str, str]] = (), notes: Sequence[str] = ()
) -> str:
    """One self-contained HTML page. `others` are (file, title) of the documents beside it; `notes` warn on top."""
    cohort = name_of(cohort)
    title = f"{document.title}: {cohort}"
    return render(
        "document.html", title=title, document=document, cohort=cohort, others=others, kinds=KINDS, notes=notes
    )


def name_of(cohort: str) -> str:
    """How a page calls a cohort: one that was given no name of its own is called what it is."""
    return "Synthetic cohort" if cohort.lower() in ("", "synthetic") else f"Synthetic cohort {cohort}"
