"""What a training step changes, the step itself, and how both go to disk and back."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.precondition import add_noise
from synthcohort.models.checkpoint import ModelSpec, load_checkpoint, save_checkpoint
from synthcohort.models.condition import Condition
from synthcohort.training.augment import change, draw_changes
from synthcohort.training.config import TrainConfig
from synthcohort.training.ema import TRACKED, Averages
from synthcohort.training.muon import Muon, split_parameters
from synthcohort.training.objective import training_error, training_sigmas
from synthcohort.training.optimizer_files import fitting, moments_of, part, restore_moments
from synthcohort.training.parallel import Workers

ENDS = ("stem", "head")  # modules whose weights AdamW moves


class TrainingState:
    """Weights, their averages, the optimizers, and how many steps are done.

    `average` is a denoiser with the first tracked average, for looking at; `pace` multiplies both learning rates.
    """

    def __init__(
        self, spec: ModelSpec, config: TrainConfig, seed: int, steps: int, workers: Workers | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.spec, self.config, self.seed, self.steps, self.step = spec, config, seed, steps, 0
        self.workers = workers or Workers()
        self.pace = 1.0 if start is None else config.finetune_rate
        with torch.random.fork_rng():
            torch.manual_seed(seed_from("initial weights", seed))
            self.denoiser = spec.build()
            self.average = spec.build().eval().requires_grad_(False)
        if start is not None:
            self.denoiser.load_state_dict(start)
        self.average.load_state_dict(self.denoiser.state_dict())
        self.denoiser, self.average = (d.to(self.workers.device) for d in (self.denoiser, self.average))
        self.weights = dict(self.denoiser.named_parameters())
        self.averages = Averages(self.weights)
        for name, value in self.average.named_parameters():
            value.data = self.averages.of[TRACKED[0]][name]
        hidden, rest = split_parameters(self.denoiser, ends=ENDS)
        adam = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        self.optimizers: list[tuple[float, torch.optim.Optimizer]] = [(config.learning_rate * self.pace, adam)]
        if hidden:
            self.optimizers.append((config.muon_rate * self.pace, Muon(hidden, lr=0.0)))

    @property
    def images_seen(self) -> int:
        return self.step * self.config.batch

    @property
    def rate(self) -> float:
        """AdamW's learning rate of the next step."""
        return self.optimizers[0][0] * self._factor()

    def _factor(self) -> float:
        return rate_factor(self.step, self.steps, self.config.warmup, self.config.hold)

    def update(self, images: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """One step; returns the mean weighted error before it. NaN is left for the caller to see.

        `images` and `condition` are the whole batch, on the CPU, in every process.
        """
        config, workers, count = self.config, self.workers, len(images)
        changes = None
        if config.augment:
            changes = draw_changes(count, config.augment, not config.flip, generator)
            condition = replace(condition, augment=changes)
        latent_std = self.spec.sigma_data if self.spec.latent else None
        sigmas = training_sigmas(config.objective, config.sigma_mean, config.sigma_std, count, generator, latent_std)
        noise = torch.randn(images.shape, generator=generator)
        total = torch.zeros((), device=workers.device)
        for number, rows in enumerate(workers.pieces(count, config.accumulate)):
            if getattr(self.spec.network, "dropout", 0.0):
                torch.manual_seed(seed_from("dropout", self.seed, self.step, workers.rank, number))
            moved = images[rows] if changes is None else change(images[rows], changes[rows])
            clean, sigma = moved.to(workers.device), sigmas[rows].to(workers.device)
            noisy = add_noise(clean, noise[rows].to(workers.device), sigma)
            denoised = self.denoiser(noisy, sigma, condition[rows].to(workers.device))
            loss = training_error(config.objective, denoised, clean, sigma, self.spec.sigma_data).sum() / count
            loss.backward()
            total += loss.detach()
        self._share(total)
        if config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), config.clip)
        factor = self._factor()
        for rate, optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.averages.update(self.weights, self.step)
        return total

    def _share(self, total: Tensor) -> None:
        """Adds up the gradients and the loss of all processes; a weight that one of them did not use counts as 0."""
        if self.workers.count == 1:
            return
        for weight in self.weights.values():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.workers.add_up([*(w.grad for w in self.weights.values() if w.grad is not None), total])

    def tensors(self) -> dict[str, Tensor]:
        named = {f"weights.{name}": value for name, value in self.denoiser.state_dict().items()}
        named |= {f"averages.{name}": value for name, value in self.averages.tensors().items()}
        for k, (_, optimizer) in enumerate(self.optimizers):
            named |= moments_of(optimizer, f"optimizer{k}.")
        return named

    def save(self, folder: Path) -> None:
        save_checkpoint(folder, self.step, self.tensors(), {"images_seen": self.images_seen})

    def load(self, folder: Path) -> bool:
        """Takes over the last whole checkpoint; False when there is none."""
        found = load_checkpoint(folder)
        if found is None:
            return False
        step, tensors, _ = found
        with fitting(folder):
            self.denoiser.load_state_dict(part(tensors, "weights."))
            self.averages.load(part(tensors, "averages."))
            for k, (_, optimizer) in enumerate(self.optimizers):
                restore_moments(optimizer, tensors, f"optimizer{k}.")
        self.step = step
        return True


def rate_factor(step: int, steps: int, warmup: float, hold: float) -> float:
    """Learning rate over its highest: up in a line, held, down to 0 at the last step as a cosine."""
    up = min(1.0, (step + 1) / max(1.0, warmup * steps))
    fallen = max(0.0, (step / steps - hold) / (1 - hold))
    return up * 0.5 * (1 + math.cos(math.pi * fallen))
