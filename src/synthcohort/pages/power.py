"""What the check for copies would have noticed: a curve over shares of planted copies, with its numbers in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from synthcohort.pages.curves import Curve, curves

SURE = 95  # percent
GOOD = (
    "Good is a curve that is above the dashed line at every share of copies that you would not accept; the further "
    "left it crosses, the better."
)


@dataclass(frozen=True)
class Power:
    """The curve (None where the audit could not be tested), its points in words, and what they come to."""

    chart: Markup | None
    points: tuple[tuple[str, str], ...]  # share of copies, chance that the check fails
    said: tuple[str, ...]
    good: str = GOOD


def copy_power(family: Mapping[str, Any] | None) -> Power | None:
    """From `families.copies` of scores.json; None where the family or its figures are absent."""
    figures = (family or {}).get("figures")
    if not isinstance(figures, Mapping) or not figures:
        return None
    assert family is not None
    points = [
        (float(point["leak_rate"]), 100 * float(point["fail_probability"])) for point in figures.get("power") or []
    ]
    said = (*_unclear(family), *_counts(family, figures), *_caught(figures, bool(points)))
    if not points:
        return Power(None, (), said)
    places = [(float(place), chance) for place, (_, chance) in enumerate(points)]
    crossing = _place(figures.get("smallest_rate_caught"), [rate for rate, _ in points])
    exact = [] if crossing is None else [(crossing, float(SURE))]
    chart = curves(
        [
            Curve("this audit", sorted([*places, *exact])),
            Curve(f"{SURE} of 100", [(place, float(SURE)) for place, _ in places], dashed=True),
        ],
        "share of copies among the images",
        zero=True,
        x_labels=[percent(rate) for rate, _ in points],
    )
    return Power(chart, tuple((percent(rate), _times(chance)) for rate, chance in points), said)


def _place(rate: float | None, rates: Sequence[float]) -> float | None:
    """Where between the labels a rate lies, on the scale of logarithms; None beyond them."""
    if rate is None or not rates[0] <= rate <= rates[-1]:
        return None
    return float(np.interp(np.log(rate), np.log(rates), np.arange(len(rates))))


def _times(chance: float) -> str:
    """Of 100, as a whole number; hardly ever and nearly always are not rounded to never and always."""
    return "<1" if 0 < chance < 0.5 else ">99" if 99.5 <= chance < 100 else f"{chance:.0f}"


def percent(share: float) -> str:
    """0.002 as 0.2 %."""
    return f"{100 * share:.3g} %"


def _unclear(family: Mapping[str, Any]) -> tuple[str, ...]:
    if family.get("verdict") != "inconclusive":
        return ()
    return (f"This check could not be concluded: {str(family.get('reason') or 'no reason was recorded').rstrip('.')}.",)


def _counts(family: Mapping[str, Any], figures: Mapping[str, Any]) -> tuple[str, ...]:
    """What was seen, unless the reason says it, and how much of it would have been needed."""
    found, images = figures.get("copies"), figures.get("synthetic_images")
    chance, control, needed = figures.get("control_hits"), figures.get("control_images"), figures.get("hits_needed")
    if found is None or not images:
        return ()
    text = f"{found:,} of {images:,} synthetic images lie as near to a training image as a copy"
    if control:
        text += f", and {chance:,} of {control:,} real images of control patients"
    told = family.get("verdict") == "inconclusive" and f"{found} of {images} synthetic" in str(family.get("reason"))
    more = "" if needed is None else f"{needed:,} synthetic images or more as near as that would have failed."
    return tuple(filter(None, ["" if told else f"{text}.", more]))


def _caught(figures: Mapping[str, Any], drawn: bool) -> tuple[str, ...]:
    """The smallest share that would surely have been noticed, beside what the policy asks."""
    asked = figures.get("detectable_rate")
    smallest, planted = figures.get("smallest_rate_caught"), figures.get("sensitivity")
    parts = []
    if isinstance(planted, Mapping) and planted.get("value") is not None:
        parts.append(f"Of copies planted in these images the detector finds {percent(planted['value'])}.")
    if smallest is not None:
        parts.append(f"A share of copies of {percent(float(smallest))} would have failed {SURE} times of 100.")
    elif drawn:
        parts.append("No share of copies would surely have failed: with these images the check sees too little.")
    else:
        parts.append("What share of copies it would have noticed could not be computed.")
    if asked is not None:
        parts.append(f"The policy lets the check pass where at most {percent(float(asked))} may be copies.")
    return (" ".join(parts),)
