"""The training of the autoencoder whose latents a diffusion model can work on, in one visible loop.

As in `diffusion`, a run of S steps is a function of (cohorts, config, seed): step s draws its crops and noise from
seeds that name s.
"""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.config import to_mapping
from synthcohort.core.errors import Problem, TrainingError
from synthcohort.core.files import check_writable, remove
from synthcohort.core.progress import progress
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import seed_from
from synthcohort.models.autoencoder import FOLDER, Autoencoder, AutoencoderSpec, kl_divergence, save_autoencoder
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.memory import keep_freed_memory
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig
from synthcohort.training.data import column, image_spec, training_set
from synthcohort.training.joint import ImageType, JointSet, open_types, type_shares
from synthcohort.training.limits import explained
from synthcohort.training.parallel import Workers, joined
from synthcohort.training.reconstruction import write_report
from synthcohort.training.reconstruction_loss import pixel_loss, texture_loss
from synthcohort.training.state import TrainingState

MEASURED_STEPS = 6
MEMORY = "lower autoencoder.batch, autoencoder.crop or autoencoder.network.channels"
STARTING_IMAGES = 64  # whose patches give the linear code to begin with
SCALED_BY = 1_000  # images that the scale of the latents is measured on


def train_autoencoder(cohorts: Sequence[Path], out: Path, config: AutoencoderTraining, seed: int = 0) -> dict[str, Any]:
    """Trains on the images with role `train`; goes on where an earlier call with the same arguments stopped.

    Writes run.json, log.jsonl, checkpoint/, autoencoder/, reconstruction.json and owner/reconstructions.png, which
    shows real patients. Returns {run, images_seen, resumed}.
    Raises InputError for cohorts that cannot be trained on, ConfigError for sizes that do not fit, ArtifactError when
    `out` holds another run, TrainingError when the loss is not finite, or memory or disk runs out.
    """
    with joined() as workers, explained(Path(out), MEMORY):
        return _train(cohorts, Path(out), config, seed, workers)


def _train(
    cohorts: Sequence[Path], out: Path, config: AutoencoderTraining, seed: int, workers: Workers
) -> dict[str, Any]:
    keep_freed_memory()
    workers.check(config.batch)
    check_writable(out)
    types = open_types(cohorts)
    specs = tuple(image_spec(kind.train, config.size, config.fit, kind.name) for kind in types)
    for image in specs:
        config.network.check_size(image.rows, image.columns)
    spec = AutoencoderSpec(config.network, max(s.channels for s in specs), 2, config.precision, specs)
    asked = {
        "autoencoder": to_mapping(config),
        "seed": seed,
        "cohorts": [view.digest for kind in types for view in kind.train],
    }
    if workers.main:
        run = RunFolder.open(out, "autoencoder", asked)
    workers.agree(0)
    if not workers.main:
        run = RunFolder.read(out)
    if run.done:
        return {"run": out.as_posix(), "images_seen": run.info["images_seen"], "resumed": True}
    for turn in (True, False):  # the first process prepares what the others then find
        if workers.main == turn:
            data = images_of(out / "data" / "train", types, spec, config, "train")
            validation = images_of(out / "data" / "validation", types, spec, config, "validation")
        workers.agree(0)
    if "steps" not in run.info:
        steps = workers.agree(_steps(config, spec, data, seed, workers))
        if workers.main:
            run.update(steps=steps)
        run.info["steps"] = steps
    state = AutoencoderState(spec, config, data, seed, run.info["steps"], workers)
    resumed = state.load(run.path / "checkpoint")
    if workers.main:
        run.log("resume" if resumed else "start", step=state.step, steps=state.steps, images=len(data))
    _loop(run, state, data, validation)
    if workers.main:
        _finish(run, state, types, data, validation)
    workers.agree(0)
    return {"run": out.as_posix(), "images_seen": state.images_seen, "resumed": resumed}


def images_of(
    folder: Path, types: Sequence[ImageType], spec: AutoencoderSpec, config: AutoencoderTraining, role: str
) -> JointSet:
    """The images of all types with this role (train or validation), at the model's size and without conditions."""
    nothing = Vocabulary()
    sets = tuple(
        training_set(folder / f"{k:02d}.npy", getattr(kind, role), image, config.fit, nothing)
        for k, (kind, image) in enumerate(zip(types, spec.images, strict=True))
    )
    return JointSet(sets, type_shares([len(data) for data in sets], config.type_balance), spec.channels, nothing)


