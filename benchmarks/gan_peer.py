"""The peer of the GAN benchmark: a plain conditional WGAN-GP, as Gulrajani et al. 2017 give it (1704.00028).

Theirs: convolutional generator with batch normalization, ReLU, nearest upsampling and tanh; critic of strided
convolutions with leaky ReLU and no normalization; Wasserstein loss, lambda 10, five critic steps, Adam (1e-4, 0, 0.9),
batch 64. What it is given: the class (an embedding beside the latent numbers, a learned map beside the image),
bfloat16, channels last, mirroring, and the better on validation patients of its weights and their running average.
"""

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.seeds import rng, seed_from

LATENT, CRITIC_STEPS, LAMBDA, RATE = 128, 5, 10.0, 1e-4
KEPT = 0.999  # of the running average, a step
ROWS = 64  # images that are drawn together


class PeerGenerator(nn.Module):
    """z [B, 128] and classes [B] to images [B, 1, size, size]; size is 4 times a power of two."""

    def __init__(self, size: int, classes: int, width: int) -> None:
        super().__init__()
        levels = (size // 4).bit_length() - 1
        widths = [min(width * 2**level, 8 * width) for level in range(levels, -1, -1)]
        self.embed = nn.Embedding(classes, LATENT)
        self.first = nn.Linear(2 * LATENT, widths[0] * 16)
        self.norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, classes: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            h = self.first(torch.cat([z, self.embed(classes)], dim=1)).unflatten(1, (-1, 4, 4))
            h = F.relu(self.norm(h.contiguous(memory_format=torch.channels_last)))
            for block in self.blocks:
                h = block(F.interpolate(h, scale_factor=2, mode="nearest"))
            return torch.tanh(self.last(h).float())


class PeerCritic(nn.Module):
    """Images and classes to scores [B]."""

    def __init__(self, size: int, classes: int, width: int) -> None:
        super().__init__()
        levels = (size // 4).bit_length() - 1
        widths = [min(width * 2**level, 8 * width) for level in range(levels + 1)]
        self.size, self.embed = size, nn.Embedding(classes, size * size)
        self.first = nn.Conv2d(2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.last = nn.Linear(widths[-1] * 16, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        plane = self.embed(classes).view(-1, 1, self.size, self.size)
        with torch.autocast("cpu", torch.bfloat16):
            h = torch.cat([x, plane], dim=1).contiguous(memory_format=torch.channels_last)
            h = F.leaky_relu(self.first(h), 0.2)
            for block in self.blocks:
                h = F.leaky_relu(block(h), 0.2)
            return self.last(h.flatten(1)).float()[:, 0]


def penalty(critic: PeerCritic, real: Tensor, fake: Tensor, classes: Tensor) -> Tensor:
    middle = torch.lerp(fake, real, torch.rand(len(real), 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(middle, classes).sum(), middle, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def train(
    images: np.ndarray, classes: np.ndarray, count: int, out: Path, seconds: float, batch: int, seed: int,
    width: int = 32, steps: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Trains for so many seconds (or steps) on uint8 images [N, S, S]; writes both weights and says what it did."""
    torch.manual_seed(seed_from("peer gan", seed))
    size, random = images.shape[1], rng("peer gan", seed)
    generator, critic = PeerGenerator(size, count, width), PeerCritic(size, count, width)
    average = {name: value.detach().clone().float() for name, value in generator.state_dict().items()}
    optimizers = [torch.optim.Adam(n.parameters(), lr=RATE, betas=(0.0, 0.9)) for n in (generator, critic)]
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds if steps is None else done < steps:
        for _ in range(CRITIC_STEPS):
            rows = random.integers(0, len(images), batch)
            real = torch.from_numpy(images[rows].astype(np.float32) / 127.5 - 1)[:, None]
            real = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, real.flip(3), real)
            said = torch.from_numpy(classes[rows])
            with torch.no_grad():
                fake = generator(torch.randn(batch, LATENT), said)
            loss = (critic(fake, said) - critic(real, said)).mean() + LAMBDA * penalty(critic, real, fake, said)
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
        said = torch.from_numpy(classes[random.integers(0, len(images), batch)])
        optimizers[0].zero_grad()
        (-critic(generator(torch.randn(batch, LATENT), said), said)).mean().backward()
        optimizers[0].step()
        done += 1
        for name, value in generator.state_dict().items():
            average[name].lerp_(value.float(), 1 - KEPT)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"last": generator.state_dict(), "average": average, "shape": (size, count, width)}, out)
    return {
        "seconds": time.monotonic() - began, "steps": done, "images_seen": done * batch * CRITIC_STEPS,
        "parameters": sum(p.numel() for n in (generator, critic) for p in n.parameters()),
    }  # fmt: skip


@torch.inference_mode()
def draw(out: Path, which: str, classes: list[int], seed: int) -> tuple[np.ndarray, float]:
    """uint8 images [N, S, S] of the weights `last` or `average`, and how many a second."""
    content = torch.load(out, weights_only=True)
    generator = PeerGenerator(*content["shape"]).eval()
    own = generator.state_dict()
    generator.load_state_dict({name: value.to(own[name].dtype) for name, value in content[which].items()})
    noise = torch.Generator().manual_seed(seed_from("peer gan draw", seed))
    began, made = time.monotonic(), []
    for start in range(0, len(classes), ROWS):
        said = torch.tensor(classes[start : start + ROWS])
        x = generator(torch.randn(len(said), LATENT, generator=noise), said)[:, 0]
        made.append(((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy())
    return np.concatenate(made), len(classes) / (time.monotonic() - began)
