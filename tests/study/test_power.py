import numpy as np
import pytest

from synthcohort.core.seeds import rng
from synthcohort.metrics.readers_equivalence import tost
from synthcohort.metrics.readers_mrmc import Estimate, difference, figures, mean_figures, single
from synthcohort.study.design import Power
from synthcohort.study.power import cases_needed, grading_power, origin_power

SAID = Power(margin=0.15, accuracy=0.7, reader_sd=0.03, correlation=0.3)
STUDIES = 250


def test_more_cases_and_more_readers_give_more_power():
    assert grading_power(60, 4, SAID).power < grading_power(120, 4, SAID).power
    assert grading_power(60, 4, SAID).power < grading_power(60, 8, SAID).power
    assert origin_power(30, 4, SAID).power < origin_power(60, 4, SAID).power
    found = cases_needed("grade", 6, SAID)
    assert found.power >= 0.8 > grading_power(found.cases - 1, 6, SAID).power


def test_grading_power_is_that_of_simulated_studies():
    """Readers right with a shared case effect that correlates their errors by about 0.3."""
    cases, readers = 60, 5
    draw, hits = rng("power grading"), 0
    spread = np.sqrt(0.3 * 0.7 * 0.3)  # variance of a case's chance = correlation · p(1 − p)
    for _ in range(STUDIES):
        measured = []
        skill = 0.7 + SAID.reader_sd / np.sqrt(2) * draw.normal(size=(2, readers, 1))
        for side in range(2):
            case = spread * draw.choice([-1, 1], size=cases)
            right = draw.random((readers, cases)) < np.clip(skill[side] + case, 0, 1)
            measured.append(mean_figures(right))
        found = difference(np.stack([v for v, _ in measured]), [out for _, out in measured])
        hits += tost(found, SAID.margin).equivalent
    assert hits / STUDIES == pytest.approx(grading_power(cases, readers, SAID).power, abs=0.1)


def test_origin_power_is_that_of_simulated_studies():
    cases, readers = 30, 5
    draw, hits = rng("power origin"), 0
    truth = np.arange(2 * cases) >= cases
    for _ in range(STUDIES):
        seen = np.sqrt(0.3) * draw.normal(size=2 * cases) + np.sqrt(0.7) * draw.normal(size=(readers, 2 * cases))
        found = single(*figures(truth=truth, ratings=seen))
        away = Estimate(found.value - 0.5, found.error, found.df, 0, 0)
        hits += tost(away, SAID.margin).equivalent
    expected = origin_power(cases, readers, Power(margin=0.15, reader_sd=0.0, correlation=0.3)).power
    assert hits / STUDIES == pytest.approx(expected, abs=0.1)
