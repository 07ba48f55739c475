"""What a study would take on this machine: a few real steps are timed, the rest is arithmetic. Nothing is written."""

import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthcohort.core.errors import InputError, Problem
from synthcohort.core.progress import duration
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.ingest import ingest
from synthcohort.learning.fit import FitConfig, fit_classifier
from synthcohort.models.checkpoint import ImageSpec, ModelSpec
from synthcohort.models.condition import TextSpec, Vocabulary
from synthcohort.models.generator import BATCH, Generator
from synthcohort.pipeline.config import StudyConfig
from synthcohort.pipeline.run import limit_threads
from synthcohort.training.auto import images_per_second
from synthcohort.training.diffusion import TrainingState
from synthcohort.training.latent_space import latent_space

PACKAGED_IMAGES_PER_SECOND = 45.0  # per core, 224 px (docs/experiments); not timed here, since loading it takes longer
SECONDS_PER_FILE = 0.002  # decoding and writing (docs/experiments)
PER_GAN_IMAGE = 0.001  # seconds: one pass (docs/experiments)
ASSUMED_SIZE = 128  # when images keep their own sizes
TEXT_WIDTH, TEXT_LENGTH = 384, 64  # of the packaged text encoder
FIXED_MEMORY_MIB = 400  # tables, plots and libraries beyond what the timed steps load


def forecast(study: StudyConfig, source: Path | None) -> dict[str, Any]:
    """Returns {images, split, refused, threads, seconds (per stage), seconds_total, time, disk_mib, memory_mib}.

    Raises InputError when there is no source or nothing in it can be read.
    """
    if source is None:
        raise InputError(Problem("source", "none given", remedy="give --source DIR, or study.source in the study file"))
    limit_threads(study.study.threads)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        plan = ingest(source, Path(folder) / "cohort", study.ingest, study.study.seed, dry_run=True)
        scan = time.monotonic() - began
    counts = {role: part["images"] for role, part in plan["roles"].items()}
    asked = study.ingest.size
    own = study.gan.size if study.study.generator == "gan" else study.train.size
    rows, columns = _sides(own or asked or ASSUMED_SIZE)
    images, drawn = sum(counts.values()), study.study.count
    channels = 3 if plan["bytes"] == images * rows * columns * 3 else 1
    train, draw, fit = _measure(study, (rows, columns), channels)
    evaluated, cores = study.evaluate, torch.get_num_threads()
    fits = evaluated.grader.steps + _fit_steps(evaluated)
    packaged = 0.0
    if "packaged" in evaluated.encoders:
        packaged = (counts.get("train", 0) + counts.get("test", 0) + drawn) / PACKAGED_IMAGES_PER_SECOND / cores
    stages = {
        "ingest": scan + images * SECONDS_PER_FILE,
        "train": _train_seconds(study, train, (rows, columns), channels),
        "generate": drawn * (PER_GAN_IMAGE if study.study.generator == "gan" else draw),
        "evaluate": fits * fit + packaged + 30,
        "release": 5 + drawn * 0.02,
    }
    pixels_mib = images * rows * columns * channels * 2 / 2**20
    return {
        "images": images,
        "split": counts,
        "refused": plan["refused"],
        "threads": cores,
        "seconds": {name: round(value, 1) for name, value in stages.items()},
        "seconds_total": round(sum(stages.values()), 1),
        "time": duration(sum(stages.values())),
        "disk_mib": round(2 * pixels_mib + drawn * rows * columns * channels * 6 / 2**20 + 200),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + FIXED_MEMORY_MIB,
    }


def _train_seconds(study: StudyConfig, per_image: float, size: tuple[int, int], channels: int) -> float:
    """Of training: its minutes, or its images times the seconds of one, measured for diffusion and known for GANs."""
    if study.study.generator == "auto":
        return study.study.minutes * 60
    config = study.gan if study.study.generator == "gan" else study.train
    if config.minutes:
        return config.minutes * 60
    if study.study.generator == "gan":
        rate = images_per_second("gan", size, channels, torch.get_num_threads(), torch.cuda.is_available())
        return config.images / rate
    return config.images * per_image


def _fit_steps(config: EvaluateConfig) -> float:
    """Steps of the classifiers of usefulness and harm, and of the network that tells patients apart."""
    use = config.utility
    arms = 0.0
    if "harm" in config.parts:  # on real, synthetic and both; the fourth arm takes half as long again
        arms = 4.5 * sum(learner != "probe" for learner in config.harm.learners)
    if "utility" in config.parts and not ("harm" in config.parts and "residual" in config.harm.learners):
        arms += 2
    apart = config.reidentification.steps if "reidentification" in config.parts else 0
    return arms * use.seeds * use.steps + apart


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _measure(study: StudyConfig, size: tuple[int, int], channels: int) -> tuple[float, float, float]:
    """Seconds per training image, per drawn image, and per step of a classifier, timed on noise."""
    train = study.train
    text = TextSpec("", "", TEXT_WIDTH, TEXT_LENGTH) if train.text else None
    image = ImageSpec(*size, channels, "uint8", 0, 255)
    space = latent_space(train, None, None)
    autoencoder, latent = (space.autoencoder, space.spec) if space else (None, None)
    vocabulary = Vocabulary((), text, bool(train.augment))
    spec = ModelSpec(train.denoiser, (image,), vocabulary, 0.5, train.precision, latent)
    state = TrainingState(spec, train, 0, 1000)
    batch = torch.rand(train.batch, spec.channels, *spec.grid(size)) * 2 - 1
    generator = torch.Generator().manual_seed(0)
    per_image = _timed(lambda: state.update(batch, spec.vocabulary.null(train.batch), generator), 2, 4) / train.batch
    sampling = study.generate.sampling
    short = replace(sampling, steps=max(2, sampling.steps // 4))
    drawer = Generator(state.average, spec, short, autoencoder=autoencoder)
    seconds = _timed(lambda: list(drawer.draw([{}] * BATCH, list(range(BATCH)))), 1, 1)
    per_draw = seconds / BATCH * sampling.steps / short.steps
    noise = rng("forecast").integers(
        0, 255, (256, *size, 3) if channels == 3 else (256, *size), dtype=np.uint8
    )
    labels = np.arange(256) % 4

    def fit(steps: int) -> float:
        began = time.monotonic()
        fit_classifier(noise, labels, 4, FitConfig(steps=steps, batch=study.evaluate.utility.batch), 0)
        return time.monotonic() - began

    fit(2)
    return per_image, per_draw, max(1e-4, (fit(12) - fit(2)) / 10)


def _timed(work: Callable[[], object], warm: int, count: int) -> float:
    """Seconds per call."""
    for _ in range(warm):
        work()
    began = time.monotonic()
    for _ in range(count):
        work()
    return (time.monotonic() - began) / count
