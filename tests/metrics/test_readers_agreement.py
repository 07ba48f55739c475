import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from synthcohort.metrics.readers_agreement import (
    fleiss_kappa,
    icc,
    krippendorff_alpha,
    mean_weighted_kappa,
    weighted_kappa,
)

NAN = float("nan")
# Shrout and Fleiss 1979, table 2: six targets, four judges
SHROUT = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], float)
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability": four observers, twelve units
UNITS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
# Fleiss 1971 as commonly tabulated: ten subjects, fourteen raters, five classes
VOTES = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def drawn(readers: int = 4, cases: int = 40, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 5, cases)
    return np.where(draw.random((readers, cases)) < 0.6, true, draw.integers(0, 5, (readers, cases))).astype(float)


def test_published_icc():
    assert icc(SHROUT).value == pytest.approx(0.2898, abs=5e-5)


def test_published_alpha():
    assert krippendorff_alpha(UNITS - 1, 5).value == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(UNITS - 1, 5, "interval").value == pytest.approx(0.849, abs=5e-4)


def test_published_fleiss():
    grades = np.array([np.repeat(np.arange(5), row) for row in VOTES], float).T
    assert fleiss_kappa(grades, 5).value == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_that_of_sklearn(weights):
    first, second = drawn(2)
    expected = cohen_kappa_score(first, second, weights=None if weights == "none" else weights, labels=range(5))
    assert weighted_kappa(first, second, 5, weights).value == pytest.approx(expected)


COEFFICIENTS = {
    "kappa": lambda grades: weighted_kappa(grades[0], grades[1], 5),
    "light": lambda grades: mean_weighted_kappa(grades, 5),
    "fleiss": lambda grades: fleiss_kappa(grades, 5),
    "alpha": lambda grades: krippendorff_alpha(grades, 5, "interval"),
    "icc": icc,
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_intervals_are_the_jackknife_of_the_coefficient_itself(name):
    """The fast leaving-out agrees with computing everything again without each case."""
    grades, coefficient = drawn(), COEFFICIENTS[name]
    found = coefficient(grades)
    count = grades.shape[1]
    z = np.arctanh([coefficient(np.delete(grades, case, axis=1)).value for case in range(count)])
    error = np.sqrt((count - 1) / count * ((z - z.mean()) ** 2).sum())
    half = (np.arctanh(found.high) - np.arctanh(found.low)) / 2
    assert half == pytest.approx(error * 2.0226909, rel=1e-6)  # t quantile of 39
    assert np.arctanh(found.high) - half == pytest.approx(np.arctanh(found.value))


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_conventions(name):
    coefficient = COEFFICIENTS[name]
    one = drawn(1)
    same = np.repeat(one, 4, axis=0)
    perfect = coefficient(same)
    assert perfect.value == pytest.approx(1)
    if name != "icc":
        assert 0.5 < perfect.low < 1
    assert coefficient(np.zeros((4, 30))).value is None  # one class only: agreement beyond chance does not exist
    grades = drawn()
    order = np.random.default_rng(1).permutation(40)
    again = coefficient(grades[:, order])
    assert (again.low, again.high) == pytest.approx((coefficient(grades).low, coefficient(grades).high))


def test_a_case_that_one_reader_left_out():
    grades = drawn()
    gap = grades.copy()
    gap[2, 5] = NAN
    without = np.delete(grades, 5, axis=1)
    assert fleiss_kappa(gap, 5) == fleiss_kappa(without, 5)
    assert krippendorff_alpha(gap, 5).value != krippendorff_alpha(without, 5).value  # α keeps the other readers' grades
