"""Adversarial losses against closed forms, penalties against numeric gradients."""

import math

import pytest
import torch
from torch import Tensor, nn

from synthcohort.models.gan_losses import (
    LOSSES,
    between,
    relativistic_discriminator,
    relativistic_generator,
    squared_gradients,
    unit_gradients,
)


def test_relativistic_losses_are_logarithms_of_a_sigmoid() -> None:
    real, fake = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    expected = [math.log(2), math.log(1 + math.exp(-2))]
    assert relativistic_discriminator(real, fake).tolist() == pytest.approx(expected)
    assert relativistic_generator(fake, real).tolist() == pytest.approx(expected)
    assert relativistic_discriminator(real + 7, fake + 7).tolist() == pytest.approx(expected)  # only pairs count


@pytest.mark.parametrize("preset", LOSSES)
def test_each_side_wants_its_own_scores_higher(preset: str) -> None:
    of_discriminator, of_generator = LOSSES[preset]
    scores = torch.tensor([0.3], requires_grad=True)
    (by_real,) = torch.autograd.grad(of_discriminator(scores, torch.zeros(1)).sum(), scores)
    (by_fake,) = torch.autograd.grad(of_discriminator(torch.zeros(1), scores).sum(), scores)
    (by_own,) = torch.autograd.grad(of_generator(torch.zeros(1), scores).sum(), scores)
    assert by_real < 0 < by_fake
    assert by_own < 0


def test_penalties_of_a_quadratic_score() -> None:
    """score = a |x|^2 / 2 has gradient a x: R1 is a^2 |x|^2, and its derivative by a is 2 a |x|^2."""
    a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    images = torch.randn(3, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    norm = images.detach().flatten(1).square().sum(1)
    penalty = squared_gradients(a * images.flatten(1).square().sum(1) / 2, images)
    torch.testing.assert_close(penalty, 2.25 * norm)
    (by_a,) = torch.autograd.grad(penalty.sum(), a, retain_graph=True)
    torch.testing.assert_close(by_a, 3.0 * norm.sum())
    one = unit_gradients(a * images.flatten(1).square().sum(1) / 2, images)
    torch.testing.assert_close(one, (1.5 * norm.sqrt() - 1).square(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("penalty", [squared_gradients, unit_gradients])
def test_penalty_and_its_weight_gradients_against_differences(penalty: object) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 20, 1)).double()
    images = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)

    def value() -> Tensor:
        return penalty(network(images)[:, 0], images).sum()  # type: ignore[operator, no-any-return]

    # the gradient itself, by central differences
    step = 1e-5
    numeric = torch.zeros_like(images)
    with torch.no_grad():
        for place in torch.cartesian_prod(*(torch.arange(n) for n in images.shape)):
            where = tuple(place.tolist())
            moved = images.detach().clone()
            moved[where] += step
            up = network(moved).sum()
            moved[where] -= 2 * step
            numeric[where] = (up - network(moved).sum()) / (2 * step)
    norm2 = numeric.flatten(1).square().sum(1)
    expected = norm2 if penalty is squared_gradients else (norm2.sqrt() - 1).square()
    torch.testing.assert_close(value(), expected.sum(), rtol=1e-6, atol=1e-8)
    weight = network[0].weight
    (exact,) = torch.autograd.grad(value(), weight)
    for where in [(0, 0, 0, 0), (3, 1, 2, 1)]:
        with torch.no_grad():
            weight[where] += step
        up = float(value().detach())
        with torch.no_grad():
            weight[where] -= 2 * step
        down = float(value().detach())
        with torch.no_grad():
            weight[where] += step
        assert float(exact[where]) == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)


def test_points_between() -> None:
    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    found = between(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert found[:, 0, 0, 0].tolist() == [0.0, 0.25, 1.0]
