"""The two objectives: rectified flow's velocity loss is a denoiser's loss, at the noise levels it says."""

import pytest
import torch

from synthcohort.diffusion.precondition import denoising_error
from synthcohort.training.objective import NOISE_LEVELS, path_sigma, training_error, training_sigmas, velocity


def test_the_flow_loss_is_the_squared_error_of_the_velocity() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise, wrong = (torch.randn(6, 1, 8, 8, generator=generator) for _ in range(3))
    t = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.8, 0.98])
    wide = t.view(-1, 1, 1, 1)
    path = (1 - wide) * clean + wide * noise
    sigma = path_sigma(t)
    torch.testing.assert_close(path / (1 - wide), clean + sigma.view(-1, 1, 1, 1) * noise, rtol=1e-4, atol=1e-4)
    denoised = clean + 0.1 * wrong  # what any denoiser may answer
    loss = (velocity(denoised, path, t) - (noise - clean)).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, training_error("flow", denoised, clean, sigma, 0.5), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(velocity(clean, path, t), noise - clean, rtol=1e-3, atol=1e-3)


def test_the_edm_loss_is_the_watched_one() -> None:
    clean, denoised, sigma = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8), torch.rand(4) + 0.1
    expected = denoising_error(denoised, clean, sigma, 0.4)
    torch.testing.assert_close(training_error("edm", denoised, clean, sigma, 0.4), expected)


@pytest.mark.parametrize("objective", ["edm", "flow"])
def test_noise_levels_follow_the_objective_or_the_settings(objective: str) -> None:
    def drawn(mean: float | None, std: float | None) -> torch.Tensor:
        return training_sigmas(objective, mean, std, 4000, torch.Generator().manual_seed(0)).log()  # type: ignore[arg-type]

    own = drawn(None, None)
    assert (float(own.mean()), float(own.std())) == pytest.approx(NOISE_LEVELS[objective], abs=0.02)
    given = drawn(0.3, 0.5)
    assert (float(given.mean()), float(given.std())) == pytest.approx((0.3, 0.5), abs=0.02)


def test_a_logit_normal_time_is_a_lognormal_sigma() -> None:
    normal = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double()
    t = torch.sigmoid(0.4 + 1.2 * normal)
    torch.testing.assert_close(path_sigma(t).log(), 0.4 + 1.2 * normal)
