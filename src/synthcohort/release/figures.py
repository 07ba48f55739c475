"""Figures of the evidence in words: value, interval, floor and control in one line, never without its interval."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from synthcohort.pages.document import Item
from synthcohort.pages.numbers import interval, value
from synthcohort.release.rules import get

Scores = Mapping[str, Any]


def select(scores: Scores, keep: Callable[[Mapping[str, Any]], bool]) -> list[Mapping[str, Any]]:
    """The figures of scores.json that have a value and are wanted, in their order."""
    found = scores.get("scores")
    return [item for item in (found if isinstance(found, list) else []) if item.get("value") is not None and keep(item)]


def figure_words(score: Mapping[str, Any]) -> str:
    """0.71 (0.66 to 0.75 at 95 %); real against real 0.02 (0.01 to 0.03)."""
    confidence = score.get("confidence")
    sure = f" at {confidence:.0%}" if isinstance(confidence, float) and score.get("low") is not None else ""
    text = f"{value(score)} ({interval(score)}{sure})"
    for key, words in (("floor", "floor, real against real,"), ("control", "control patients")):
        other = score.get(key)
        if not isinstance(other, Mapping) or other.get("value") is None:
            continue
        if other.get("low") is None:  # a fixed number, which nobody measured
            words = "guessing reaches" if score.get("group") == "privacy" else "to compare with:"
            text += f"; {words} {value(other, score)}"
        else:
            text += f"; {words} {value(other, score)} ({interval(other, score)})"
    return text


def figure_items(found: Iterable[Mapping[str, Any]], limit: int = 12) -> list[Item]:
    """One item for each figure, with what a good one is; what is beyond `limit` is counted and left to the report."""
    every = sorted(found, key=lambda score: score.get("subset") is not None)  # all images first, groups after
    items, last = [], ""
    for score in every[:limit]:
        good = str(score.get("good") or "")
        text = figure_words(score) + (f"\n{good}" if good != last else "")  # once for figures of one kind
        items.append(Item(name_words(score), text.strip(), "evidence", "scores.json"))
        last = good
    if len(every) > limit:
        items.append(Item("And more", f"{len(every) - limit} further figures stand in report.html.", "evidence"))
    return items


def name_words(score: Mapping[str, Any]) -> str:
    """What a figure is called, with its part of the images and its encoder."""
    name = str(score.get("title") or score.get("name"))
    parts = [str(score[key]).replace("=", " = ").replace("_", " ") for key in ("subset", "encoder") if score.get(key)]
    return f"{name} ({', '.join(parts)})" if parts else name


def family_item(scores: Scores, name: str, question: str) -> Item:
    """A check's verdict with its reason."""
    verdict, reason = get(scores, "families", name, "verdict"), get(scores, "families", name, "reason")
    words = {"pass": "Passed", "fail": "Failed", "inconclusive": "Not concluded, neither shown nor ruled out"}.get(
        str(verdict)
    )
    if words is None or reason == "not built yet":
        return Item(question, "Nobody measured this.", "none", f"scores.json, check “{name}”")
    return Item(question, f"{words}: {reason}.", "evidence", f"scores.json, check “{name}”")
