"""Samplers against a data distribution whose denoiser is known in closed form."""

import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ConfigError
from synthcohort.diffusion.guidance import Guidance, guided
from synthcohort.diffusion.sampling import SAMPLERS, SamplingConfig, dpmpp_2m, euler, heun
from synthcohort.diffusion.schedule import karras_sigmas

MEAN, STD, TOP = 0.3, 0.4, 20.0


def gaussian(x: Tensor, sigma_B: Tensor, condition: object) -> Tensor:
    """The exact denoiser of pixels that are N(MEAN, STD^2)."""
    variance = sigma_B.double().view(-1, 1, 1, 1) ** 2
    return (x.double() * STD**2 + MEAN * variance) / (STD**2 + variance)


def solution(noise: Tensor) -> Tensor:
    """The exact end of the probability flow from TOP * noise to sigma 0."""
    return MEAN + (TOP * noise.double() - MEAN) * STD / (STD**2 + TOP**2) ** 0.5


def error(name: str, steps: int) -> float:
    noise = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    x = SAMPLERS[name](gaussian, noise, karras_sigmas(steps, 0.002, TOP).double(), None)
    return float((x - solution(noise)).abs().max())


@pytest.mark.parametrize(("name", "order", "steps"), [("euler", 1, 64), ("heun", 2, 32), ("dpmpp_2m", 2, 32)])
def test_samplers_converge_at_their_order(name: str, order: int, steps: int) -> None:
    assert error(name, 2 * steps) < error(name, steps) / (1.7 if order == 1 else 3.0)


def test_second_order_is_worth_it_at_few_steps() -> None:
    assert error("dpmpp_2m", 16) < error("euler", 16) / 2.5
    assert error("dpmpp_2m", 16) < error("heun", 8) / 3  # the same number of evaluations


def test_evaluations_per_step() -> None:
    calls = []

    def counted(x: Tensor, sigma_B: Tensor, condition: object) -> Tensor:
        calls.append(float(sigma_B[0]))
        return gaussian(x, sigma_B, condition)

    sigmas = karras_sigmas(8, 0.01, TOP)
    counts = []
    for sampler in (euler, heun, dpmpp_2m):
        calls.clear()
        sampler(counted, torch.zeros(2, 1, 2, 2), sigmas, None)
        counts.append(len(calls))
    assert counts == [8, 15, 8]


def test_guidance_works_inside_its_interval_only() -> None:
    def denoiser(x: Tensor, sigma_B: Tensor, condition: Tensor) -> Tensor:
        return condition.view(-1, 1, 1, 1) * torch.ones_like(x)

    x, one, null = torch.zeros(2, 1, 2, 2), torch.ones(2), torch.zeros(2)
    with_guidance = guided(denoiser, null, Guidance(2.0, 0.1, 1.0))
    assert float(with_guidance(x, torch.full((2,), 0.5), one)[0, 0, 0, 0]) == 2.0
    assert float(with_guidance(x, torch.full((2,), 5.0), one)[0, 0, 0, 0]) == 1.0
    assert not Guidance(1.0).active(0.5)


def test_bad_settings_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        SamplingConfig(steps=1, sigma_min=100.0)
    assert "steps" in str(caught.value)
    assert "sigma_min" in str(caught.value)


def test_config_samples_like_its_parts() -> None:
    config = SamplingConfig(steps=6, guidance_scale=1.0, sigma_max=TOP)
    noise = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = dpmpp_2m(gaussian, noise, karras_sigmas(6, config.sigma_min, TOP, config.rho), None)
    assert torch.equal(config.sample(gaussian, noise, None, None), expected)
