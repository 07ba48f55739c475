"""The page of a training: at its beginning, under way, memorizing, done."""

from typing import Any

import pytest

from synthcohort.pages.curves import Curve, curves
from synthcohort.pages.training import render_training

INFO: dict[str, Any] = {"steps": 100, "config": {}, "done": False}
PROGRESS = [
    {"event": "progress", "images_seen": n, "loss": 1.0 / n, "images_per_second": 50.0, "learning_rate": 1e-3}
    for n in (100, 200)
]


def look(seen: int, copies: int, warnings: list[str]) -> dict[str, Any]:
    return {
        "event": "watch", "images_seen": seen, "training_loss": 0.2, "validation_loss": 0.3, "gap": 0.5,
        "validation_loss_by_sigma": {"0.1": 0.4, "1.0": 0.2}, "drawn": 50, "copies": copies,
        "control": {"images": 400, "above": 2, "upper": 0.018}, "warnings": warnings,
    }  # fmt: skip


def test_page_under_way_tells_time_left_and_reloads() -> None:
    page = render_training("knees", INFO, [*PROGRESS, look(200, 0, [])], None, 10)
    assert "200 of 1,000 images seen, 16 s left at 50 images/s" in page
    assert 'http-equiv="refresh"' in page
    assert "0 of 50 images drawn at 200 images look like a training image" in page
    assert page.count("<polyline") == 3 + 2 + 2 + 1
    assert "memorize" not in page


def test_page_at_the_beginning_and_at_the_end() -> None:
    first = render_training("knees", INFO, [{"event": "start"}], None, 10)
    assert "0 of 1,000 images seen" in first
    assert "Nothing measured yet" in first
    last = render_training("knees", {**INFO, "done": True}, PROGRESS, None, 10)
    assert "Finished" in last
    assert "refresh" not in last


def test_warnings_stand_on_top_and_names_are_escaped() -> None:
    page = render_training("<b>", INFO, [look(100, 9, ["9 of 50 <drawn>"])], None, 10)
    assert "The training begins to memorize" in page
    assert "9 of 50 &lt;drawn&gt;" in page
    assert "<b>" not in page.split("<style>")[1].split("</style>")[1].replace("<body>", "")


@pytest.mark.parametrize("log", [False, True])
def test_higher_values_lie_higher(log: bool) -> None:
    picture = str(curves([Curve("a", [(0, 1.0), (10, 0.1), (20, 0.01)])], "x", log=log))
    points = [tuple(map(float, p.split(","))) for p in picture.split('points="')[1].split('"')[0].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] < points[1][1] < points[2][1]
    if log:  # equal ratios, equal distances
        assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2)
    assert curves([], "x") == curves([Curve("a", [(0, float("nan"))])], "x")
