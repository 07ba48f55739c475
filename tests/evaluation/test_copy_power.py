import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthcohort.evaluation.copy_power import fail_probability, hits_needed, power_curve, smallest_rate_caught
from synthcohort.metrics.intervals import fisher_greater


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(0, 6), st.integers(6, 900), st.sampled_from([0.002, 0.01, 0.05]))
def test_the_hits_needed_are_the_fewest_that_decide(n, control_hits, m, significance):
    def decides(hits: int) -> bool:
        p = fisher_greater(successes=hits, trials=n, control_successes=control_hits, control_trials=m)
        return hits * m > control_hits * n and p < significance

    slow = next((hits for hits in range(n + 1) if decides(hits)), None)
    assert hits_needed(n, control_hits, m, significance) == slow


def test_power_rises_with_the_leak_and_falls_with_blindness():
    curve = power_curve([(1000, 1, 1500, 0.95, 0.01)])
    chances = [point["fail_probability"] for point in curve]
    assert chances == sorted(chances)
    assert chances[0] < 0.1 < 0.99 < chances[-1]
    blind = power_curve([(1000, 1, 1500, 0.5, 0.01)])
    both = power_curve([(1000, 1, 1500, 0.95, 0.01), (1000, 1, 1500, 0.5, 0.01)])
    assert both == curve
    assert all(a["fail_probability"] >= b["fail_probability"] for a, b in zip(curve, blind, strict=True))


def test_the_power_is_what_a_simulation_finds():
    rate, n, m = 0.012, 800, 1200
    needed = hits_needed(n, 0, m, 0.01)
    copies = np.random.default_rng(0).binomial(n, rate * 0.9, 20_000)
    assert fail_probability(rate, n, 0, m, 0.9, 0.01) == pytest.approx(float((copies >= needed).mean()), abs=0.01)


def test_without_strangers_or_eyes_nothing_is_caught():
    assert hits_needed(10, 0, 0, 0.01) is None
    assert fail_probability(0.5, 10, 0, 0, 1.0, 0.01) == 0.0
    assert smallest_rate_caught(3, 0, 660, 0.0, 0.01) is None
    caught = smallest_rate_caught(2000, 0, 1500, 0.95, 0.01)
    assert caught is not None
    assert caught < 0.01
