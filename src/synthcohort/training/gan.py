"""The training of a GAN, in one visible loop with guards.

As in `diffusion`, a run is a function of (cohorts, config, seed): step s draws its images, latent numbers and changes
from seeds that name s, and how often training went back; so a checkpoint holds weights, optimizers, the course of the
training, and nothing random. At looks (see gan_guards) drawn images are compared with validation images: an alarm sends
training back to its last good look with gentler settings, a few times, and then ends it with the reason.
"""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch

from synthcohort.core.code import code_identity
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ConfigError, Problem, TrainingError
from synthcohort.core.files import check_writable, remove, write_atomic
from synthcohort.core.progress import progress
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import seed_from
from synthcohort.learning.search import build_index
from synthcohort.models.checkpoint import ImageSpec, ModelSpec, load_tensors, save_model
from synthcohort.models.condition import TextSpec
from synthcohort.models.gan_generator import GanGenerator
from synthcohort.models.gan_spec import KIND, GanSpec
from synthcohort.models.memory import keep_freed_memory
from synthcohort.pages.gan_training import render_gan_training
from synthcohort.pages.grids import sheet
from synthcohort.training.canaries import asked_settings, canary_facts, check_hosts, say_canaries
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.gan_guards import (
    Alarm,
    Look,
    as_fields,
    chosen_look,
    gentler,
    judge,
    may_go_back,
    warnings_of,
)
from synthcohort.training.gan_state import GanState, Measured
from synthcohort.training.gan_watch import GanWatch
from synthcohort.training.joint import (
    Batch,
    ImageType,
    JointSet,
    draw_batch,
    image_specs,
    joint_set,
    label_counts,
    open_types,
    type_guess,
    vocabulary_of,
)
from synthcohort.training.limits import explained
from synthcohort.training.parallel import Workers, joined
from synthcohort.training.watch import Watch

MEASURED_STEPS = 6
MEMORY = "raise gan.accumulate, or lower gan.batch, gan.size or gan.network.channels"
INSTEAD = "or train a diffusion model (--diffusion)"
REMEDIES = {  # what an alarm of each kind asks for
    "divergence": f'lower gan.learning_rate, raise gan.gamma, set gan.precision="float32", {INSTEAD}',
    "collapse": f"raise gan.gamma, lower gan.learning_rate, train for longer, {INSTEAD}",
    "overfitting": f"train on more images, raise gan.gamma, {INSTEAD}",
    "copies": "train on more images or for a shorter time, or raise gan.augment",
}
GOOD = "good"  # folder of the state that training goes back to


def train_gan(cohorts: Sequence[Path], out: Path, config: GanConfig, seed: int = 0) -> dict[str, Any]:
    """Trains on the images with role `train`; goes on where an earlier call with the same arguments stopped.

    Writes run/ as diffusion does: run.json, log.jsonl, training.html, checkpoint/, good/, averages/, model/,
    train_features/, samples.png. Under torchrun all processes train one run together (see parallel).
    Returns {run, images_seen, resumed}, with `stopped` the reason where the guards ended the training early.
    Raises InputError for cohorts that cannot be trained on, ConfigError for sizes that do not fit, ArtifactError when
    `out` holds another run, TrainingError when the guards end it without a usable model, or memory or disk runs out.
    """
    with joined() as workers, explained(Path(out), MEMORY):
        return _train(cohorts, Path(out), config, seed, workers)


def _train(cohorts: Sequence[Path], out: Path, config: GanConfig, seed: int, workers: Workers) -> dict[str, Any]:
    keep_freed_memory()
    workers.check(config.batch)
    check_writable(out)
    types = open_types(cohorts)
    images = _one_size(image_specs(types, config.data), config)
    encoder, text = _text(config)
    vocabulary = vocabulary_of(types, config.data, text)
    check_hosts([kind.train for kind in types], config.canaries)
    asked = {
        "gan": asked_settings(to_mapping(config)),
        "seed": seed,
        "cohorts": [view.digest for kind in types for view in kind.train],
    }
    if workers.main:
        run = RunFolder.open(out, KIND, asked)
    workers.agree(0)
    if not workers.main:
        run = RunFolder.read(out)
    if run.done:
        return _result(run, run.info["images_seen"], resumed=True)
    for turn in (True, False):  # the first process prepares what the others then find
        if workers.main == turn:
            train, held_out = [kind.train for kind in types], [kind.validation for kind in types]
            folder = out / "data"
            balance, canaries = config.label_balance, config.canaries
            data = joint_set(folder / "train", train, images, vocabulary, config.data, encoder, balance, canaries)
            validation = joint_set(folder / "validation", held_out, images, vocabulary, config.data, encoder)
        workers.agree(0)
    spec = GanSpec(config.preset, config.network, images, vocabulary, config.precision)
    if "steps" not in run.info:
        steps = workers.agree(_steps(config, spec, data, seed, workers))
        if workers.main:
            run.update(steps=steps)
        run.info["steps"] = steps
    state = GanState(spec, config, seed, run.info["steps"], workers)
    resumed = state.load(run.path / "checkpoint")
    watch = None
    if workers.main:
        say_canaries(run, train, config.canaries)
        _build_indexes(run, types)
        watch = _watch(run, spec, data, validation, config, seed)
        watch.forget(state.course.step)
        if not (run.path / GOOD / "checkpoint.json").exists():
            state.save(run.path / GOOD)
        run.log("resume" if resumed else "start", step=state.course.step, steps=state.steps, images=len(data))
    workers.agree(0)
    alarm = _loop(run, state, data, validation, watch)
    if watch is not None:
        _finish(run, state, types, watch, alarm, encoder)
    workers.agree(0)
    return _result(run, state.images_spent, resumed)


