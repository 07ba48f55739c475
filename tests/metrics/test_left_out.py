import numpy as np
import pytest

from synthcohort.metrics.left_out import of_means, of_set, of_sets
from synthcohort.metrics.scored import Sample, sample


def statistic(a, b):
    return float(np.abs(a - b).sum())


def test_means_without_folds_are_those_of_the_rows_themselves():
    generator = np.random.default_rng(0)
    real = sample(generator.standard_normal((50, 3)), np.arange(50) // 2, folds=7)
    synthetic = sample(generator.standard_normal((40, 3)) + 1, folds=6)
    cheap = of_means(statistic, real=real, synthetic=synthetic)
    slow = of_sets(lambda a, b: statistic(a.mean(axis=0), b.mean(axis=0)), real=real, synthetic=synthetic)
    assert (cheap.value, cheap.low, cheap.high) == pytest.approx((slow.value, slow.low, slow.high), rel=1e-12)
    assert cheap.low < cheap.value < cheap.high


def test_the_interval_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).standard_normal((200, 1))
    score = of_set(lambda rows: float(rows.mean()), sample(values, folds=50))
    assert (score.high - score.low) / 2 == pytest.approx(2.01 * values.std() / np.sqrt(200), rel=0.25)


def test_a_single_fold_has_no_interval():
    one = Sample(np.arange(6.0).reshape(3, 2), np.zeros(3, np.int64), 1)
    assert of_means(statistic, real=one, synthetic=one).low is None
