"""The peers of the generator benchmark: diffusers' UNet2DModel and MONAI's DiffusionModelUNet, trained as they teach.

Neither is a dependency of the package: `make bench-generators` installs both into an environment of their own.

What is theirs: networks, optimizers and their schedules, 1,000 linear noise levels (0.0001 to 0.02), noise as the
target, clipping of gradients (diffusers) or none (MONAI), samplers.
    diffusers   examples/unconditional_image_generation: AdamW (0.95, 0.999), weight decay 1e-6, cosine, clip 1.0
    MONAI       generation/2d_ddpm (network, levels, target) and generation/maisi (Adam, polynomial decay of power 2)
What they are given: bfloat16, channels_last, labels by their own class embedding with one class more for "no label",
averaged weights (the better of two averages), images in [-1, 1], a warm-up of 5 % instead of a number of steps, and
a schedule that follows the clock, so that it ends exactly with the budget. MONAI is also given diffusers' solvers.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.seeds import rng, seed_from

STEPS = 1000  # noise levels of the DDPM
WARMUP = 0.05
ROWS = 64  # images that pass a network together in sampling


@dataclass(frozen=True)
class Shape:
    """Relative widths of the levels, finest first, and the levels with attention."""

    ratio: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int
    head: int | None  # channels of an attention head; None: one head


# `example` and `tutorial` are the networks of their own training examples, `default` those of their signatures;
# `deep` gives MONAI the levels of diffusers' example, which are the fastest of all.
SHAPES: dict[str, dict[str, Shape]] = {
    "diffusers": {
        "example": Shape((1, 1, 2, 2, 4, 4), (4,), 2, 8),
        "default": Shape((1, 2, 3, 4), (1, 2, 3), 2, 8),
    },
    "monai": {
        "tutorial": Shape((1, 2, 2), (1, 2), 1, None),
        "default": Shape((1, 2, 2, 2), (2, 3), 2, 8),
        "deep": Shape((1, 1, 2, 2, 4, 4), (4,), 2, None),
    },
}
RATES = (3e-4, 1e-4, 1e-3)  # the first is the one that shapes are compared at


class Peer(nn.Module):
    """A peer's network as `network(x, timesteps, classes) -> noise`, float32 outside, bfloat16 inside."""

    def __init__(self, library: str, shape: str, widths: tuple[int, ...], classes: int, size: int) -> None:
        super().__init__()
        self.library, self.shape, self.widths, self.classes = library, shape, widths, classes
        build = diffusers_network if library == "diffusers" else monai_network
        self.network = build(SHAPES[library][shape], widths, classes + 1, size)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            if self.library == "diffusers":
                out = self.network(x, timesteps, class_labels=classes).sample
            else:
                out = self.network(x, timesteps, class_labels=classes)
        return out.float()

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())


def diffusers_network(shape: Shape, widths: tuple[int, ...], classes: int, size: int) -> nn.Module:
    from diffusers.models.unets.unet_2d import UNet2DModel  # the top of the package asks for more than is needed

    levels = range(len(widths))
    return UNet2DModel(
        sample_size=size, in_channels=1, out_channels=1, layers_per_block=shape.blocks, block_out_channels=widths,
        down_block_types=tuple("AttnDownBlock2D" if i in shape.attention else "DownBlock2D" for i in levels),
        up_block_types=tuple("AttnUpBlock2D" if i in shape.attention else "UpBlock2D" for i in reversed(levels)),
        attention_head_dim=shape.head, norm_num_groups=8, num_class_embeds=classes,
    )  # fmt: skip


def monai_network(shape: Shape, widths: tuple[int, ...], classes: int, size: int) -> nn.Module:
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, num_res_blocks=shape.blocks, channels=widths,
        attention_levels=tuple(i in shape.attention for i in range(len(widths))), norm_num_groups=8,
        num_head_channels=tuple(shape.head or width for width in widths), num_class_embeds=classes,
    )  # fmt: skip


