"""Interval plots as inline SVG: value, 95 % interval, real-against-real floor and control on one axis.

Hand-written, so that the same input gives the same bytes, colors follow the page's light or dark scheme through CSS
classes, and positions in percent let a plot shrink to a phone without shrinking its letters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from synthcohort.pages.numbers import interval, number

ROW_HEIGHT = 34
LETTER = 7.0  # pixels, of a digit at the size of the numbers under a panel
MARGIN = 3.0  # percent kept free at both ends, so that markers and end labels are not cut


@dataclass(frozen=True)
class Axis:
    """A linear axis shared by the rows of one panel."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> str:
        """Position in percent of the plot's width, clipped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return f"{MARGIN + (100 - 2 * MARGIN) * min(1.0, max(0.0, share)):.2f}%"


def axis_for(values: Sequence[float | None]) -> Axis | None:
    """A round axis over all finite values; zero is included when it is near. None when there is nothing to show."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if 0 < low <= 0.5 * high:
        low = 0.0
    if 0 > high >= 0.5 * low:
        high = 0.0
    if high - low < 1e-12:
        pad = abs(high) * 0.1 or 0.5
        low, high = low - pad, high + pad
    step = _round_step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def score_values(score: dict) -> list[float | None]:
    """Every number of a score that must fit on its axis."""
    parts = [score, score.get("floor") or {}, score.get("control") or {}]
    return [part.get(key) for part in parts for key in ("value", "low", "high")]


def interval_row(score: dict, axis: Axis, limit: float | None = None) -> Markup:
    """One strip: floor as a band with a line, control as a diamond, the value as a dot, each with its interval.

    `limit` is the policy's line: solid between two wedges, so that it differs from the dashed floor without color.
    """
    middle = ROW_HEIGHT / 2
    parts = [_grid(axis)]
    words = [f"value {number(score.get('value'))}, {interval(score)}"]
    floor, control = score.get("floor"), score.get("control")
    if floor and floor.get("value") is not None:
        parts.append(_floor(floor, axis))
        words.append(f"real against real {number(floor['value'])}")
    if control and control.get("value") is not None:
        parts.append(_whisker(control, axis, middle + 8, "control"))
        parts.append(
            f'<svg class="over" x="{axis.place(control["value"])}" y="{middle + 8}">'
            '<path class="control" d="M0-5L5 0L0 5L-5 0Z"/></svg>'
        )
        words.append(f"control {number(control['value'])}")
    if limit is not None:
        parts.append(_limit(limit, axis))
        words.append(f"the policy's limit {number(limit)}")
    if score.get("value") is not None:
        parts.append(_whisker(score, axis, middle, "value"))
        parts.append(f'<circle class="value" cx="{axis.place(score["value"])}" cy="{middle}" r="5"/>')
    label = escape("; ".join(words))
    head = f'<svg class="strip" role="img" aria-label="{label}" width="100%" height="{ROW_HEIGHT}">'
    return Markup(head + "".join(parts) + "</svg>")


def axis_row(axis: Axis, room: float = math.inf) -> Markup:
    """The numbers under a panel; where they would touch each other in `room` pixels, only every second or third."""
    texts = []
    named = [_tick_text(tick, axis) for tick in axis.ticks]
    need = LETTER * max(map(len, named)) + 8
    step = max(1, math.ceil(need * (len(named) - 1) / (room * (1 - 2 * MARGIN / 100))))
    for tick, text in list(zip(axis.ticks, named, strict=True))[::step]:
        texts.append(f'<text class="tick" x="{axis.place(tick)}" y="13" text-anchor="middle">{text}</text>')
    return Markup('<svg class="axis" aria-hidden="true" width="100%" height="18">' + "".join(texts) + "</svg>")


def _tick_text(tick: float, axis: Axis) -> str:
    step = axis.ticks[1] - axis.ticks[0]
    if max(abs(axis.low), abs(axis.high)) >= 1e6 or step < 1e-4:
        return f"{tick:.1e}".replace("-", "−")
    decimals = next(d for d in range(7) if math.isclose(step, round(step, d), rel_tol=1e-6) or d == 6)
    return f"{tick:,.{decimals}f}".replace("-", "−")


def _grid(axis: Axis) -> str:
    """A line at each number; that at zero is stronger where values lie on both sides of it."""
    signed = axis.low < 0 < axis.high
    return "".join(
        f'<line class="grid{" zero" if signed and t == 0 else ""}" x1="{axis.place(t)}" x2="{axis.place(t)}" '
        f'y1="0" y2="{ROW_HEIGHT}"/>'
        for t in axis.ticks
    )


def _limit(value: float, axis: Axis) -> str:
    place, low = axis.place(value), ROW_HEIGHT - 1
    return (
        f'<line class="limit" x1="{place}" x2="{place}" y1="1" y2="{low}"/><svg class="over" x="{place}" y="0">'
        f'<path class="limit" d="M-5 0L5 0L0 6ZM-5 {ROW_HEIGHT}L5 {ROW_HEIGHT}L0 {ROW_HEIGHT - 6}Z"/></svg>'
    )


def _floor(floor: dict, axis: Axis) -> str:
    place = axis.place(floor["value"])
    band = ""
    if floor.get("low") is not None and floor.get("high") is not None:
        left, right = axis.place(floor["low"]), axis.place(floor["high"])
        width = float(right[:-1]) - float(left[:-1])
        band = f'<rect class="floor" x="{left}" width="{max(width, 0.4):.2f}%" y="2" height="{ROW_HEIGHT - 4}"/>'
    return band + f'<line class="floor" x1="{place}" x2="{place}" y1="2" y2="{ROW_HEIGHT - 2}"/>'


def _whisker(score: dict, axis: Axis, y: float, kind: str) -> str:
    if score.get("low") is None or score.get("high") is None:
        return ""
    left, right = axis.place(score["low"]), axis.place(score["high"])
    return f'<line class="whisker {kind}" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'


def legend() -> Markup:
    """How to read the strips, drawn with the same marks."""
    example = {
        "value": 0.55,
        "low": 0.42,
        "high": 0.68,
        "floor": {"value": 0.2, "low": 0.13, "high": 0.27},
        "control": {"value": 0.8, "low": 0.72, "high": 0.88},
    }
    return interval_row(example, Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0)), limit=0.95)
