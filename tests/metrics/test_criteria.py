import numpy as np
import pytest
from scipy.stats import ks_2samp

from synthcohort.metrics.criteria import completeness, congruence, consistency, constraint, range_coverage, usable

GENERATOR = np.random.default_rng(0)
REAL, SAME = GENERATOR.standard_normal((2, 2000, 3))


def test_congruence_equals_scipy():
    other = SAME * 1.5 + 0.3
    expected = np.mean([1 - ks_2samp(REAL[:, k], other[:, k]).statistic for k in range(3)])
    assert congruence(real=REAL, synthetic=other) == pytest.approx(expected, rel=1e-12)
    assert congruence(real=REAL, synthetic=REAL) == 1
    assert congruence(real=REAL, synthetic=REAL + 100) == 0


def test_the_range_is_the_middle_98_percent():
    assert constraint(real=REAL, synthetic=SAME) == pytest.approx(0.02, abs=0.01)
    assert constraint(real=REAL, synthetic=SAME * 3) > 0.3
    assert constraint(real=REAL, synthetic=SAME * 0.1) == 0
    assert range_coverage(real=REAL, synthetic=SAME) == pytest.approx(0.97, abs=0.03)
    assert range_coverage(real=REAL, synthetic=SAME * 0.5) == pytest.approx(0.5, abs=0.05)
    assert range_coverage(real=REAL, synthetic=SAME + 100) == 0
    assert range_coverage(real=REAL, synthetic=SAME * 9) == 1  # reaching too far is constraint's matter


def test_consistency_is_the_spread_over_subgroups():
    groups = np.arange(2000) % 2
    worse = SAME + 2.0 * groups[:, None]
    even = consistency(real=REAL, synthetic=SAME, real_groups=groups, synthetic_groups=groups)
    uneven = consistency(real=REAL, synthetic=worse, real_groups=groups, synthetic_groups=groups)
    assert even < 0.06 < 0.5 < uneven
    assert np.isnan(consistency(real=REAL, synthetic=SAME, real_groups=groups * 0, synthetic_groups=groups))


def test_completeness_looks_at_fields_that_real_records_have():
    real = [["a", "b", "c", None], [None, None, None, "x"], [1, 2, 3, 4]]
    synthetic = [["a", None], [None, None], [1, 2]]
    assert completeness(real, synthetic) == pytest.approx(0.75)
    assert np.isnan(completeness([[None, None]], [[1, 1]]))


def test_constant_statistics_are_not_usable():
    assert usable(np.stack([np.ones(4), np.arange(4)], axis=1)).tolist() == [False, True]
