"""Guidance against densities whose scores are known."""

import itertools

import pytest
import torch
from torch import Tensor

from synthcohort.core.errors import ConfigError
from synthcohort.diffusion.guidance import Guidance, autoguided, guided
from synthcohort.diffusion.sampling import SamplingConfig

# A mixture of Gaussians on a line, one for each pair of conditions (a, b); they depend on each other given x.
MEANS = {(0, 0): -1.0, (0, 1): 0.4, (1, 0): 0.5, (1, 1): 1.3}
WEIGHTS = {(0, 0): 0.4, (0, 1): 0.1, (1, 0): 0.2, (1, 1): 0.3}
STD = 0.3


def log_density(x: Tensor, sigma: float, a: int | None, b: int | None) -> Tensor:
    """log p(x, a, b) under noise, up to one constant; None sums over a condition."""
    variance = STD**2 + sigma**2
    terms = [
        torch.log(torch.tensor(WEIGHTS[pair], dtype=torch.float64)) - (x - MEANS[pair]) ** 2 / (2 * variance)
        for pair in itertools.product((0, 1), (0, 1))
        if a in (None, pair[0]) and b in (None, pair[1])
    ]
    return torch.logsumexp(torch.stack(terms), dim=0)


def exact(x: Tensor, sigma_B: Tensor, condition: tuple[int | None, int | None]) -> Tensor:
    """The denoised image by Tweedie's formula."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        sigma = float(sigma_B[0])
        (score,) = torch.autograd.grad(log_density(x, sigma, *condition).sum(), x)
    return (x + sigma**2 * score).detach()


X = torch.linspace(-2, 2, 21, dtype=torch.float64).view(-1, 1, 1, 1)


@pytest.mark.parametrize(("whole", "part_a", "part_b"), [(1.0, 3.0, 1.0), (1.0, 2.0, 1.5), (2.5, 1.0, 0.5)])
def test_guided_denoiser_is_that_of_the_tilted_density(whole: float, part_a: float, part_b: float) -> None:
    """p(x | c) p(c | x)^(whole - 1) p(a | x, b)^(a - 1) p(b | x, a)^(b - 1), its score by automatic differentiation."""
    a, b, sigma = 1, 0, 0.6
    with torch.enable_grad():
        x = X.clone().requires_grad_()
        both, only_a, only_b, none = (log_density(x, sigma, *c) for c in ((a, b), (a, None), (None, b), (None, None)))
        tilted = both + (whole - 1) * (both - none) + (part_a - 1) * (both - only_b) + (part_b - 1) * (both - only_a)
        (score,) = torch.autograd.grad(tilted.sum(), x)
    guide = guided(
        exact, (None, None), Guidance(whole, parts={"a": part_a, "b": part_b}), {"a": (None, b), "b": (a, None)}
    )
    found = guide(X, torch.full((len(X),), sigma), (a, b))
    torch.testing.assert_close(found, X + sigma**2 * score)


def test_a_condition_that_repeats_another_is_not_counted_twice() -> None:
    """Where b says what a says, guiding both changes nothing: each is certain given the other."""

    def denoiser(x: Tensor, sigma_B: Tensor, condition: tuple[bool, bool]) -> Tensor:
        return torch.ones_like(x) if any(condition) else torch.zeros_like(x)

    parts = guided(
        denoiser, (False, False), Guidance(parts={"a": 4.0, "b": 4.0}), {"a": (False, True), "b": (True, False)}
    )
    assert torch.equal(parts(X, torch.ones(len(X)), (True, True)), torch.ones_like(X))


def test_each_guided_part_costs_one_evaluation_inside_the_interval_and_none_outside() -> None:
    calls = []

    def counted(x: Tensor, sigma_B: Tensor, condition: str) -> Tensor:
        calls.append(condition)
        return x

    config = SamplingConfig(guidance_scale=2.0, guidance={"a": 2.0, "b": 1.0, "c": 3.0})
    guide = config.guide(counted, "nothing", {"a": "without a", "b": "without b", "c": "without c"})
    guide(X, torch.full((len(X),), 1.0), "all")
    assert calls == ["all", "nothing", "without a", "without c"]
    for sigma in (0.01, 50.0):
        calls.clear()
        guide(X, torch.full((len(X),), sigma), "all")
        assert calls == ["all"]


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    config = SamplingConfig(guidance={"color": 2.0})
    with pytest.raises(ConfigError, match=r"'color'; allowed: grade, text"):
        config.guide(exact, None, {"grade": None, "text": None})
    with pytest.raises(ConfigError, match="scales of 0 or more"):
        SamplingConfig(guidance={"grade": -1.0})


def test_autoguidance_is_the_score_of_the_quotient_of_both_densities() -> None:
    sigma, scale = 0.6, 2.0

    def weak(x: Tensor, sigma_B: Tensor, condition: tuple[int | None, int | None]) -> Tensor:
        return exact(x, sigma_B, (None, None))

    found = autoguided(exact, weak, Guidance(scale))(X, torch.full((len(X),), sigma), (1, 1))
    with torch.enable_grad():
        x = X.clone().requires_grad_()
        strong, other = log_density(x, sigma, 1, 1), log_density(x, sigma, None, None)
        (score,) = torch.autograd.grad((strong + (scale - 1) * (strong - other)).sum(), x)
    torch.testing.assert_close(found, X + sigma**2 * score)
    outside = autoguided(exact, weak, Guidance(scale, 1.0, 2.0))(X, torch.full((len(X),), sigma), (1, 1))
    torch.testing.assert_close(outside, exact(X, torch.full((len(X),), sigma), (1, 1)))
