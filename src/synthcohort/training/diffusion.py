"""The training of a diffusion model, in one visible loop.

A run of S steps is a function of (cohorts, config, seed): step s draws its images, noise levels and noise from seeds
that name s, so a checkpoint holds weights, their average, the optimizer, the number of steps done and nothing random.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem, TrainingError
from synthcohort.core.files import check_writable, remove, write_atomic
from synthcohort.core.progress import progress
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.precondition import add_noise, denoising_error
from synthcohort.diffusion.schedule import lognormal_sigmas, stratified_uniform
from synthcohort.learning.search import build_index
from synthcohort.models.checkpoint import ModelSpec, load_checkpoint, save_checkpoint, save_model
from synthcohort.models.condition import Vocabulary
from synthcohort.training.config import TrainConfig
from synthcohort.training.data import (
    TrainingSet,
    chosen_labels,
    column,
    draw_batch,
    image_spec,
    open_cohorts,
    training_set,
)
from synthcohort.training.ema import average_decay, update_average
from synthcohort.training.muon import Muon, split_parameters
from synthcohort.training.watch import sample_sheet, validation_loss

MEASURED_STEPS = 6


def train(cohorts: Sequence[Path], out: Path, config: TrainConfig, seed: int = 0) -> dict[str, Any]:
    """Trains on the images with role `train`; goes on where an earlier call with the same arguments stopped.

    Writes run/ (see ARCHITECTURE): run.json, log.jsonl, checkpoint/, model/, train_features/, samples.png.
    Returns {run, images_seen, resumed}. Raises InputError for cohorts that cannot be trained on, ArtifactError when
    `out` holds another run, TrainingError when the loss is not finite or memory runs out.
    """
    out = Path(out)
    check_writable(out)
    real = open_cohorts(cohorts)
    views = [cohort.select(split="train") for cohort in real]
    watched = [cohort.select(split="validation") for cohort in real]
    image = image_spec(views, config.size, config.fit)
    config.network.check_size(image.rows, image.columns)
    labels = chosen_labels(real[0], config.labels)
    vocabulary = Vocabulary.of(labels, {label.name: column(views, label.name) for label in labels})
    # every error a setting or a cohort can cause has been raised by now: nothing half-made is left behind
    asked = {"train": to_mapping(config), "seed": seed, "cohorts": [cohort.digest for cohort in real]}
    run = RunFolder.open(out, "diffusion", asked)
    if run.done:
        return {"run": out.as_posix(), "images_seen": run.info["images_seen"], "resumed": True}
    data = training_set(out / "data" / "train.npy", views, image, config.fit, vocabulary, config.label_balance)
    validation = training_set(out / "data" / "validation.npy", watched, image, config.fit, vocabulary)
    spec = ModelSpec(config.network, image, vocabulary, data.std(), config.precision)
    try:
        if "steps" not in run.info:
            run.update(steps=_steps(config, spec, data, seed))
        state = TrainingState(spec, config, seed, run.info["steps"])
        resumed = state.load(run.path / "checkpoint")
        run.log("resume" if resumed else "start", step=state.step, steps=state.steps, images=len(data))
        _loop(run, state, config, data, validation, seed)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            raise TrainingError(
                Problem(
                    "memory", "ran out while training", remedy="lower train.batch, train.size or train.network.channels"
                )
            ) from error
        raise
    _finish(run, state, views, watched, seed)
    return {"run": out.as_posix(), "images_seen": state.images_seen, "resumed": resumed}


class TrainingState:
    """What a step changes: weights, their average, the optimizer, and how many steps are done."""

    def __init__(self, spec: ModelSpec, config: TrainConfig, seed: int, steps: int) -> None:
        self.spec, self.config, self.steps, self.step = spec, config, steps, 0
        self.optimizers: list[tuple[float, torch.optim.Optimizer]]
        with torch.random.fork_rng():
            torch.manual_seed(seed_from("initial weights", seed))
            self.denoiser = spec.build()
            self.average = spec.build().eval().requires_grad_(False)
        self.average.load_state_dict(self.denoiser.state_dict())
        hidden, rest = split_parameters(self.denoiser, ends=("stem", "head"))
        adam = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        self.optimizers = [(config.learning_rate, adam)]
        if hidden:
            self.optimizers.append((config.muon_rate, Muon(hidden, lr=0.0)))

    @property
    def images_seen(self) -> int:
        return self.step * self.config.batch

    def update(self, images: Tensor, condition: Tensor, generator: torch.Generator) -> Tensor:
        """One step; returns the mean weighted error before it. NaN is left for the caller to see."""
        config, sigma_data = self.config, self.spec.sigma_data
        sigma = lognormal_sigmas(stratified_uniform(len(images), generator), config.sigma_mean, config.sigma_std)
        noisy = add_noise(images, torch.randn(images.shape, generator=generator), sigma)
        denoised = self.denoiser(noisy, sigma, condition)
        loss = denoising_error(denoised, images, sigma, sigma_data).mean()
        loss.backward()
        factor = rate_factor(self.step, self.steps, config.warmup, config.hold)
        for rate, optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        update_average(self.average.parameters(), self.denoiser.parameters(), average_decay(self.step, config.average))
        return loss.detach()

    def tensors(self) -> dict[str, Tensor]:
        named = {f"weights.{name}": value for name, value in self.denoiser.state_dict().items()}
        named |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for k, (_, optimizer) in enumerate(self.optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                named |= {f"optimizer{k}.{index}.{name}": value for name, value in moments.items()}
        return named

    def save(self, folder: Path) -> None:
        save_checkpoint(folder, self.step, self.tensors(), {"images_seen": self.images_seen})

    def load(self, folder: Path) -> bool:
        """Takes over the last whole checkpoint; False when there is none."""
        found = load_checkpoint(folder)
        if found is None:
            return False
        step, tensors, _ = found
        try:
            self.denoiser.load_state_dict(_part(tensors, "weights."))
            self.average.load_state_dict(_part(tensors, "average."))
            for k, (_, optimizer) in enumerate(self.optimizers):
                moments: dict[int, dict[str, Tensor]] = {}
                for name, value in _part(tensors, f"optimizer{k}.").items():
                    index, _, moment = name.partition(".")
                    moments.setdefault(int(index), {})[moment] = value
                optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
                _restore_layout(optimizer)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(Problem(f"checkpoint {folder}", f"does not fit this run ({error})")) from error
        self.step = step
        return True


def _restore_layout(optimizer: torch.optim.Optimizer) -> None:
    """Gives loaded moments the memory layout of their weights, as in an unbroken run: files hold only the values."""
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == weight.shape:
                moments[name] = torch.empty_like(weight).copy_(value)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def rate_factor(step: int, steps: int, warmup: float, hold: float) -> float:
    """Learning rate over its highest: up in a line, held, down to 0 at the last step as a cosine."""
    up = min(1.0, (step + 1) / max(1.0, warmup * steps))
    fallen = max(0.0, (step / steps - hold) / (1 - hold))
    return up * 0.5 * (1 + math.cos(math.pi * fallen))


def _loop(
    run: RunFolder, state: TrainingState, config: TrainConfig, data: TrainingSet, validation: TrainingSet, seed: int
) -> None:
    """From the step the state stands at to the last."""
    log_steps, save_steps = (max(1, round(n / config.batch)) for n in (config.log_images, config.checkpoint_images))
    total, since, began = 0.0, 0, time.monotonic()
    state.denoiser.train()
    with progress(state.steps * config.batch, "train", start=state.images_seen) as advance:
        while state.step < state.steps:
            images, condition, generator = draw_batch(
                data, state.step, config.batch, seed, config.flip, config.label_dropout
            )
            if config.network.dropout:
                torch.manual_seed(seed_from("dropout", seed, state.step))
            loss = float(state.update(images, condition, generator))
            if not math.isfinite(loss):
                raise TrainingError(
                    Problem(
                        f"training step {state.step}",
                        "the loss is not a finite number",
                        remedy="lower train.learning_rate, or set train.precision=float32, and start a new run",
                    )
                )
            total, since = total + loss, since + 1
            last = state.step == state.steps
            if last or state.step % log_steps == 0:
                fields: dict[str, Any] = {
                    "step": state.step,
                    "images_seen": state.images_seen,
                    "loss": total / since,
                    "images_per_second": since * config.batch / (time.monotonic() - began),
                }
                if config.validation_images and len(validation):
                    losses = validation_loss(state.average, validation, config.validation_images, config.batch, seed)
                    fields["validation_loss"] = sum(losses.values()) / len(losses)
                    fields["validation_loss_by_sigma"] = {str(sigma): value for sigma, value in losses.items()}
                run.log("progress", **fields)
                total, since, began = 0.0, 0, time.monotonic()
            if last or state.step % save_steps == 0:
                state.save(run.path / "checkpoint")
            advance(config.batch, loss=f"{loss:.3f}")


def _finish(
    run: RunFolder, state: TrainingState, views: Sequence[Cohort], watched: Sequence[Cohort], seed: int
) -> None:
    """The model, the features for the copy screen, the sample sheet; then the pixels made for training are removed."""
    facts = {
        "images_seen": state.images_seen,
        "steps": state.steps,
        "seed": seed,
        "training_images": sum(map(len, views)),
        "label_counts": label_counts(state.spec.vocabulary, views),
        "cohorts": run.info["config"]["cohorts"],
    }
    save_model(run.path / "model", state.spec, state.average.state_dict(), facts)
    write_atomic(run.path / "samples.png", sample_sheet(state.average, state.spec, seed))
    features = run.path / "train_features"
    for number, (view, validation) in enumerate(zip(views, watched, strict=True)):
        remove(features / f"{number:02d}")
        build_index(view, features / f"{number:02d}", validation=validation)
    remove(run.path / "data")
    run.update(done=True, images_seen=state.images_seen)
    run.log("done", images_seen=state.images_seen)


def label_counts(vocabulary: Vocabulary, views: Sequence[Cohort]) -> list[dict[str, Any]]:
    """How often each combination of categorical labels occurs among the training images, most frequent first."""
    names = [c.label.name for c in vocabulary.columns]
    counts: dict[tuple[Any, ...], int] = {}
    for row in zip(*(column(views, name) for name in names), strict=True) if names else [()] * sum(map(len, views)):
        counts[row] = counts.get(row, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], repr(item[0])))
    return [{"condition": dict(zip(names, row, strict=True)), "count": count} for row, count in ordered]


def _steps(config: TrainConfig, spec: ModelSpec, data: TrainingSet, seed: int) -> int:
    """Steps of the budget: from `images`, or once from `minutes` and a rate measured on a throw-away network."""
    if config.minutes is None:
        return max(1, math.ceil(config.images / config.batch))
    trial = TrainingState(spec, config, seed, 1_000_000)
    began = time.monotonic()
    for step in range(MEASURED_STEPS):
        if step == 2:  # the first steps prepare kernels
            began = time.monotonic()
        trial.update(*draw_batch(data, step, config.batch, seed, config.flip, config.label_dropout))
    seconds = (time.monotonic() - began) / (MEASURED_STEPS - 2)
    return max(1, round(config.minutes * 60 / seconds))
