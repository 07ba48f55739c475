"""The training of a diffusion model, in one visible loop.

A run of S steps is a function of (cohorts, config, seed): step s draws its images, noise levels and noise from seeds
that name s, so a checkpoint holds weights, their averages, the optimizer, the number of steps done and nothing random.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synthcohort.core.code import code_identity
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import Problem, TrainingError
from synthcohort.core.files import check_writable, digest_json, remove, write_atomic
from synthcohort.core.progress import progress
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import seed_from
from synthcohort.learning.search import build_index
from synthcohort.models.checkpoint import ImageSpec, LatentSpec, ModelSpec, load_model, save_model
from synthcohort.models.condition import TextSpec
from synthcohort.models.memory import keep_freed_memory
from synthcohort.models.transfer import start_weights
from synthcohort.pages.training import render_training
from synthcohort.training.canaries import asked_settings, canary_facts, check_hosts, say_canaries
from synthcohort.training.config import TrainConfig
from synthcohort.training.ema import TRACKED, stored_average
from synthcohort.training.joint import (
    ImageType,
    JointSet,
    captions_of,
    draw_batch,
    image_specs,
    joint_set,
    label_counts,
    open_types,
    type_guess,
    vocabulary_of,
)
from synthcohort.training.latent_space import LatentSpace, latent_space
from synthcohort.training.limits import explained
from synthcohort.training.parallel import Workers, joined
from synthcohort.training.shadow import refuse_shadow_start, say_shadow, shadow_facts, shadow_types
from synthcohort.training.state import TrainingState, rate_factor
from synthcohort.training.watch import (
    Watch,
    WatchPoint,
    best_width,
    chosen_point,
    copying,
    sample_sheet,
    warnings_of,
    watch_steps,
)

if TYPE_CHECKING:
    from synthcohort.models.text import TextEncoder

__all__ = ["TrainingState", "rate_factor", "train"]

MEASURED_STEPS = 6
MEMORY = "raise train.accumulate, or lower train.batch, train.size or train.network.channels"
WIDTHS = (0.05, 0.075, 0.10, 0.13, 0.16)  # relative widths that average = "auto" chooses from
LARGEST_ERROR = 0.1  # of a combination of stored averages that may still be chosen


def train(
    cohorts: Sequence[Path], out: Path, config: TrainConfig, seed: int = 0, start: Path | None = None
) -> dict[str, Any]:
    """Trains on the images with role `train`; goes on where an earlier call with the same arguments stopped.

    A shadow (`train.shadow`) trains on other images, see training.shadow, and writes shadow.json.
    `start` is a finished run whose weights the training begins with. The same call on a finished run with another
    `train.average` makes its model anew. Under torchrun all processes train one run together (see parallel).
    Writes run/ (see ARCHITECTURE): run.json, log.jsonl, training.html, checkpoint/, averages/, model/, train_features/,
    samples.png; in latent space, what is lost stands in run.json, and model/ holds the autoencoder.
    Returns {run, images_seen, resumed}.
    Raises InputError for cohorts that cannot be trained on, ArtifactError when `out` holds another run, TrainingError
    when the loss is not finite, or memory or disk runs out.
    """
    with joined() as workers, explained(Path(out), MEMORY):
        return _train(cohorts, Path(out), config, seed, start, workers)


def _train(
    cohorts: Sequence[Path], out: Path, config: TrainConfig, seed: int, start: Path | None, workers: Workers
) -> dict[str, Any]:
    keep_freed_memory()
    workers.check(config.batch)
    check_writable(out)
    types = open_types(cohorts)
    if config.shadow is not None:
        types = shadow_types(types, config.shadow)
    parent = load_model(start / "model") if start is not None else None
    refuse_shadow_start(start, parent[2]["facts"] if parent else {})
    space = latent_space(config, start, parent[1].latent if parent else None)
    latent = space.spec if space else None
    images = image_specs(types, config, latent)
    encoder, text = _text(config)
    vocabulary = vocabulary_of(types, config, text)
    if space is not None:
        space.check(images)
    check_hosts([kind.train for kind in types], config.canaries)
    # every error a setting or a cohort can cause has been raised by now: nothing half-made is left behind
    asked = _asked(types, config, seed, parent[2] if parent else None, latent)
    if workers.main:
        run = RunFolder.open(out, "diffusion", asked)
    workers.agree(0)
    if not workers.main:
        run = RunFolder.read(out)
    if run.done and run.info.get("average") == config.average:
        return {"run": out.as_posix(), "images_seen": run.info["images_seen"], "resumed": True}
    for turn in (True, False):  # the first process prepares what the others then find
        if workers.main == turn:
            views = [kind.train for kind in types]
            balance, canaries = config.label_balance, config.canaries
            data = joint_set(out / "data" / "train", views, images, vocabulary, config, encoder, balance, canaries)
            watched = [kind.validation for kind in types]
            validation = joint_set(out / "data" / "validation", watched, images, vocabulary, config, encoder)
            pixels = validation
            if space is not None:
                data = space.sets(out / "data" / "train-latents", data, workers.device, config.flip)
                validation = space.sets(out / "data" / "validation-latents", validation, workers.device, mirrored=False)
        workers.agree(0)
    spec = ModelSpec(config.denoiser, images, vocabulary, data.std(), config.precision, latent)
    weights = None
    if parent is not None:
        spec = replace(spec, sigma_data=parent[1].sigma_data)  # what its weights were trained with
        weights = start_weights(parent[0].state_dict(), parent[1], spec, seed_from("start", seed))
    if workers.main:
        say_canaries(run, views, config.canaries, parent[2]["facts"].get("canaries") if parent is not None else None)
        say_shadow(run, types, config.shadow)
        _prepare(run, types, images, space, pixels, encoder)
    if "steps" not in run.info:
        steps = workers.agree(_steps(config, spec, data, seed, workers))
        if workers.main:
            run.update(steps=steps)
        run.info["steps"] = steps
    state = TrainingState(spec, config, seed, run.info["steps"], workers, weights)
    resumed = state.load(run.path / "checkpoint")
    watch = None
    if workers.main:
        decoder = space.autoencoder if space else None
        watch = Watch(run.path / "averages", run.path / "train_features", spec, data, validation, config, seed, decoder)
    if workers.main and not run.done:
        run.log("resume" if resumed else "start", step=state.step, steps=state.steps, images=len(data))
    _loop(run, state, data, watch)
    if watch is not None:
        if space is not None:
            space.keep(run.path / "model")
        _finish(run, state, types, watch, encoder)
    workers.agree(0)
    return {"run": out.as_posix(), "images_seen": state.images_seen, "resumed": resumed}


def _text(config: TrainConfig) -> tuple[Any, TextSpec | None]:
    """The text encoder that the settings ask for, and what model.json says of it."""
    if config.text is None:
        return None, None
    from synthcohort.models.text import load_text_encoder

    encoder = load_text_encoder(config.text)
    return encoder, TextSpec(config.text, encoder.digest, encoder.width, encoder.length)


def _asked(
    types: Sequence[ImageType],
    config: TrainConfig,
    seed: int,
    parent: Mapping[str, Any] | None,
    latent: LatentSpec | None,
) -> dict[str, Any]:
    """What makes a run this run and no other; the average is chosen afterwards."""
    settings = {name: value for name, value in asked_settings(to_mapping(config)).items() if name != "average"}
    settings["latent"] = latent.digest if latent else None  # which one it is, wherever it lies
    asked = {"train": settings, "seed": seed, "cohorts": [view.digest for kind in types for view in kind.train]}
    return asked | ({"start": digest_json(parent)} if parent else {})


def _prepare(
    run: RunFolder,
    types: Sequence[ImageType],
    images: tuple[ImageSpec, ...],
    space: LatentSpace | None,
    pixels: JointSet,
    encoder: "TextEncoder | None",
) -> None:
    """What the first process finds out before the first step: long captions, what latents lose, the indexes.

    `pixels` are the validation images. The indexes of the training images are what the copy watch and the copy screen
    of generation search.
    """
    if encoder is not None and (cut := encoder.cut(captions_of(types), "captions")) is not None:
        print(f"warning: {cut}", file=sys.stderr, flush=True)
    if space is not None and "reconstruction" not in run.info:
        run.update(reconstruction=space.reconstruction(run.path, images, pixels, types))
    for k, kind in enumerate(types):
        for number, (view, validation) in enumerate(zip(kind.train, kind.validation, strict=True)):
            folder = run.path / "train_features" / f"{k:02d}" / f"{number:02d}"
            if not (folder / "index.json").exists():  # whole or absent, and of these cohorts: run.json says so
                remove(folder)
                build_index(view, folder, validation=validation)


def _loop(run: RunFolder, state: TrainingState, data: JointSet, watch: Watch | None) -> None:
    """From the step the state stands at to the last; the process with the `watch` logs, saves and watches."""
    config = state.config
    log_steps, save_steps = (max(1, round(n / config.batch)) for n in (config.log_images, config.checkpoint_images))
    looks = set(watch_steps(config, state.steps, len(data.groups)))
    total, since, began, aside = 0.0, 0, time.monotonic(), 0.0
    state.denoiser.train()
    bar = progress(state.steps * config.batch, "train", start=state.images_seen) if watch else nullcontext()
    with bar as advance:
        while state.step < state.steps:
            rate = state.rate
            batch = draw_batch(data, state.step, config.batch, state.seed, config)
            loss = float(state.update(batch.images, batch.condition, batch.generator))
            if not math.isfinite(loss):
                raise TrainingError(
                    Problem(
                        f"training step {state.step}",
                        "the loss is not a finite number",
                        remedy="lower train.learning_rate and train.muon_rate, or set train.clip=1.0 or "
                        "train.precision=float32, and start a new run",
                    )
                )
            if watch is None:
                continue
            total, since = total + loss, since + 1
            last = state.step == state.steps
            if last or state.step % log_steps == 0:
                seconds = time.monotonic() - began - aside
                run.log(
                    "progress",
                    step=state.step,
                    images_seen=state.images_seen,
                    loss=total / since,
                    learning_rate=rate,
                    images_per_second=since * config.batch / seconds if seconds > 0 else None,
                )
                total, since, began, aside = 0.0, 0, time.monotonic(), 0.0
            if state.step in looks:
                aside += _look(run, state, watch)
            if last or state.step % log_steps == 0 or state.step in looks:
                write_page(run, config)
            if last or state.step % save_steps == 0 or state.step in looks:
                state.save(run.path / "checkpoint")
            assert advance is not None
            advance(config.batch, loss=f"{loss:.3f}")


def _look(run: RunFolder, state: TrainingState, watch: Watch) -> float:
    """A watch point: averages stored, losses and copies measured, warnings said; returns the seconds it took."""
    began = time.monotonic()
    state.averages.store(run.path / "averages", state.step)
    point, drawn = watch.look(state.average, state.step)
    if drawn is not None:
        write_atomic(run.path / "samples.png", drawn)
    said = warnings_of([p for p in watch.points if p.step <= state.step], watch.control)
    for text in said:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    run.log(
        "watch",
        step=point.step,
        images_seen=point.images_seen,
        training_loss=point.training,
        validation_loss=point.validation,
        training_loss_by_sigma=dict(point.training_loss),
        validation_loss_by_sigma=dict(point.validation_loss),
        gap=point.gap,
        drawn=point.drawn,
        copies=point.copies,
        largest_similarity=point.largest,
        control={"images": watch.control.images, "above": watch.control.above, "upper": watch.control.upper},
        warnings=said,
        seconds=seconds,
    )
    return seconds


def _finish(
    run: RunFolder, state: TrainingState, types: Sequence[ImageType], watch: Watch, encoder: "TextEncoder | None"
) -> None:
    """The model of the chosen point and average, and its sheet; then the pixels made for training are removed."""
    points = [
        point for point in watch.points if point.step in watch_steps(state.config, state.steps, len(watch.train.groups))
    ]
    point = chosen_point(points, watch.control)
    width, losses = _width(run, state, watch, point)
    weights, error = _averaged(run, state, point.step, width)
    if error > LARGEST_ERROR:
        text = f"average {width} is met to {error:.0%} only, from {len(points)} watch points; nearer: 0.05 or 0.1"
        print(f"warning: {text}", file=sys.stderr, flush=True)
    state.average.load_state_dict(state.average.state_dict() | weights)
    facts = {
        "images_seen": point.images_seen,
        "steps": state.steps,
        "seed": state.seed,
        "training_images": sum(kind.count for kind in types),
        "label_counts": label_counts(types, state.spec.vocabulary),
        "cohorts": run.info["config"]["cohorts"],
        "code": code_identity(),
        "chosen": _chosen(points, point, watch, width, error, losses),
        "started_from": run.info["config"].get("start"),
        "type_guess": type_guess(types, encoder) if encoder is not None and len(types) > 1 else None,
        **canary_facts(run),
        **shadow_facts(run),
    }
    save_model(run.path / "model", state.spec, state.average.state_dict(), facts)
    write_atomic(run.path / "samples.png", sample_sheet(state.average, state.spec, state.seed, 8, watch.autoencoder))
    remove(run.path / "data")
    run.update(done=True, images_seen=state.images_seen, average=state.config.average)
    run.log("done", images_seen=state.images_seen, chosen_step=point.step, average=width)
    write_page(run, state.config)


def write_page(run: RunFolder, config: TrainConfig) -> None:
    """The page of the training, training.html, as the log has it now."""
    sheet = run.path / "samples.png"
    samples = sheet.read_bytes() if sheet.exists() else None
    page = render_training(run.path.name, run.info, run.read_log(), samples, config.batch)
    write_atomic(run.path / "training.html", page)


def _averaged(run: RunFolder, state: TrainingState, step: int, width: float) -> tuple[dict[str, Tensor], float]:
    """The average of a width at a watch point: as it is tracked, or made of those that were stored."""
    if step == state.step and width in TRACKED:
        return {name: value.clone() for name, value in state.averages.of[width].items()}, 0.0
    return stored_average(run.path / "averages", step, width)


def _width(run: RunFolder, state: TrainingState, watch: Watch, point: WatchPoint) -> tuple[float, dict[str, float]]:
    """The width that the settings name, or the one with the lowest validation loss, and the losses of those tried."""
    if state.config.average != "auto":
        return float(state.config.average), {}
    trial = state.spec.build().eval().requires_grad_(False).to(state.workers.device)

    def loss(width: float) -> float | None:
        weights, error = _averaged(run, state, point.step, width)
        if error > LARGEST_ERROR:
            return None
        trial.load_state_dict(trial.state_dict() | weights)
        found = watch.losses(trial)[1]
        return sum(found.values()) / len(found) if found else None

    with torch.random.fork_rng():
        return best_width(loss, WIDTHS)


def _chosen(
    points: Sequence[WatchPoint], point: WatchPoint, watch: Watch, width: float, error: float, losses: dict[str, float]
) -> dict[str, Any]:
    """What model.json says of the choice of step and average."""
    return {
        "step": point.step,
        "watch_points": len(points),
        "average": width,
        "average_error": round(error, 4),
        "average_losses": losses,
        "training_loss": point.training,
        "validation_loss": point.validation,
        "copies": point.copies,
        "drawn": point.drawn,
        "copying": copying(point, watch.control),
        "control": {"images": watch.control.images, "above": watch.control.above, "upper": watch.control.upper},
    }


def _steps(config: TrainConfig, spec: ModelSpec, data: JointSet, seed: int, workers: Workers) -> int:
    """Steps of the budget: from `images`, or once from `minutes` and a rate measured on a throw-away network."""
    if config.minutes is None:
        return max(1, math.ceil(config.images / config.batch))
    trial = TrainingState(spec, config, seed, 1_000_000, workers)
    began = time.monotonic()
    for step in range(MEASURED_STEPS):
        if step == 2:  # the first steps prepare kernels
            began = time.monotonic()
        batch = draw_batch(data, step, config.batch, seed, config)
        float(trial.update(batch.images, batch.condition, batch.generator))
    seconds = (time.monotonic() - began) / (MEASURED_STEPS - 2)
    return max(1, round(config.minutes * 60 / seconds))
