"""The data profile: counts that add up, long lists cut, nothing but what the cohort says."""

import re

from synthcohort.pages.profile import MOST_SIZES, _bars


def test_bars_add_up_and_what_is_rare_is_one_row():
    values = [f"{i} × 9 pixels" for i in range(40) for _ in range(40 - i)]
    roles = ["train" if i % 3 else "test" for i in range(len(values))]
    bars = _bars(values, roles, most=MOST_SIZES)
    assert len(bars) == MOST_SIZES + 1
    assert sum(bar.count for bar in bars) == len(values)
    assert sum(sum(bar.roles) for bar in bars) == len(values)
    assert [bar.count for bar in bars[:MOST_SIZES]] == sorted((bar.count for bar in bars[:MOST_SIZES]), reverse=True)
    assert bars[-1].name == "30 more values"
    assert all(0 <= bar.share <= 1 for bar in bars)


def test_bars_keep_a_given_order():
    assert [bar.name for bar in _bars([2, 0, 2, 1], order=(0, 1, 2))] == ["0", "1", "2"]
    assert re.fullmatch(r"0+", "".join(str(bar.count) for bar in _bars([], order=(0, 1))))
