"""Preconditioning against its definition."""

import pytest
import torch

from synthcohort.diffusion.precondition import (
    add_noise,
    c_in,
    c_out,
    c_skip,
    denoise,
    denoising_error,
    loss_weight,
)

SIGMAS = torch.tensor([0.01, 0.1, 0.5, 1.0, 10.0])


@pytest.mark.parametrize("sigma_data", [0.2, 0.5, 1.0])
def test_input_and_target_of_the_network_have_unit_variance(sigma_data: float) -> None:
    """Karras et al. 2022, appendix B.6: the two conditions from which c_in and c_out follow."""
    variance_noisy = SIGMAS**2 + sigma_data**2
    torch.testing.assert_close(c_in(SIGMAS, sigma_data) ** 2 * variance_noisy, torch.ones(5))
    skip = c_skip(SIGMAS, sigma_data)
    target = ((1 - skip) ** 2 * sigma_data**2 + skip**2 * SIGMAS**2) / c_out(SIGMAS, sigma_data) ** 2
    torch.testing.assert_close(target, torch.ones(5))


def test_loss_weight_undoes_the_output_scale() -> None:
    torch.testing.assert_close(loss_weight(SIGMAS, 0.5) * c_out(SIGMAS, 0.5) ** 2, torch.ones(5))


def test_network_that_answers_zero_gives_the_best_linear_denoiser() -> None:
    generator = torch.Generator().manual_seed(0)
    sigma_data = 0.5
    clean = sigma_data * torch.randn(2000, 1, 4, 4, generator=generator)
    sigma = torch.full((2000,), 0.7)
    noisy = add_noise(clean, torch.randn(clean.shape, generator=generator), sigma)
    denoised = denoise(lambda x, noise, condition: torch.zeros_like(x), noisy, sigma, None, sigma_data)
    torch.testing.assert_close(denoised, noisy * sigma_data**2 / (sigma_data**2 + 0.7**2))
    assert float(denoising_error(denoised, clean, sigma, sigma_data).mean()) == pytest.approx(1.0, rel=0.03)


def test_each_image_has_its_own_noise_level() -> None:
    clean, noise = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    noisy = add_noise(clean, noise, torch.tensor([0.0, 1.0, 2.0]))
    assert noisy[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]
