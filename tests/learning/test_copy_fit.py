import numpy as np
import torch

from synthcohort.learning.copy_fit import (
    Logistic,
    Moments,
    fit_logistic,
    fit_projection,
    photographed,
    random_transforms,
    warped,
)


def test_planted_changes_stay_within_what_is_stated_and_repeat_with_the_generator():
    made = [random_transforms(np.random.default_rng(1), 500) for _ in range(2)]
    assert torch.equal(*made)
    linear = made[0][:, :, :2]
    mirrored = torch.linalg.det(linear) < 0
    assert 150 < int(mirrored.sum()) < 350
    angle = torch.atan2(linear[:, 1, 0], linear[:, 1, 1]).rad2deg().abs()
    assert float(angle.max()) < 6.3
    size = torch.linalg.det(linear).abs().sqrt()
    assert 0.85 < float(size.min()) < 0.93
    assert float(size.max()) < 1.05
    assert float(made[0][:, :, 2].abs().max()) <= 0.1


def test_photographed_images_stay_in_range_and_resemble_their_originals():
    x = torch.linspace(-1, 1, 32).expand(60, 1, 32, 32).contiguous()
    other = torch.zeros_like(x)
    made = photographed(x, other, np.random.default_rng(0))
    assert float(made.abs().max()) <= 1
    agree = torch.corrcoef(torch.cat([x.flatten(1)[:1], made.flatten(1)]))[0, 1:]
    assert float(agree.min()) > 0.8
    assert not torch.allclose(made[0], x[0])


def test_warping_by_nothing_changes_nothing():
    x = torch.rand(2, 1, 16, 16)
    nothing = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).repeat(2, 1, 1)
    assert torch.allclose(warped(x, nothing), x, atol=1e-5)


def test_moments_in_batches_are_the_covariance():
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    moments = Moments(5)
    for part in x.split(30):
        moments.add(part)
    assert torch.allclose(moments.covariance, torch.cov(x.T.double(), correction=0), atol=1e-5)
    assert torch.allclose(moments.mean, x.mean(0).double(), atol=1e-6)


def test_the_description_keeps_what_copies_share_and_drops_what_they_do_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    change = torch.zeros(400, 6)
    change[:, 0] = 20 * torch.randn(400, generator=generator)  # the first number means nothing
    total, within = Moments(6), Moments(6)
    total.add(x)
    within.add(change)
    projection = fit_projection(total, within, 3)
    assert projection.matrix.shape == (6, 3)
    assert float(projection.matrix[0].abs().max()) < 0.1 * float(projection.matrix[1:].abs().max())
    assert torch.allclose(projection(x).norm(dim=1), torch.ones(400), atol=1e-4)


def test_the_logistic_score_gives_the_odds_that_the_densities_have():
    generator = np.random.default_rng(0)
    copies, strangers = (generator.normal(mean, 1, (4000, 1)) for mean in (1.0, -1.0))
    score = fit_logistic(copies, strangers[:2000], ridge=1e-6)  # sides of unequal size count alike
    x = np.array([[-1.0], [0.0], [1.0]])
    assert np.allclose(score(x), 2 * x[:, 0], atol=0.25)
    assert np.array_equal(Logistic.from_json(score.to_json())(x), score(x))


def test_a_perfect_separation_is_kept_finite_by_the_ridge():
    score = fit_logistic(np.full((50, 2), 1.0), np.full((50, 2), -1.0))
    assert np.isfinite(score.weights).all()
    assert score(np.array([[1.0, 1.0]])) > 2 > -2 > score(np.array([[-1.0, -1.0]]))