def _result(run: RunFolder, images_seen: int, resumed: bool) -> dict[str, Any]:
    found = {"run": run.path.as_posix(), "images_seen": images_seen, "resumed": resumed}
    return found | ({"stopped": run.info["stopped"]} if run.info.get("stopped") else {})


def _one_size(images: tuple[ImageSpec, ...], config: GanConfig) -> tuple[ImageSpec, ...]:
    """The image types, all of one size. Raises ConfigError where they are not, or the size cannot be drawn."""
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        found = ", ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise ConfigError(Problem("image types", f"of sizes {found}", "one size", "set gan.size"))
    config.network.check_size(*sizes[0])
    return images


def _text(config: GanConfig) -> tuple[Any, TextSpec | None]:
    """The text encoder that the settings ask for, and what model.json says of it."""
    if config.text is None:
        return None, None
    from synthcohort.models.text import load_text_encoder

    encoder = load_text_encoder(config.text)
    return encoder, TextSpec(config.text, encoder.digest, encoder.width, encoder.length)


def _build_indexes(run: RunFolder, types: Sequence[ImageType]) -> None:
    """The indexes of the training images, which the copy watch and the copy screen of generation search."""
    for k, kind in enumerate(types):
        for number, (view, validation) in enumerate(zip(kind.train, kind.validation, strict=True)):
            folder = run.path / "train_features" / f"{k:02d}" / f"{number:02d}"
            if not (folder / "index.json").exists():  # whole or absent, and of these cohorts: run.json says so
                remove(folder)
                build_index(view, folder, validation=validation)


def _watch(
    run: RunFolder, spec: GanSpec, data: JointSet, validation: JointSet, config: GanConfig, seed: int
) -> GanWatch:
    # of diffusion's watch only the search for copies is used, which reads nothing but the images of a spec
    copies = Watch(
        run.path / "looks", run.path / "train_features", cast(ModelSpec, spec), data, validation, config.data, seed
    )
    return GanWatch(run.path / "looks", copies, spec, data, validation, config.guard_images, seed)


def _batches(state: GanState, data: JointSet) -> list[Batch]:
    """The batches of the next step: one for each update of the discriminator."""
    config, settings = state.config, state.config.data
    first, seed = state.course.step * config.discriminator_steps, state.batch_seed()
    return [draw_batch(data, first + i, config.batch, seed, settings) for i in range(config.discriminator_steps)]


