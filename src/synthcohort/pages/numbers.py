"""Numbers as a reader wants them: digits as the interval warrants, a true minus sign, words for what is missing."""

import math
from collections.abc import Mapping
from typing import Any

NOTHING = "not measured"


def number(found: float | int | None, digits: int = 3) -> str:
    """Three significant digits without trailing zeros, integers in full, no exponent between 0.0001 and 1,000,000."""
    if found is None or (isinstance(found, float) and not math.isfinite(found)):
        return NOTHING
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, int):
        return count(found)
    if found == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(found)))
    if magnitude >= 6 or magnitude < -4:
        return _minus(f"{found:.{digits - 1}e}")
    text = f"{found:,.{max(0, digits - 1 - magnitude)}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def value(score: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> str:
    """A score's value with the decimals of its interval, or of the interval of `like`, so that a row is of one kind."""
    shape = _shape(score, like)
    if score.get("value") is None or shape is None or not _has_interval(score):  # a fixed number stands as it is
        return number(score.get("value"))
    return _fixed(score["value"], _shown(score, shape))


def interval(score: Mapping[str, Any] | None, like: Mapping[str, Any] | None = None) -> str:
    """`low to high`, or words where no interval was computed."""
    if score is None or not _has_interval(score):
        return "no interval"
    decimals = _shown(score, _shape(score, like) or score)
    return f"{_fixed(score['low'], decimals)} to {_fixed(score['high'], decimals)}"


def count(found: int | None) -> str:
    """An integer with thousands separators."""
    return NOTHING if found is None else _minus(f"{found:,}")


def _shape(score: Mapping[str, Any], like: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The finer of the two intervals decides: neither number may be rounded away."""
    found = [part for part in (score, like) if part is not None and _has_interval(part)]
    return max(found, key=_decimals) if found else None


def _shown(score: Mapping[str, Any], shape: Mapping[str, Any]) -> int:
    """The decimals of `shape`, yet at most one more than the number's own interval warrants."""
    return min(_decimals(shape), _decimals(score) + 1)


def _has_interval(score: Mapping[str, Any]) -> bool:
    return score.get("low") is not None and score.get("high") is not None


def _decimals(score: Mapping[str, Any]) -> int:
    """So many that the interval's width shows two digits, at most six."""
    width = abs(score["high"] - score["low"])
    if width < 1e-12:
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(width))))


def _fixed(found: float, decimals: int) -> str:
    text = f"{found:,.{decimals}f}"
    return _minus(text if float(text.replace(",", "")) else text.lstrip("-"))


def _minus(text: str) -> str:
    return text.replace("-", "−")