def matched(library: str, shape: str, parameters: int, classes: int, size: int) -> tuple[int, ...]:
    """Widths (multiples of 8) with the number of parameters nearest to `parameters`; ValueError beyond 10 %."""
    ratio, found = SHAPES[library][shape].ratio, {}
    for base in np.arange(16, 160, 1.0):
        widths = tuple(round(base * r / 8) * 8 for r in ratio)
        if widths not in found:
            with torch.device("meta"):
                found[widths] = Peer(library, shape, widths, classes, size).parameter_count
            if found[widths] > 1.3 * parameters:
                break
    widths = min(found, key=lambda key: abs(found[key] - parameters))
    if abs(found[widths] / parameters - 1) > 0.1:
        raise ValueError(f"{library} {shape}: {found[widths]} parameters are the nearest to {parameters}")
    return widths


def build(library: str, shape: str, parameters: int, classes: int, size: int, seed: int) -> Peer:
    widths = matched(library, shape, parameters, classes, size)
    torch.manual_seed(seed_from("peer", library, seed))
    return Peer(library, shape, widths, classes, size)


@dataclass(frozen=True)
class Data:
    """Images [N, 1, H, W] float32 in [-1, 1] and classes [N]."""

    images: Tensor
    classes: Tensor

    def batch(self, step: int, size: int, seed: int, null: int, dropout: float) -> tuple[Tensor, Tensor]:
        """Every image once a pass, half of them mirrored, labels hidden at the rate of `dropout`: as ours."""
        numbers = np.arange(step * size, (step + 1) * size)
        orders = {
            p: rng("order", seed, int(p)).permutation(len(self.images)) for p in np.unique(numbers // len(self.images))
        }
        chosen = torch.tensor([int(orders[n // len(self.images)][n % len(self.images)]) for n in numbers])
        images, classes = self.images[chosen], self.classes[chosen].clone()
        mirrored, hidden = torch.rand(size) < 0.5, torch.rand(size) < dropout
        classes[hidden] = null
        return torch.where(mirrored[:, None, None, None], images.flip(3), images), classes


def alphas() -> Tensor:
    """Cumulative products of 1 - beta of the linear schedule, [STEPS]. Source: Ho et al. 2020; the default of both."""
    return (1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)).cumprod(0).float()


class Averages:
    """Two averages of the weights: diffusers' EMAModel (inverse gamma 1, power 3/4), and the last twentieth as ours."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = list(network.parameters())
        self.kept = {name: [w.detach().clone() for w in self.weights] for name in ("power", "twentieth")}
        self.step = 0

    @torch.no_grad()
    def update(self) -> None:
        self.step += 1
        decays = {"power": min(0.9999, 1 - (1 + self.step) ** -0.75), "twentieth": 1 - 1 / max(1.0, 0.05 * self.step)}
        for name, decay in decays.items():
            torch._foreach_lerp_(self.kept[name], self.weights, 1 - decay)

    @torch.no_grad()
    def put(self, name: str) -> None:
        """Into the network itself, once training is over."""
        for weight, average in zip(self.weights, self.kept[name], strict=True):
            weight.copy_(average)


def optimizer_of(peer: Peer) -> torch.optim.Optimizer:
    if peer.library == "diffusers":
        return torch.optim.AdamW(
            peer.parameters(), lr=0.0, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8, fused=True
        )
    return torch.optim.Adam(peer.parameters(), lr=0.0, fused=True)


def rate_factor(library: str, share: float) -> float:
    """Learning rate over its highest when this share of the budget is spent."""
    fall = 0.5 * (1 + math.cos(math.pi * share)) if library == "diffusers" else (1 - share) ** 2
    return min(1.0, (share + 1e-3) / WARMUP) * max(0.0, fall)


def update(peer: Peer, optimizer: torch.optim.Optimizer, images: Tensor, classes: Tensor, table: Tensor) -> Tensor:
    """One step of DDPM training; returns the loss."""
    timesteps = torch.randint(0, STEPS, (len(images),))
    noise = torch.randn_like(images)
    loss = F.mse_loss(peer(noisy(images, noise, timesteps, table), timesteps, classes), noise)
    loss.backward()
    if peer.library == "diffusers":
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def noisy(images: Tensor, noise: Tensor, timesteps: Tensor, table: Tensor) -> Tensor:
    kept = table[timesteps][:, None, None, None]
    return kept.sqrt() * images + (1 - kept).sqrt() * noise


def train(
    peer: Peer, data: Data, validation: Data, rate: float, seconds: float, batch: int, dropout: float, seed: int,
    least_steps: int = 4,
) -> dict[str, Any]:  # fmt: skip
    """Trains for a wall-clock time, puts the better average into the network and says what happened.

    Only the loop is timed; looking at validation patients comes after it and costs the peers nothing.
    """
    torch.manual_seed(seed_from("peer training", peer.library, seed))
    optimizer, averages, table = optimizer_of(peer), Averages(peer), alphas()
    peer.train()
    began, step, last = time.monotonic(), 0, 0.0
    losses: list[float] = []
    lengths: list[float] = []
    while (spent := time.monotonic() - began) + last / 2 < seconds or step < least_steps:
        images, classes = data.batch(step, batch, seed, peer.classes, dropout)
        optimizer.param_groups[0]["lr"] = rate * rate_factor(peer.library, min(1.0, spent / max(seconds, 1e-9)))
        losses.append(float(update(peer, optimizer, images, classes, table)))
        averages.update()
        step, last = step + 1, time.monotonic() - began - spent
        lengths.append(last)
    spent = time.monotonic() - began
    found = {}
    peer.eval()
    for name in averages.kept:
        averages.put(name)
        found[name] = validation_loss(peer, validation, table)
    best = min(found, key=lambda name: found[name])
    averages.put(best)
    return {
        "seconds": spent, "steps": step, "images_seen": step * batch, "images_per_second": step * batch / spent,
        "median_images_per_second": batch / float(np.median(lengths[1:])),
        "rate": rate, "average": best, "validation_loss": found, "last_loss": float(np.mean(losses[-20:])),
        "parameters": peer.parameter_count, "shape": peer.shape, "widths": list(peer.widths),
    }  # fmt: skip


@torch.inference_mode()
def validation_loss(peer: Peer, data: Data, table: Tensor, most: int = 256) -> float:
    """Mean squared error of the noise on validation patients, with the same noise each time."""
    generator = torch.Generator().manual_seed(0)
    images, classes = data.images[:most], data.classes[:most]
    timesteps = ((torch.arange(len(images)) + 0.5) * STEPS / len(images)).long()
    timesteps = timesteps[torch.randperm(len(images), generator=generator)]
    noise = torch.randn(images.shape, generator=generator)
    errors = []
    for part in torch.arange(len(images)).split(ROWS):
        guess = peer(noisy(images[part], noise[part], timesteps[part], table), timesteps[part], classes[part])
        errors.append((guess - noise[part]).square().flatten(1).mean(1))
    return float(torch.cat(errors).mean())


def solvers() -> dict[str, Callable[[], Any]]:
    """diffusers' samplers by name, with their own settings. MONAI has DDIM alone, which is the same computation."""
    from diffusers.schedulers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

    levels = {"num_train_timesteps": STEPS, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    return {
        "ddim": lambda: DDIMScheduler(**levels),
        "dpmpp": lambda: DPMSolverMultistepScheduler(**levels),
        "unipc": lambda: UniPCMultistepScheduler(**levels),
    }


@torch.inference_mode()
def draw(peer: Peer, solver: str, steps: int, guidance: float, classes: Sequence[int], seed: int, size: int) -> Tensor:
    """Images [N, 1, H, W] in [-1, 1]; with guidance both evaluations are one batch, as in diffusers' pipelines."""
    made = []
    for start in range(0, len(classes), ROWS):
        wanted = torch.tensor(classes[start : start + ROWS])
        generator = torch.Generator().manual_seed(seed_from("peer image", seed, start))
        x = torch.randn(len(wanted), 1, size, size, generator=generator)
        scheduler = solvers()[solver]()
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            if guidance == 1.0:
                guess = peer(x, t.expand(len(x)), wanted)
            else:
                both = torch.cat([wanted, torch.full_like(wanted, peer.classes)])
                said, unsaid = peer(torch.cat([x, x]), t.expand(2 * len(x)), both).chunk(2)
                guess = unsaid + guidance * (said - unsaid)
            x = scheduler.step(guess, t, x).prev_sample
        made.append(x.clamp(-1, 1))
    return torch.cat(made)


def save(peer: Peer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"library": peer.library, "shape": peer.shape, "widths": peer.widths, "classes": peer.classes,
                "weights": peer.state_dict()}, path)  # fmt: skip


def load(path: Path, size: int) -> Peer:
    kept = torch.load(path, weights_only=True)
    peer = Peer(kept["library"], kept["shape"], tuple(kept["widths"]), kept["classes"], size)
    peer.load_state_dict(kept["weights"])
    return peer.eval().requires_grad_(False)
