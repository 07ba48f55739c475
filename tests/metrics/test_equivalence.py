import numpy as np
import pytest
from scipy.stats import ttest_ind

from synthcohort.metrics.equivalence import equivalence, mean_difference, patient_means

GENERATOR = np.random.default_rng(0)
REAL, SAME = GENERATOR.normal(5, 1, 200), GENERATOR.normal(5, 1.3, 150)


def test_equal_to_two_welch_tests():
    found = equivalence(real=REAL, synthetic=SAME, margin=0.3)
    below = ttest_ind(SAME + 0.3, REAL, equal_var=False, alternative="greater").pvalue
    above = ttest_ind(SAME - 0.3, REAL, equal_var=False, alternative="less").pvalue
    assert found.p == pytest.approx(max(below, above), rel=1e-9)
    interval = ttest_ind(SAME, REAL, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert mean_difference(real=REAL, synthetic=SAME).low < found.low


def test_the_margin_decides_and_few_images_prove_nothing():
    assert equivalence(real=REAL, synthetic=SAME, margin=0.5).equivalent
    assert not equivalence(real=REAL, synthetic=SAME + 1, margin=0.5).equivalent
    assert not equivalence(real=REAL[:5], synthetic=SAME[:5], margin=0.5).equivalent  # no evidence, not "no difference"


def test_images_of_one_patient_count_once():
    many = np.repeat(REAL[:4], 50)
    assert patient_means(many, np.arange(200) // 50) == pytest.approx(REAL[:4])
    by_image = equivalence(real=many, synthetic=SAME, margin=1.0)
    by_patient = equivalence(real=many, synthetic=SAME, margin=1.0, real_patients=np.arange(200) // 50)
    assert by_patient.high - by_patient.low > 2 * (by_image.high - by_image.low)


def test_what_can_not_be_measured_is_left_out_and_too_few_are_refused():
    holes = np.concatenate([REAL, [np.nan, np.inf]])
    assert equivalence(real=holes, synthetic=SAME, margin=1.0) == equivalence(real=REAL, synthetic=SAME, margin=1.0)
    with pytest.raises(ValueError, match="1 real and 150 synthetic"):
        equivalence(real=REAL[:1], synthetic=SAME, margin=1.0)
    with pytest.raises(ValueError, match="margin 0"):
        equivalence(real=REAL, synthetic=SAME, margin=0)


def test_values_without_spread_prove_nothing():
    ones = np.ones(5)
    for other in (ones, ones + 1):
        found = equivalence(real=ones, synthetic=other, margin=0.1)
        assert not found.equivalent
        assert (found.low, found.high) == (-np.inf, np.inf)
