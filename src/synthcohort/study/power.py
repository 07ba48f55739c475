"""How many cases a study needs, from what its readers are expected to do; checked by simulation in the tests.

The variance of the readers' mean figure is that of Obuchowski and Rockette's model, with the components conjectured:
reader variance, error variance of one reader on N cases, and a correlation of two readers' errors.
"""

import math
from dataclasses import dataclass

from scipy import stats

from synthcohort.core.errors import InputError, Problem
from synthcohort.study.design import Power


@dataclass(frozen=True)
class SampleSize:
    """Cases of each kind, and the power they give."""

    cases: int
    power: float
    error: float  # standard error of the difference
    df: float


def grading_power(cases: int, readers: int, said: Power) -> SampleSize:
    """Two one-sided tests that right grades on real and synthetic images differ by less than the margin; truly 0.

    Source: Hillis, Obuchowski and Berbaum 2011 (components to power), cases nested within tests.
    """
    one = said.accuracy * (1 - said.accuracy) / cases
    return _equivalence(2.0, said.reader_sd**2 / 2, one, cases, readers, said)


def origin_power(cases: int, readers: int, said: Power) -> SampleSize:
    """Two one-sided tests that the readers' area under the ROC curve lies within the margin of 0.5; truly 0.5.

    The error variance of one area of 0.5 with `cases` of each kind is (2n + 1) / (12 n²) (Mann and Whitney).
    """
    one = (2 * cases + 1) / (12 * cases**2)
    return _equivalence(1.0, said.reader_sd**2, one, cases, readers, said)


def _equivalence(sides: float, reader: float, one: float, cases: int, readers: int, said: Power) -> SampleSize:
    shared = said.correlation * one
    if readers < 2:
        error, df = math.sqrt(sides * one), math.inf
    else:
        spread = reader + one - shared
        whole = spread + readers * shared
        error = math.sqrt(sides * whole / readers)
        df = whole**2 / (spread**2 / (readers - 1))
    law = stats.norm if math.isinf(df) else stats.t(df)
    room = said.margin / error - float(law.ppf(1 - said.alpha))
    power = max(0.0, 2 * float(law.cdf(room)) - 1)
    return SampleSize(cases, power, error, df)


def cases_needed(kind: str, readers: int, said: Power) -> SampleSize:
    """The fewest cases of each kind that give the power; InputError when even `most` do not."""
    measure = grading_power if kind == "grade" else origin_power
    for cases in range(10, said.most + 1):
        found = measure(cases, readers, said)
        if found.power >= said.power:
            return found
    found = measure(said.most, readers, said)
    raise InputError(
        Problem(
            f"power of phase {kind}",
            f"{found.power:.2f} with {readers} readers and {said.most} cases of each kind",
            f"{said.power} or more",
            "more readers, a wider margin, or a greater power.most",
        )
    )