@dataclass(frozen=True)
class Beginning:
    """How an autoencoder begins: as the linear code of some training images, and a network that adds nothing to it."""

    spec: AutoencoderSpec
    images: tuple[Tensor, ...]

    def build(self) -> Autoencoder:
        autoencoder = self.spec.build()
        autoencoder.start_from(self.images)
        return autoencoder


class AutoencoderState(TrainingState):
    """The state of diffusion's training, of an autoencoder and with its own step."""

    def __init__(
        self,
        spec: AutoencoderSpec,
        config: AutoencoderTraining,
        data: JointSet,
        seed: int,
        steps: int,
        workers: Workers,
    ) -> None:
        shown = tuple(images for images, _ in data.evenly(STARTING_IMAGES, STARTING_IMAGES))
        self.recipe = config
        # the two configs share the fields that the state reads: rates, warmup, hold, batch
        super().__init__(cast(ModelSpec, Beginning(spec, shown)), cast(TrainConfig, config), seed, steps, workers)

    @property
    def autoencoder(self) -> Autoencoder:
        return cast(Autoencoder, self.denoiser)

    @property
    def averaged(self) -> Autoencoder:
        return cast(Autoencoder, self.average)

    def learn(self, images: Tensor, noise: Tensor) -> Tensor:
        """One step; returns the mean loss before it. Images and noise are the whole batch, in every process."""
        workers, count = self.workers, len(images)
        total = torch.zeros((), device=workers.device)
        for rows in workers.pieces(count, 1):
            found = losses(self.autoencoder, images[rows].to(workers.device), noise[rows].to(workers.device))
            loss = found.total(self.recipe) * ((rows.stop - rows.start) / count)
            loss.backward()
            total += loss.detach()
        self._share(total)
        factor = self._factor()
        for rate, optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.averages.update(self.weights, self.step)
        return total


@dataclass(frozen=True)
class Losses:
    """The terms of the loss, unweighted."""

    pixel: Tensor
    texture: Tensor
    kl: Tensor  # nats per pixel value

    def total(self, config: AutoencoderTraining) -> Tensor:
        return self.pixel + config.texture_weight * self.texture + config.kl_weight * self.kl


def losses(autoencoder: Autoencoder, images: Tensor, noise: Tensor) -> Losses:
    """The losses of reconstructions from one draw of the latents; `noise` is unit normal, of their shape."""
    mean, std = autoencoder.encode(images)
    made = autoencoder.decode(mean + std * noise)
    kl = kl_divergence(mean, std).sum() / images.numel()
    return Losses(pixel_loss(made, images), texture_loss(made, images), kl)


def draw_crops(data: JointSet, step: int, config: AutoencoderTraining, seed: int) -> tuple[Tensor, Tensor]:
    """What step s trains on: crops [B, C, h, w], half of them mirrored, and the noise of their latents."""
    generator = torch.Generator().manual_seed(seed_from("autoencoder step", seed, step))
    images = data.unit_images(*data.batch_rows(step, config.batch, seed))
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    if config.flip:
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if config.crop is not None:
        rows, columns = (min(config.crop, side) for side in images.shape[2:])
        tops = torch.randint(images.shape[2] - rows + 1, (len(images),), generator=generator).tolist()
        lefts = torch.randint(images.shape[3] - columns + 1, (len(images),), generator=generator).tolist()
        images = torch.stack([x[:, t : t + rows, c : c + columns] for x, t, c in zip(images, tops, lefts, strict=True)])
    return images, latent_noise(images, config, generator)


