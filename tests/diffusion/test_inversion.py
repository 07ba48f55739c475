"""Inversion against a flow that is known in closed form."""

import pytest
import torch
from torch import Tensor

from synthcohort.diffusion.inversion import invert
from synthcohort.diffusion.sampling import SAMPLERS
from synthcohort.diffusion.schedule import karras_sigmas

STD, TOP = 0.4, 20.0
MEANS = {"old": -0.3, "new": 0.5}


def gaussian(x: Tensor, sigma_B: Tensor, condition: str) -> Tensor:
    variance = sigma_B.double().view(-1, 1, 1, 1) ** 2
    return (x * STD**2 + MEANS[condition] * variance) / (STD**2 + variance)


def images() -> Tensor:
    return MEANS["old"] + STD * torch.randn(16, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()


def exact_noise(image: Tensor) -> Tensor:
    """The end of the flow from sigma 0 to TOP, over TOP."""
    return (MEANS["old"] + (image - MEANS["old"]) * (STD**2 + TOP**2) ** 0.5 / STD) / TOP


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_inversion_converges_to_the_exact_noise_at_the_samplers_order(name: str, order: int) -> None:
    errors = [
        float((invert(gaussian, images(), sigmas, "old", SAMPLERS[name]) - exact_noise(images())).abs().max())
        for sigmas in (karras_sigmas(steps, 1e-4, TOP).double() for steps in (48, 96))
    ]
    assert errors[1] < errors[0] / (1.7 if order == 1 else 3.0)
    assert errors[1] < 0.1


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_refinement_makes_the_round_trip_exact_at_any_number_of_steps(name: str) -> None:
    sigmas = karras_sigmas(8, 0.01, TOP).double()

    def misses(refine: int) -> float:
        noise = invert(gaussian, images(), sigmas, "old", SAMPLERS[name], refine)
        return float((SAMPLERS[name](gaussian, noise, sigmas, "old") - images()).abs().max())

    found = [misses(refine) for refine in (0, 1, 2, 8)]
    assert found[0] > 0.01
    assert found[1] < found[0] / 1.5
    assert found[2] < found[1] / 1.5
    assert found[3] < 1e-3


def test_reconstruct_then_change_moves_to_the_new_mean() -> None:
    """On Gaussian pixels the same noise under another mean is the image moved by the difference of the means."""
    sigmas = karras_sigmas(16, 0.01, TOP).double()
    sampler = SAMPLERS["dpmpp_2m"]
    noise = invert(gaussian, images(), sigmas, "old", sampler, 2)
    moved = sampler(gaussian, noise, sigmas, "new") - images()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.8 * (1 - STD / TOP)), atol=0.01, rtol=0)


def test_an_image_does_not_depend_on_those_inverted_with_it() -> None:
    sigmas = karras_sigmas(8, 0.01, TOP).double()
    together = invert(gaussian, images(), sigmas, "old", SAMPLERS["dpmpp_2m"], 1)
    alone = invert(gaussian, images()[3:4], sigmas, "old", SAMPLERS["dpmpp_2m"], 1)
    assert torch.equal(together[3:4], alone)
