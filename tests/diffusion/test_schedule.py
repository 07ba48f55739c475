"""Schedules and training noise levels."""

import pytest
import torch

from synthcohort.diffusion.schedule import karras_sigmas, lognormal_sigmas, stratified_uniform


def test_karras_schedule_falls_from_max_to_min_then_zero() -> None:
    sigmas = karras_sigmas(12, 0.01, 80.0)
    assert len(sigmas) == 13
    assert float(sigmas[0]) == pytest.approx(80.0, rel=1e-5)
    assert float(sigmas[-2]) == pytest.approx(0.01, rel=1e-4)
    assert float(sigmas[-1]) == 0.0
    assert bool((sigmas[1:] < sigmas[:-1]).all())


def test_karras_schedule_with_rho_one_is_linear() -> None:
    torch.testing.assert_close(karras_sigmas(5, 1.0, 5.0, rho=1.0), torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0]))


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="sigma_max"):
        karras_sigmas(5, 2.0, 1.0)


def test_lognormal_sigmas_have_the_asked_median_and_spread() -> None:
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    log = lognormal_sigmas(u, mean=-0.8, std=1.4, sigma_min=1e-9, sigma_max=1e9).log()
    assert float(log.mean()) == pytest.approx(-0.8, abs=1e-3)
    assert float(log.std()) == pytest.approx(1.4, rel=1e-2)
    clipped = lognormal_sigmas(torch.tensor([0.0, 1.0]), -0.8, 1.4)
    assert clipped.tolist() == pytest.approx([0.002, 80.0])


def test_stratified_numbers_fall_one_into_each_part() -> None:
    u = stratified_uniform(64, torch.Generator().manual_seed(1))
    assert (u * 64).floor().tolist() == list(range(64))
    assert not torch.equal(u, stratified_uniform(64, torch.Generator().manual_seed(2)))
