"""study.json as a page: answers first, then figures with their intervals, ROC curves, and the methods."""

from typing import Any

from markupsafe import Markup, escape

from synthcohort.pages.numbers import interval, number, value
from synthcohort.pages.plots import axis_for, axis_row, interval_row, score_values
from synthcohort.pages.render import render

TITLES = {
    "grade": "Grades", "origin": "Real or synthetic", "rate": "Ratings", "pairs": "Pairs",
}  # fmt: skip
SIZE, LEFT, BOTTOM, TOP = 380, 52, 46, 8


def study_report(content: dict[str, Any]) -> str:
    """One self-contained HTML page."""
    return render(
        "study_report.html",
        title=content["title"],
        content=content,
        phases=[_phase(number, phase) for number, phase in enumerate(content["phases"], 1)],
    )


def _phase(place: int, phase: dict[str, Any]) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for figure in phase["figures"]:
        groups.setdefault((figure["name"], figure["title"]), []).append(figure)
    panels = []
    for (_, title), found in groups.items():
        axis = axis_for([found_number for figure in found for found_number in score_values(figure)])
        rows = [
            {
                "label": _label(figure), "value": value(figure), "interval": interval(figure),
                "all": not figure["reader"],
                "strip": None if axis is None or figure["value"] is None else interval_row(figure, axis),
            }
            for figure in sorted(found, key=lambda f: (f["reader"] is not None, f["reader"] or ""))
        ]  # fmt: skip
        panels.append({"title": title, "rows": rows, "axis": None if axis is None else axis_row(axis)})
    return {
        "number": place, "title": TITLES[phase["kind"]], "phase": phase, "panels": panels,
        "answer": _answer(phase), "roc": roc_plot(phase["roc"]) if phase["roc"] else None,
    }  # fmt: skip


def _label(figure: dict[str, Any]) -> str:
    subset = figure["subset"].replace("_", " ") if figure["subset"] else "all cases"
    return f"{figure['reader'] or 'All readers'}, {subset}"


def _answer(phase: dict[str, Any]) -> str:
    """What the phase shows, in a sentence that claims no more than its interval."""
    found = {(f["name"], f["subset"]): f for f in phase["figures"] if f["reader"] is None}
    same = phase["equivalence"]
    if not phase["readers"]:
        return "No reader has finished this part."
    if phase["kind"] == "rate":
        gaps = [f for f in phase["figures"] if f["subset"] == "real minus synthetic"]
        words = [f"{f['title']}: {value(f)} points more for real than for synthetic ({interval(f)})." for f in gaps]
        return " ".join(words) or "Too few images for a difference."
    if phase["kind"] == "grade" and same is not None:
        real, made = found.get(("accuracy", "real")), found.get(("accuracy", "synthetic"))
        assert real is not None
        assert made is not None
        if same["low"] is None:
            return f"Right grades: {value(real)} of real and {value(made)} of synthetic images, without any spread."
        verdict = "is shown to be" if same["equivalent"] else "is not shown to be"
        return (
            f"Right grades: {value(real)} of real and {value(made)} of synthetic images. The difference {verdict} "
            f"smaller than {same['margin']:g} (90 % interval {number(same['low'])} to {number(same['high'])})."
        )
    if phase["kind"] == "origin" and ("auc", None) in found:
        area = found["auc", None]
        said = f"Area under the readers’ ROC curve: {value(area)} ({interval(area)}); 0.5 is guessing."
        if same is not None and same["equivalent"]:
            return said + f" It is shown to lie within {same['margin']:g} of guessing."
        if area["low"] is not None and area["low"] > 0.5:
            return said + " The readers could tell synthetic from real images."
        if area["high"] is not None and area["high"] < 0.5:
            return said + " The readers took synthetic images for real ones more often than the reverse."
        return said + " The study is too small to say more."
    if phase["kind"] == "pairs" and ("found_real", None) in found:
        right = found["found_real", None]
        return f"The real image of a pair was found in {value(right)} of pairs ({interval(right)}); 0.5 is guessing."
    return "Figures below."


def roc_plot(curves: dict[str, Any]) -> Markup:
    """Each reader's empirical corners, joined, and binormal curve (dashed), on square axes."""
    span = SIZE - LEFT - 10

    def place(x: float, y: float) -> str:
        return f"{LEFT + span * x:.1f},{TOP + span * (1 - y):.1f}"

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + span * tick, TOP + span * (1 - tick)
        text = f"{tick:g}"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + span}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + span}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{TOP + span + 17}" text-anchor="middle">{text}</text>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 5:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<polyline class="curve" points="{place(0, 0)} {place(1, 1)}" stroke-dasharray="2 5"/>')
    for place_of_reader, (_, curve) in enumerate(sorted(curves.items())):
        color = place_of_reader % 8
        corners = " ".join(place(*point) for point in curve["points"])
        parts.append(f'<polyline class="curve c{color}" points="{corners}"/>')
        if curve["binormal"]:
            smooth = " ".join(place(*point) for point in curve["binormal"])
            parts.append(f'<polyline class="curve c{color}" points="{smooth}" stroke-dasharray="6 4"/>')
    bottom = TOP + span + 36
    parts.append(f'<text class="tick" x="{LEFT + span}" y="{bottom}" text-anchor="end">Real called synthetic</text>')
    middle = TOP + span / 2
    parts.append(
        f'<text class="tick" x="13" y="{middle}" text-anchor="middle" transform="rotate(-90 13 {middle})">'
        "Synthetic called synthetic</text>"
    )
    said = escape(f"ROC curves of {len(curves)} readers")
    head = f'<svg class="curves roc" viewBox="0 0 {SIZE} {SIZE + BOTTOM - 30}" role="img" aria-label="{said}">'
    return Markup(head + "".join(parts) + "</svg>")
