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
    made = f"{score['n_synthetic']:,} synthetic" if score.get("n_synthetic") else ""
    real = f"{score['n_real']:,} real" if score.get("n_real") else ""
    return ", ".join(filter(None, (made, real)))


def sample(scores: Sequence[Mapping[str, Any]], roles: Mapping[str, int], details: str, sized: bool) -> str:
    """The sentence under a figure: numbers of images where all rows have the same (`sized`), role, shared details."""
    found = sizes(scores[0]).replace(", ", " and ") if sized else ""
    numbers = f"{found} images" if found else ""
    role = _role(scores, roles, details)
    if numbers and role:
        numbers += f", the real ones of {role} patients"
    elif role:
        numbers = f"real images of {role} patients"
    return f"{numbers} ({details})" if numbers and details else numbers or details


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
