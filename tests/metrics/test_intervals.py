import numpy as np
import pytest
from scipy import stats

from synthcohort.metrics.intervals import (
    assign_folds,
    bootstrap,
    bootstrap_interval,
    clopper_pearson,
    fisher_greater,
    jackknife_error,
    jackknife_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (3, 20), (20, 20), (10, 200), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_clopper_pearson_equals_scipy(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.parametrize("table", [(20, 1000, 1, 650), (0, 100, 0, 100), (3, 3, 0, 9), (1, 500, 4, 300)])
def test_fisher_equals_scipy(table):
    a, n, b, m = table
    expected = stats.fisher_exact([[a, n - a], [b, m - b]], alternative="greater").pvalue
    p = fisher_greater(successes=a, trials=n, control_successes=b, control_trials=m)
    assert p == pytest.approx(expected, rel=1e-9)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="5 successes of 4"):
        clopper_pearson(5, 4)
    with pytest.raises(ValueError, match="5 of 4"):
        fisher_greater(successes=5, trials=4, control_successes=0, control_trials=4)


def test_folds_keep_patients_whole_and_sizes_even():
    generator = np.random.default_rng(0)
    patients = np.repeat([f"p{i:03}" for i in range(200)], generator.integers(1, 6, 200))
    folds = assign_folds(patients, 20, seed=1)
    assert all(len(set(folds[patients == p])) == 1 for p in set(patients))
    sizes = np.bincount(folds)
    assert len(sizes) == 20
    assert sizes.max() - sizes.min() <= 1


def test_folds_depend_on_names_and_seed_not_on_order():
    patients = np.array([f"p{i % 37}" for i in range(100)])
    order = np.random.default_rng(0).permutation(100)
    folds = assign_folds(patients, 8, seed=3)
    assert (assign_folds(patients[order], 8, seed=3) == folds[order]).all()
    assert (assign_folds(patients, 8, seed=4) != folds).any()
    assert assign_folds(patients[:3], 8).max() == 2


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).standard_normal(50)
    left_out = (values.sum() - values) / 49
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-12)


def test_jackknife_interval_adds_independent_samples_and_keeps_limits():
    a, b = np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.2])
    score = jackknife_interval(0.99, a, b, highest=1.0)
    error = np.hypot(jackknife_error(a), jackknife_error(b))
    assert score.high == 1.0
    assert score.low == pytest.approx(0.99 - stats.t.ppf(0.975, 1) * error)
    assert jackknife_interval(0.5, np.array([0.4])).low is None  # one patient: no interval
    assert jackknife_interval(0.5, np.array([0.4, np.nan])).high is None


def test_bootstrap_draws_whole_groups():
    patients = np.array(["a", "a", "b", "c", "c", "c"])
    seen = []
    bootstrap(lambda indices: seen.append(tuple(np.bincount(indices, minlength=6))) or 0.0, patients, 50, seed=0)
    for counts in seen:
        assert counts[0] == counts[1]
        assert counts[3] == counts[4] == counts[5]
        assert counts[0] + counts[2] + counts[3] == 3


def test_bootstrap_interval_of_a_mean_agrees_with_theory():
    values = np.random.default_rng(0).standard_normal(200)
    draws = bootstrap(lambda indices: values[indices].mean(), np.arange(200), 2000, seed=0)
    score = bootstrap_interval(values.mean(), draws)
    half = 1.96 * values.std() / np.sqrt(200)
    assert score.low == pytest.approx(values.mean() - half, abs=0.02)
    assert score.high == pytest.approx(values.mean() + half, abs=0.02)
    basic = bootstrap_interval(values.mean(), draws, method="basic")
    assert basic.low == pytest.approx(2 * values.mean() - score.high)
    assert (draws == bootstrap(lambda indices: values[indices].mean(), np.arange(200), 2000, seed=0)).all()


def test_bootstrap_without_values_has_no_interval():
    assert bootstrap_interval(0.5, np.full(100, np.nan)).low is None
    assert bootstrap_interval(float("nan"), np.ones(100)).value is None
