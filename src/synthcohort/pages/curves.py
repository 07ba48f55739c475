"""Curves over the course of a training, as inline SVG: a few lines on one pair of axes, with names at their ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from synthcohort.pages.plots import axis_for

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 130, 12, 44  # room for numbers, names and the axis' name


@dataclass(frozen=True)
class Curve:
    """A named line through (x, y) points; `dashed` for what it is compared with."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def curves(
    lines: Sequence[Curve],
    x_name: str,
    log: bool = False,
    zero: bool = False,
    x_labels: Sequence[str] | None = None,
) -> Markup:
    """The lines on linear axes, or with a logarithmic y axis where all values are above 0; words when there is none.

    With `zero` the y axis begins at 0, so that small changes look small. `x_labels` stand at x = 0, 1, 2 … in place of
    numbers.
    """
    lines = [line for line in lines if any(math.isfinite(y) for _, y in line.points)]
    if not lines:
        return Markup('<p class="soft">Nothing measured yet.</p>')
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    log = log and min(values) > 0
    last = max(x for line in lines for x, _ in line.points) or 1.0
    ticks, low, high = _log_ticks(values) if log else _ticks([*values, 0.0] if zero else values)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log(y / low) / math.log(high / low)) if log else (y - low) / (high - low)
        return LEFT + (WIDTH - LEFT - RIGHT) * x / last, TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    parts = []
    for tick in ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{_short(tick)}</text>')
    axis = axis_for([0.0, last])
    named = list(enumerate(x_labels)) if x_labels else [(x, _short(x)) for x in (axis.ticks if axis else ())]
    for x, text in named:
        if x <= last:
            where, _ = place(x, high)
            parts.append(
                f'<text class="tick" x="{where:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{escape(text)}</text>'
            )
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>')
    ends = []
    for number, line in enumerate(lines):
        points = [place(x, y) for x, y in line.points if math.isfinite(y)]
        shape = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline class="curve c{number % 8}" points="{shape}"{dash}/>')
        if len(points) == 1:
            parts.append(f'<circle class="dot c{number % 8}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>')
        ends.append((points[-1][1], number, line.name))
    for y, number, name in _apart(ends):
        parts.append(f'<text class="name c{number % 8}" x="{WIDTH - RIGHT + 8}" y="{y + 5:.1f}">{escape(name)}</text>')
    said = "; ".join(f"{line.name}: {_short(line.points[-1][1])} at {_end(line, x_labels)}" for line in lines)
    head = f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
    return Markup(head + "".join(parts) + "</svg>")


def _end(line: Curve, x_labels: Sequence[str] | None) -> str:
    x = line.points[-1][0]
    return x_labels[int(x)] if x_labels else _short(x)


def _apart(ends: list[tuple[float, int, str]], least: float = 15.0) -> list[tuple[float, int, str]]:
    """Names moved down until none covers another, and up again where they leave the picture."""
    placed: list[tuple[float, int, str]] = []
    for y, number, name in sorted(ends):
        placed.append((max(y, placed[-1][0] + least) if placed else y, number, name))
    over = max(0.0, placed[-1][0] - (HEIGHT - BOTTOM)) if placed else 0.0
    return [(y - over, number, name) for y, number, name in placed]


def _ticks(values: Sequence[float]) -> tuple[tuple[float, ...], float, float]:
    axis = axis_for(values)
    assert axis is not None
    return axis.ticks, axis.low, axis.high


def _log_ticks(values: Sequence[float]) -> tuple[tuple[float, ...], float, float]:
    low, high = min(values), max(values)
    steps = [factor * 10.0**power for power in range(-9, 10) for factor in (1, 2, 5)]
    first = max(step for step in steps if step <= low)
    last = min(step for step in steps if step >= max(high, first * 1.0001))
    return tuple(step for step in steps if first <= step <= last), first, last


def _short(value: float) -> str:
    """1,250,000 as 1.25M: an axis has little room."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}".replace("-", "−")
