import xml.etree.ElementTree as xml

import pytest

from synthcohort.pages.plots import axis_for, axis_row, interval_row, score_values

SCORE = {"value": 0.5, "low": 0.4, "high": 0.6, "floor": {"value": 0.8, "low": 0.7, "high": 0.9},
         "control": {"value": 0.2, "low": None, "high": None}}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([3.06, 0.15], 0, 4),
        ([0.81, 0.85], 0.81, 0.85),
        ([-0.0001, 0.003], -0.001, 0.003),
        ([5, 5, None], 4.5, 5.5),
        ([0], -0.5, 0.5),
    ],
)
def test_axis_is_round_and_holds_every_value(values, low, high):
    axis = axis_for(values)
    finite = [value for value in values if value is not None]
    assert axis.low <= min(finite) <= max(finite) <= axis.high
    assert axis.low == pytest.approx(low, abs=abs(axis.ticks[1] - axis.ticks[0]))
    assert axis.high == pytest.approx(high, abs=abs(axis.ticks[1] - axis.ticks[0]))
    assert 2 <= len(axis.ticks) <= 8


def test_no_values_no_axis():
    assert axis_for([None, float("nan")]) is None


def test_marks_stand_where_the_numbers_are():
    axis = axis_for(score_values(SCORE))
    strip = xml.fromstring(interval_row(SCORE, axis))
    dot = next(part for part in strip.iter("circle"))
    floor = next(part for part in strip.iter("rect"))
    whiskers = [part for part in strip.iter("line") if part.get("class") == "whisker value"]
    assert dot.get("cx") == axis.place(0.5)
    assert floor.get("x") == axis.place(0.7)
    assert [(line.get("x1"), line.get("x2")) for line in whiskers] == [(axis.place(0.4), axis.place(0.6))]
    place = lambda value: float(axis.place(value)[:-1])  # noqa: E731
    assert place(0.4) < place(0.5) < place(0.6) < place(0.7)
    assert "value 0.5" in strip.get("aria-label")
    xml.fromstring(axis_row(axis))


def test_a_score_without_a_number_draws_an_empty_strip():
    axis = axis_for([0, 1])
    strip = xml.fromstring(interval_row({"value": None, "low": None, "high": None}, axis))
    assert not list(strip.iter("circle"))
    assert "not measured" in strip.get("aria-label")


def test_the_line_of_the_policy_is_drawn_and_said():
    axis = axis_for([*score_values(SCORE), 0.95])
    strip = interval_row(SCORE, axis, limit=0.95)
    lines = [part for part in xml.fromstring(strip).iter("line") if part.get("class") == "limit"]
    assert [line.get("x1") for line in lines] == [axis.place(0.95)]
    assert "limit 0.95" in xml.fromstring(strip).get("aria-label")
    assert 'class="limit"' not in interval_row(SCORE, axis)


def test_numbers_under_a_panel_never_touch():
    axis = axis_for([0.444, 0.531])
    every, some = (list(xml.fromstring(axis_row(axis, room)).iter("text")) for room in (600, 150))
    assert len(every) == len(axis.ticks)
    assert 1 < len(some) < len(every)
    assert some[0].get("x") == axis.place(axis.low)


def test_zero_stands_out_only_between_values_of_both_signs():
    assert interval_row(SCORE, axis_for([-0.4, 0.6])).count("grid zero") == 1
    assert "grid zero" not in interval_row(SCORE, axis_for([0.0, 0.6]))