def latent_noise(images: Tensor, config: AutoencoderTraining, generator: torch.Generator) -> Tensor:
    size = [side // config.network.factor for side in images.shape[2:]]
    return torch.randn(len(images), config.network.latent_channels, *size, generator=generator)


@torch.inference_mode()
def validation_losses(
    autoencoder: Autoencoder, data: JointSet, config: AutoencoderTraining, seed: int
) -> dict[str, float]:
    """The losses on about `validation_images` whole images, with the same noise every time, and the PSNR."""
    device = autoencoder.shift.device
    sums, squares, count = np.zeros(4), 0.0, 0
    for number, (images, _) in enumerate(data.evenly(config.validation_images, config.batch)):
        generator = torch.Generator().manual_seed(seed_from("autoencoder validation", seed, number))
        noise = latent_noise(images, config, generator).to(device)
        images = images.to(device)
        found = losses(autoencoder, images, noise)
        mean, std = autoencoder.encode(images)
        squares += float((autoencoder.decode(mean + std * noise).clamp(-1, 1) - images).square().mean()) * len(images)
        values = (found.total(config), found.pixel, found.texture, found.kl)
        sums += np.array([float(value) for value in values]) * len(images)
        count += len(images)
    total, pixel, texture, kl = (sums / count).tolist()
    return {
        "validation_loss": total,
        "validation_pixel": pixel,
        "validation_texture": texture,
        "validation_kl": kl,
        "validation_psnr_db": 10 * math.log10(4 * count / max(squares, 1e-12)),
    }


@torch.inference_mode()
def set_scale(autoencoder: Autoencoder, data: JointSet, batch: int) -> None:
    """Sets shift and scale such that the latents of training images have mean 0 and variance 1, noise included."""
    sums, count = torch.zeros(2, autoencoder.config.latent_channels, dtype=torch.float64), 0
    for images, _ in data.evenly(SCALED_BY, batch):
        mean, std = (t.double().cpu() for t in autoencoder.encode(images.to(autoencoder.shift.device)))
        axes = [0, *range(2, mean.ndim)]
        sums += torch.stack([mean.sum(axes), (mean.square() + std.square()).sum(axes)])
        count += mean[:, 0].numel()
    shift, power = sums / count
    autoencoder.shift.copy_(shift)
    autoencoder.scale.copy_((power - shift.square()).clamp(min=1e-12).rsqrt())


def _loop(run: RunFolder, state: AutoencoderState, data: JointSet, validation: JointSet) -> None:
    """From the step the state stands at to the last; the first process logs and saves."""
    config, seed = state.recipe, state.seed
    log_steps, save_steps = (max(1, round(n / config.batch)) for n in (config.log_images, config.checkpoint_images))
    total, since, began = 0.0, 0, time.monotonic()
    state.autoencoder.train()
    bar = progress(state.steps * config.batch, "train autoencoder", start=state.images_seen)
    with bar if state.workers.main else nullcontext() as advance:
        while state.step < state.steps:
            loss = float(state.learn(*draw_crops(data, state.step, config, seed)))
            if not math.isfinite(loss):
                remedy = (
                    "lower autoencoder.muon_rate and autoencoder.learning_rate, or set autoencoder.precision=float32, "
                    "and start a new run"
                )
                raise TrainingError(
                    Problem(f"training step {state.step}", "the loss is not a finite number", remedy=remedy)
                )
            if advance is None:
                continue
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
                    fields |= validation_losses(state.averaged, validation, config, seed)
                run.log("progress", **fields)
                total, since, began = 0.0, 0, time.monotonic()
            if last or state.step % save_steps == 0:
                state.save(run.path / "checkpoint")
            advance(config.batch, loss=f"{loss:.4f}")


def _finish(
    run: RunFolder, state: AutoencoderState, types: Sequence[ImageType], data: JointSet, validation: JointSet
) -> None:
    """The scale of the latents, the autoencoder, the report; then the pixels made for training are removed."""
    autoencoder, spec, config = state.averaged, cast(Beginning, state.spec).spec, state.recipe
    set_scale(autoencoder, data, config.batch)
    facts = {
        "images_seen": state.images_seen,
        "steps": state.steps,
        "seed": state.seed,
        "training_images": len(data),
        "cohorts": run.info["config"]["cohorts"],
    }
    save_autoencoder(run.path / FOLDER, spec, autoencoder.state_dict(), facts)
    if config.report_images and len(validation):
        patients = [column(kind.validation, "patient_id") for kind in types]
        report = write_report(run.path, autoencoder.cpu(), spec, validation, patients, config.report_images)
        run.update(reconstruction=report["images"])
    remove(run.path / "data")
    run.update(done=True, images_seen=state.images_seen)
    run.log("done", images_seen=state.images_seen)


def _steps(config: AutoencoderTraining, spec: AutoencoderSpec, data: JointSet, seed: int, workers: Workers) -> int:
    """Steps of the budget: from `images`, or once from `minutes` and a rate measured on a throw-away network."""
    if config.minutes is None:
        return max(1, math.ceil(config.images / config.batch))
    trial = AutoencoderState(spec, config, data, seed, 1_000_000, workers)
    began = time.monotonic()
    for step in range(MEASURED_STEPS):
        if step == 2:  # the first steps prepare kernels
            began = time.monotonic()
        float(trial.learn(*draw_crops(data, step, config, seed)))
    seconds = (time.monotonic() - began) / (MEASURED_STEPS - 2)
    return max(1, round(config.minutes * 60 / seconds))
