"""The loss: 0 for the image itself, and its texture term sees contrast, not place."""

import pytest
import torch

from synthcohort.training.reconstruction_loss import pixel_loss, texture_loss


@pytest.mark.parametrize("size", [(32, 24), (16, 16, 16)])
def test_blur_is_worse_than_other_grain(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image, other = 0.3 * torch.randn(2, 1, *size), 0.3 * torch.randn(2, 1, *size)
    assert pixel_loss(image, image) == texture_loss(image, image) == 0
    blank = torch.zeros_like(image)
    assert pixel_loss(blank, image) < pixel_loss(other, image)
    assert texture_loss(blank, image) > 3 * texture_loss(other, image)


def test_small_images_and_gradients() -> None:
    image = torch.randn(2, 3, 8, 8)
    flat = torch.zeros_like(image, requires_grad=True)
    loss = texture_loss(flat, image) + pixel_loss(flat, image)
    loss.backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())
    assert texture_loss(image[..., :2, :2], image[..., :2, :2] * 2) == 0  # no window fits: nothing to say