def _held_out(state: GanState, validation: JointSet) -> Batch | None:
    """Some validation images of the next step; None where there are none."""
    if not state.config.adaptive or not len(validation):
        return None
    count = max(state.config.batch // 4, state.workers.count)
    return draw_batch(validation, state.course.step, count, state.batch_seed(), state.config.data)


def _loop(
    run: RunFolder, state: GanState, data: JointSet, validation: JointSet, watch: GanWatch | None
) -> Alarm | None:
    """Until the budget is spent, or an alarm ends it, which is returned; the process with the `watch` writes."""
    config, own = state.config, state.config.images_per_step
    log_steps, save_steps = (max(1, round(n / own)) for n in (config.log_images, config.checkpoint_images))
    look_steps = max(1, math.ceil(state.steps / config.looks))
    if state.course.ended is not None:
        return Alarm(*state.course.ended)
    found: list[Measured] = []
    began, aside = time.monotonic(), 0.0
    bar = progress(state.steps * own, "train GAN", start=state.images_spent) if watch else nullcontext()
    with bar as advance:
        while state.course.spent < state.steps:
            rate, penalty = state.rate, state.penalty
            measured = state.update(_batches(state, data), _held_out(state, validation))
            course, alarm = state.course, None
            last = course.spent == state.steps
            looking = (last or course.step % look_steps == 0) and measured.finite
            if not measured.finite:
                alarm = Alarm("divergence", f"the loss of step {course.step} is not a finite number")
            if looking:
                seconds = time.monotonic()
                alarm = state.workers.agree(_look(run, state, watch) if watch is not None else None)
                aside += time.monotonic() - seconds
            if watch is not None:
                found.append(measured)
                if measured.finite and (last or course.spent % log_steps == 0):
                    _log(run, state, found, rate, penalty, time.monotonic() - began - aside)
                    found, began, aside = [], time.monotonic(), 0.0
                assert advance is not None
                advance(own, **_shown(measured, state))
            if alarm is not None:
                if last or not may_go_back(alarm, course.setbacks, config.rollbacks):
                    state.course.ended = (alarm.kind, alarm.reason)
                    if watch is not None and measured.finite:  # else the last one leads to the same end
                        state.save(run.path / "checkpoint")
                    return alarm
                _go_back(run, state, watch, alarm)
                found = []
            elif looking and watch is not None:
                state.save(run.path / GOOD)
            if watch is not None and (alarm or looking or course.spent % save_steps == 0):
                state.save(run.path / "checkpoint")
            if watch is not None and (alarm or looking or course.spent % log_steps == 0):
                write_page(run, config)
    return None


def _shown(measured: Measured, state: GanState) -> dict[str, str]:
    shown = {"gap": f"{measured.gap:.2f}"}
    return shown | ({"augment": f"{state.course.probability:.2f}"} if state.config.adaptive else {})


def _log(
    run: RunFolder, state: GanState, found: Sequence[Measured], rate: float, penalty: float, seconds: float
) -> None:
    """A line of progress: means since the last one."""

    def mean(name: str) -> float:
        return sum(getattr(one, name) for one in found) / len(found)

    run.log(
        "progress",
        step=state.course.step,
        images_seen=state.images_spent,
        discriminator_loss=mean("discriminator"),
        generator_loss=mean("generator"),
        penalty=mean("penalty"),
        score_gap=mean("gap"),
        signs=mean("signs"),
        by_heart=state.course.by_heart,
        augment=state.course.probability,
        learning_rate=rate,
        gamma=penalty,
        images_per_second=len(found) * state.config.images_per_step / seconds if seconds > 0 else None,
    )


def _look(run: RunFolder, state: GanState, watch: GanWatch) -> Alarm | None:
    """A look: the average stored, samples compared, copies searched, warnings said; returns what it alarms of."""
    began, step = time.monotonic(), state.course.step
    state.averages.store(run.path / "averages", step)
    look, drawn = watch.look(state.average, state.generator, state.discriminator, step, state.images_spent)
    if drawn is not None:
        write_atomic(run.path / "samples.png", drawn)
    control, looks = watch.copies.control, watch.looks
    said = warnings_of(looks, control)
    for text in said:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    run.log(
        "look",
        **as_fields(look),
        against=watch.against,
        control={"images": control.images, "above": control.above, "upper": control.upper},
        warnings=said,
        seconds=time.monotonic() - began,
    )
    return judge(looks, state.course.spent / state.steps, control)


def _go_back(run: RunFolder, state: GanState, watch: GanWatch | None, alarm: Alarm) -> None:
    """To the state of the last good look, with gentler settings; what was done since still counts as spent."""
    before = state.course
    state.load(run.path / GOOD)
    state.course.spent, state.course.setbacks = before.spent, before.setbacks
    state.course.pace, state.course.firm = before.pace, before.firm
    state.course, changed = gentler(state.course, alarm)
    state.workers.agree(0)  # all have read it before it is written again
    if watch is None:
        return
    watch.forget(state.course.step)
    for path in (run.path / "averages").glob("*.safetensors"):
        if int(path.stem) > state.course.step:
            path.unlink()
    text = (
        f"{alarm.kind}: {alarm.reason}; back to {state.images_seen:,} images, "
        f"{state.course.setbacks} of at most {state.config.rollbacks} times: {changed}"
    )
    print(f"warning: {text}", file=sys.stderr, flush=True)
    run.log("rollback", kind=alarm.kind, reason=alarm.reason, from_step=before.step, changed=changed, text=text,
            **vars(state.course))  # fmt: skip


def _finish(
    run: RunFolder, state: GanState, types: Sequence[ImageType], watch: GanWatch, alarm: Alarm | None, encoder: Any
) -> None:
    """The model of the chosen look, and its sheet; then the pixels made for training are removed.

    Raises TrainingError when no look gives a usable model.
    """
    chosen = chosen_look(watch.looks, watch.copies.control, alarm is not None)
    if alarm is not None:
        run.log("stop", kind=alarm.kind, reason=alarm.reason, chosen_step=chosen.step if chosen else None)
    if chosen is None or not (run.path / "averages" / f"{chosen.step:09d}.safetensors").exists():
        reason = alarm.reason if alarm else "drawn images have collapsed, or are copies, at every look"
        write_page(run, state.config)
        remedy = REMEDIES[alarm.kind if alarm else "collapse"]
        raise TrainingError(Problem("training of the GAN", f"ended without a usable model: {reason}", remedy=remedy))
    if alarm is not None:
        print(f"warning: training ended early: {alarm.reason}", file=sys.stderr, flush=True)
    state.average.load_state_dict(state.average.state_dict() | _averaged(run, state, chosen))
    control = watch.copies.control
    facts = {
        "images_seen": chosen.images_seen,
        "steps": state.steps,
        "seed": state.seed,
        "training_images": sum(kind.count for kind in types),
        "label_counts": label_counts(types, state.spec.vocabulary),
        "cohorts": run.info["config"]["cohorts"],
        "code": code_identity(),
        "chosen": {
            **as_fields(chosen),
            "looks": len(watch.looks),
            "against": watch.against,
            "average": state.config.average,
            "setbacks": state.course.setbacks,
            "copying": chosen.copying(control),
            "control": {"images": control.images, "above": control.above, "upper": control.upper},
        },
        "stopped": alarm.reason if alarm else None,
        "type_guess": type_guess(types, encoder) if encoder is not None and len(types) > 1 else None,
        **canary_facts(run),
    }
    # model.json is written from what the spec says of itself
    save_model(run.path / "model", cast(ModelSpec, state.spec), state.average.state_dict(), facts)
    write_atomic(run.path / "samples.png", gan_sheet(GanGenerator(state.average, state.spec), state.seed))
    remove(run.path / "data")
    remove(run.path / GOOD)
    run.update(done=True, images_seen=state.images_spent, stopped=facts["stopped"])
    run.log("done", images_seen=state.images_spent, chosen_step=chosen.step)
    write_page(run, state.config)


def _averaged(run: RunFolder, state: GanState, look: Look) -> dict[str, torch.Tensor]:
    """The average of a look: as it is tracked where training stands there, else as it was stored."""
    width = state.config.average
    if look.step == state.course.step:
        return {name: value.clone() for name, value in state.averages.of[width].items()}
    stored = load_tensors(run.path / "averages" / f"{look.step:09d}.safetensors")
    return {name.removeprefix(f"{width}/"): value.float() for name, value in stored.items()}


def gan_sheet(generator: GanGenerator, seed: int, per_class: int = 8) -> bytes:
    """A PNG of model samples: one row per image type, or value of the first label; two rows where there is none."""
    columns = [column for column in generator.spec.vocabulary.columns if column.label.values]
    columns.sort(key=lambda column: ("type", "label", "attribute").index(column.role))
    first = columns[0].label if columns else None
    values = first.values[:8] if first is not None else ()
    conditions: list[dict[str, Any]] = [{first.name: v} for v in values for _ in range(per_class)] if first else []
    conditions = conditions or [{} for _ in range(2 * per_class)]
    seeds = [seed_from("sample sheet", seed, i) for i in range(len(conditions))]
    return sheet(list(generator.draw(conditions, seeds)), columns=per_class)


def write_page(run: RunFolder, config: GanConfig) -> None:
    """The page of the training, training.html, as the log has it now."""
    picture = run.path / "samples.png"
    samples = picture.read_bytes() if picture.exists() else None
    page = render_gan_training(run.path.name, run.info, run.read_log(), samples, config.images_per_step)
    write_atomic(run.path / "training.html", page)


def _steps(config: GanConfig, spec: GanSpec, data: JointSet, seed: int, workers: Workers) -> int:
    """Steps of the budget: from `images`, or once from `minutes` and a rate measured on throw-away networks."""
    if config.minutes is None:
        return max(1, math.ceil(config.images / config.images_per_step))
    trial = GanState(spec, config, seed, 1_000_000, workers)
    trial.course.probability = 0.3  # changed images take longer
    began = time.monotonic()
    for step in range(MEASURED_STEPS):
        if step == 2:  # the first steps prepare kernels
            began = time.monotonic()
        trial.update(_batches(trial, data), _held_out(trial, data))
    seconds = (time.monotonic() - began) / (MEASURED_STEPS - 2)
    return max(1, round(config.minutes * 60 / seconds))
