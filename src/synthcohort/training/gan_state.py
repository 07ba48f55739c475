"""What a step of adversarial training changes, the step itself, and how both go to disk and back.

A step is some updates of the discriminator, each on a batch of its own, and one of the generator. Everything drawn in
it comes from the batches' own generators, so that a state holds nothing random.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.seeds import seed_from
from synthcohort.models.checkpoint import load_checkpoint, save_checkpoint
from synthcohort.models.condition import Condition
from synthcohort.models.gan_losses import LOSSES, between, squared_gradients, unit_gradients
from synthcohort.models.gan_spec import GanSpec
from synthcohort.training.ema import Averages
from synthcohort.training.gan_augment import SIGNS_TARGET, SMOOTH, adapted, draw_moves, moved
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.joint import Batch
from synthcohort.training.muon import Muon, split_parameters
from synthcohort.training.optimizer_files import fitting, moments_of, part, restore_moments
from synthcohort.training.parallel import Workers

ENDS = ("stem", "head", "score", "scale", "embed")  # modules whose weights Adam moves
MOMENTUM = 0.5  # of Muon: gradients of an adversary are soon out of date


@dataclass
class Course:
    """Where a training stands, beside the weights; all of it is in a checkpoint.

    step          steps done that count: the weights are those after so many
    spent         steps done, those that were taken back among them: the budget counts these
    setbacks      times that training went back
    pace, firm    factors of the learning rate and of the penalties, changed when training goes back
    probability   of each change of an image
    signs         running mean of the sign of real over drawn scores
    gap           running mean of the scores of training over those of drawn images
    held          running mean of the scores of training over those of validation images
    ended         the alarm that ended the training before its budget was spent: its kind and reason
    """

    step: int = 0
    spent: int = 0
    setbacks: int = 0
    pace: float = 1.0
    firm: float = 1.0
    probability: float = 0.0
    signs: float = 0.0
    gap: float = 0.0
    held: float = 0.0
    ended: tuple[str, str] | None = None

    @property
    def by_heart(self) -> float:
        """r_v: how far validation images lie from training to drawn ones. Source: Karras et al. 2020, equation 1."""
        return min(1.0, max(0.0, self.held / self.gap)) if self.gap > 0 else 0.0


@dataclass(frozen=True)
class Measured:
    """Means over the images of a step, before it."""

    discriminator: float
    generator: float
    penalty: float
    gap: float  # mean score of real images over that of drawn ones
    signs: float

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, (self.discriminator, self.generator, self.penalty)))


class GanState:
    """Both networks, the generator's average, the optimizers, and the course of the training."""

    def __init__(self, spec: GanSpec, config: GanConfig, seed: int, steps: int, workers: Workers | None = None) -> None:
        self.spec, self.config, self.seed, self.steps = spec, config, seed, steps
        self.workers = workers or Workers()
        self.course = Course(probability=config.augment_start)
        with torch.random.fork_rng():
            torch.manual_seed(seed_from("initial weights", seed))
            self.generator = spec.build()
            self.discriminator = spec.build_discriminator()
            self.average = spec.build().eval().requires_grad_(False)
        device = self.workers.device
        self.average.load_state_dict(self.generator.state_dict())
        self.generator, self.discriminator, self.average = (
            self.generator.to(device), self.discriminator.to(device), self.average.to(device)
        )  # fmt: skip
        self.weights = dict(self.generator.named_parameters())
        self.averages = Averages(self.weights, (config.average,))
        for name, value in self.average.named_parameters():
            value.data = self.averages.of[config.average][name]
        self.optimizers = {
            name: optimizers_of(network, config)
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
        }
        self.gamma = config.penalty(spec.size)

    @property
    def images_seen(self) -> int:
        return self.course.step * self.config.images_per_step

    @property
    def images_spent(self) -> int:
        return self.course.spent * self.config.images_per_step

    @property
    def rate(self) -> float:
        """Adam's learning rate of the next step."""
        return self.config.rate * self.course.pace * glide(self.course.step / self.steps, self.config.recipe.rate_end)

    @property
    def penalty(self) -> float:
        """The weight of the gradient penalties in the next step."""
        return self.gamma * self.course.firm * glide(self.course.step / self.steps, self.config.recipe.gamma_end)

    def batch_seed(self) -> int:
        """The seed of the batches: another one after each time that training went back."""
        return self.seed if not self.course.setbacks else seed_from("again", self.seed, self.course.setbacks)

    def update(self, batches: Sequence[Batch], held_out: Batch | None = None) -> Measured:
        """One step on so many batches as the discriminator has updates; the whole batches, on the CPU, everywhere.

        `held_out` are some validation images: what they score steers augmentation. The sign of pairs of scores, which
        steers it without them, is no measure of that under a relativistic loss: the discriminator wins most pairs from
        the start.
        """
        course, config, rate, penalty = self.course, self.config, self.rate, self.penalty
        for own in self.optimizers.values():
            for start, optimizer in own:
                optimizer.param_groups[0]["lr"] = start * rate / config.rate
        before = None if held_out is None or not config.adaptive else self._score_of(held_out)
        found = [self._discriminate(batch, penalty) for batch in batches]
        generator = self._generate(batches[-1])
        course.step += 1
        course.spent += 1
        self.averages.update(self.weights, course.step)
        loss, penalized, gap, signs, _ = (sum(values) / len(found) for values in zip(*found, strict=True))
        measured = Measured(loss, generator, penalized, gap, signs)
        if config.adaptive and measured.finite:
            course.signs = SMOOTH * course.signs + (1 - SMOOTH) * signs
            known, target = course.signs, SIGNS_TARGET
            if before is not None:  # scored by the weights that scored the first batch
                course.gap = SMOOTH * course.gap + (1 - SMOOTH) * found[0][2]
                course.held = SMOOTH * course.held + (1 - SMOOTH) * (found[0][4] - before)
                known, target = course.by_heart, config.augment_target
            course.probability = adapted(
                course.probability, known, target, config.images_per_step, config.augment_images
            )
        return measured

    @torch.no_grad()
    def _score_of(self, batch: Batch) -> float:
        """The mean score of images, augmented as others are."""
        changes, total = self._moves(len(batch.images), batch.generator), torch.zeros(1, device=self.workers.device)
        for rows in self.workers.pieces(len(batch.images), 1):
            images = moved(batch.images[rows].to(self.workers.device), changes[rows])
            total += self.discriminator(images, batch.condition[rows].to(self.workers.device)).sum()
        self.workers.add_up([total])
        return float(total) / len(batch.images)

    def _discriminate(self, batch: Batch, penalty: float) -> tuple[float, ...]:
        """An update of the discriminator: its loss, the penalty, gap, signs and mean score of real images before it."""
        count, latent = len(batch.images), self.spec.network.latent
        z = torch.randn(count, latent, generator=batch.generator)
        changes = [self._moves(count, batch.generator) for _ in range(2)]
        share = torch.rand(count, generator=batch.generator)
        device, totals = self.workers.device, torch.zeros(5, device=self.workers.device)
        for rows in self.workers.pieces(count, self.config.accumulate):
            condition = batch.condition[rows].to(device)
            real = moved(batch.images[rows].to(device), changes[0][rows])
            with torch.no_grad():
                fake = moved(self.generator(z[rows].to(device), condition), changes[1][rows])
            scores, penalized = self._scored(real, fake, condition, share[rows].to(device))
            real_scores, fake_scores = scores
            loss = LOSSES[self.spec.preset][0](real_scores, fake_scores)
            ((loss + penalty * penalized).sum() / count).backward()
            difference = (real_scores - fake_scores).detach()
            sums = (loss.detach(), penalized.detach(), difference, difference.sign(), real_scores.detach())
            totals += torch.stack([values.sum() for values in sums]) / count
        self._step("discriminator", self.discriminator, totals)
        return tuple(totals.tolist())

    def _scored(
        self, real: Tensor, fake: Tensor, condition: Condition, share: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Scores of real and drawn images, and the penalty [B] that the preset asks for."""
        count, both = len(real), torch.cat([real, fake])
        twice = Condition.cat([condition, condition])
        if self.spec.preset == "wgan_gp":
            scores = self.discriminator(both, twice)
            middle = between(real, fake, share).requires_grad_()
            return (scores[:count], scores[count:]), unit_gradients(self.discriminator(middle, condition), middle)
        both.requires_grad_()
        scores = self.discriminator(both, twice)
        # R1 and R2 with weight gamma / 2 each, of the images as the discriminator sees them
        squared = squared_gradients(scores, both)
        return (scores[:count], scores[count:]), (squared[:count] + squared[count:]) / 2

    def _generate(self, batch: Batch) -> float:
        """An update of the generator: its loss before it."""
        count, latent = len(batch.images), self.spec.network.latent
        z = torch.randn(count, latent, generator=batch.generator)
        changes = [self._moves(count, batch.generator) for _ in range(2)]
        device, total = self.workers.device, torch.zeros(1, device=self.workers.device)
        self.discriminator.requires_grad_(False)
        for rows in self.workers.pieces(count, self.config.accumulate):
            condition = batch.condition[rows].to(device)
            with torch.no_grad():
                real_scores = self.discriminator(moved(batch.images[rows].to(device), changes[0][rows]), condition)
            fake = moved(self.generator(z[rows].to(device), condition), changes[1][rows])
            loss = LOSSES[self.spec.preset][1](real_scores, self.discriminator(fake, condition)).sum() / count
            loss.backward()
            total += loss.detach()
        self.discriminator.requires_grad_(True)
        self._step("generator", self.generator, total)
        return float(total)

    def _moves(self, count: int, generator: torch.Generator) -> Tensor:
        return draw_moves(count, self.course.probability, self.config.flip, generator)

    def _step(self, name: str, network: nn.Module, totals: Tensor) -> None:
        """Adds up gradients and totals of all processes, then moves the weights; those not used stay."""
        if self.workers.count > 1:
            for weight in network.parameters():
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            self.workers.add_up([*(w.grad for w in network.parameters() if w.grad is not None), totals])
        for _, optimizer in self.optimizers[name]:
            optimizer.step()
        network.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        named = {f"generator.{name}": value for name, value in self.generator.state_dict().items()}
        named |= {f"discriminator.{name}": value for name, value in self.discriminator.state_dict().items()}
        named |= {f"averages.{name}": value for name, value in self.averages.tensors().items()}
        for key, own in self.optimizers.items():
            for number, (_, optimizer) in enumerate(own):
                named |= moments_of(optimizer, f"optimizer-{key}-{number}.")
        return named

    def save(self, folder: Path) -> None:
        facts: dict[str, Any] = {"images_seen": self.images_seen, "course": vars(self.course)}
        save_checkpoint(folder, self.course.spent, self.tensors(), facts)

    def load(self, folder: Path) -> bool:
        """Takes over the last whole checkpoint; False when there is none."""
        found = load_checkpoint(folder)
        if found is None:
            return False
        _, tensors, facts = found
        with fitting(folder):
            self.generator.load_state_dict(part(tensors, "generator."))
            self.discriminator.load_state_dict(part(tensors, "discriminator."))
            self.averages.load(part(tensors, "averages."))
            for key, own in self.optimizers.items():
                for number, (_, optimizer) in enumerate(own):
                    restore_moments(optimizer, tensors, f"optimizer-{key}-{number}.")
        self.course = _course(facts.get("course"), folder)
        return True


def optimizers_of(network: nn.Module, config: GanConfig) -> list[tuple[float, torch.optim.Optimizer]]:
    """Each with its rate at the start: Muon for hidden weights where the recipe has it, Adam for all others."""
    hidden, rest = split_parameters(network, ENDS) if config.hidden_rate else ([], list(network.parameters()))
    adam = torch.optim.Adam(rest, lr=config.rate, betas=(0.0, config.recipe.beta2), fused=True)
    made: list[tuple[float, torch.optim.Optimizer]] = [(config.rate, adam)]
    if hidden and config.hidden_rate:
        made.append((config.hidden_rate, Muon(hidden, lr=config.hidden_rate, momentum=MOMENTUM)))
    return made


def _course(content: Any, folder: Path) -> Course:
    """The course in a checkpoint. Raises ArtifactError where another version of the program wrote it."""
    known = {field.name for field in fields(Course)}
    if not isinstance(content, dict) or set(content) != known:
        found = sorted(set(content) ^ known) if isinstance(content, dict) else ["course"]
        raise ArtifactError(
            Problem(
                f"checkpoint {folder}",
                f"is of another version (it differs in {', '.join(found)})",
                remedy="train into another --out, or with the synthcohort that began it",
            )
        )
    ended = content["ended"]
    return Course(**content | {"ended": tuple(ended) if ended else None})


def glide(share: float, end: float) -> float:
    """From 1 to `end` over the training, as half a cosine."""
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))
