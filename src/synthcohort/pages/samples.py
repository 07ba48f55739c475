"""What figures were computed on, said once for what they share: for a figure, for a panel, and last for a row."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PARTS = re.compile(r"(; |, )(?![^(]*\))")  # never inside parentheses
MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # a true minus sign, not a hyphen


def shared(texts: Sequence[str]) -> tuple[str, list[str]]:
    """The parts that all texts have in common, and what each has beside them, in its own order."""
    split = [PARTS.split(text) for text in texts]
    common = [part for part in split[0][::2] if all(part in other[::2] for other in split)] if split else []
    rest = [_joined(parts, common) for parts in split]
    return _joined(split[0], common, keep=True) if split else "", rest


def _joined(parts: Sequence[str], common: Sequence[str], keep: bool = False) -> str:
    """The parts (every second one is a separator) that are in `common`, or those that are not."""
    text = ""
    for i in range(0, len(parts), 2):
        if (parts[i] in common) == keep and parts[i]:
            text += (parts[i - 1] if text else "") + parts[i]
    return text


def sizes(score: Mapping[str, Any]) -> str:
    """The numbers of images of one row: 392 synthetic, 403 real."""
    found = ((_count(score, "n_synthetic"), "synthetic"), (_count(score, "n_real"), "real"))
    return ", ".join(f"{number} {word}" for number, word in found if number)


def sample(scores: Sequence[Mapping[str, Any]], roles: Mapping[str, int], details: str, sized: bool) -> str:
    """The words under a figure: numbers of images where all rows have the same (`sized`), role, shared details."""
    made, real = (_count(scores[0], key) if sized else "" for key in ("n_synthetic", "n_real"))
    role = _role(scores, roles, details)
    of = f" of {role} patients" if role else ""
    if made and real:
        found = f"{made} synthetic images and {real} real ones{of}"
    elif made:
        found = f"{made} synthetic images"
    else:
        found = f"{real} real images{of}" if real else f"real images{of}" if of else ""
    said = f"Computed on {found}." if found else ""
    told = f"{details[0].upper()}{details[1:].rstrip('.')}." if details else ""
    return " ".join(filter(None, (said, told)))


def _count(score: Mapping[str, Any], key: str) -> str:
    return f"{score[key]:,}" if score.get(key) else ""


def _role(scores: Sequence[Mapping[str, Any]], roles: Mapping[str, int], details: str) -> str:
    """The one role of the real images; empty where it is unknown, told by the details, or holds fewer than counted."""
    splits = {score.get("split") for score in scores}
    split = splits.pop() if len(splits) == 1 else None
    if not split or any((score.get("n_real") or 0) > roles.get(split, 0) for score in scores):
        return ""  # what was counted is not (only) what the figure was scored on
    if not any(score.get("n_real") for score in scores):
        return ""
    return {"train": "training"}.get(split, str(split)) if f"{split} image" not in details else ""


def minus(text: str) -> str:
    """A negative number of a text with a true minus sign."""
    return MINUS.sub("−", text)
