import pytest

from synthcohort.pages.numbers import count, interval, number, value


@pytest.mark.parametrize(
    ("found", "text"),
    [(0.5, "0.5"), (3.06, "3.06"), (0.004, "0.004"), (1234.5, "1,234"), (-0.25, "−0.25"), (0.0, "0"), (100.0, "100"),
     (7, "7"), (12000, "12,000"), (None, "not measured"), (float("nan"), "not measured"),
     (1.5e-7, "1.50e−07"), (True, "yes")],
)  # fmt: skip
def test_number(found, text):
    assert number(found) == text


def test_value_has_the_decimals_of_its_interval():
    assert value({"value": 0.52249, "low": 0.471, "high": 0.569}) == "0.522"
    assert value({"value": 41.06, "low": 38.85, "high": 44.27}) == "41.1"
    assert interval({"low": 38.85, "high": 44.27}) == "38.9 to 44.3"
    assert interval({"low": -0.0004, "high": 0.0003}) == "−0.00040 to 0.00030"
    assert interval({"low": 1.0, "high": 1.0}) == "1.000 to 1.000"
    assert interval({"low": None, "high": 1.0}) == interval(None) == "no interval"
    assert value({"value": 0.25, "low": None, "high": None}) == "0.25"
    assert value({"value": -0.0001, "low": -0.2, "high": 0.2}) == "0.00", "no minus zero"
    assert count(None) == "not measured"


def test_a_narrow_interval_does_not_lend_its_digits_to_a_wide_one():
    narrow, wide = {"value": 0.99975, "low": 0.99943, "high": 1.0}, {"value": 0.49408, "low": 0.44353, "high": 0.54463}
    assert (value(narrow, wide), interval(narrow, wide)) == ("0.99975", "0.99943 to 1.00000")
    assert (value(wide, narrow), interval(wide, narrow)) == ("0.494", "0.444 to 0.545")
    assert value({"value": 0.5, "low": None, "high": None}, narrow) == "0.5"
