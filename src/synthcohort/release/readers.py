"""What experts saw, for the documents: a reader study's figures out of scores.json, or that there was none."""

from collections.abc import Mapping
from typing import Any

from synthcohort.pages.document import Item
from synthcohort.release.figures import figure_items, select
from synthcohort.release.rules import get

GROUP = "readers"
NONE = Item("Did experts read the images?", "No reader study is part of the evidence.", "none")


def reader_scores(scores: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The readers' figures for all cases; those of single classes stay in the report."""
    return select(scores, lambda item: item.get("group") == GROUP and item.get("subset") is None)


def reader_items(scores: Mapping[str, Any]) -> list[Item]:
    """Who read what, in a sentence a part; then the figures with their intervals."""
    parts = get(scores, "figures", "reader_study", "phases")
    if not isinstance(parts, list) or not reader_scores(scores):
        return [NONE]
    said = [_part(number, part) for number, part in enumerate(parts, 1)]
    return [
        Item("Did experts read the images?", "\n".join(said), "evidence", "scores.json"),
        *figure_items(reader_scores(scores)),
    ]


def _part(number: int, part: Mapping[str, Any]) -> str:
    did = {
        "grade": f"graded {str(part['label']).replace('_', ' ')}",
        "origin": "told real from synthetic",
        "rate": "rated the images",
        "pairs": "chose the real one of two",
    }[part["kind"]]
    cases = part["cases"] or {"pairs": part["pairs"]}
    shown = ", ".join(f"{count} {origin}" for origin, count in cases.items())
    who = "1 reader" if part["readers"] == 1 else f"{part['readers']} readers"
    text = f"Part {number}: {who} {did} ({shown})"
    same = part["equivalence"]
    if same is None:
        return text + "."
    what = "graded alike" if part["kind"] == "grade" else "no better than chance"
    shown_to_be = "shown" if same["equivalent"] else "not shown"
    return f"{text}: {shown_to_be} to be {what} within ± {same['margin']:g}."
