"""Which generator to train, at which size and for how long: a recommendation with its reasons, which can be overruled.

A pure function of the data's size and the machine. Its rates are rough on purpose: they choose an engine and a size;
how many images a run of so many minutes really sees is measured when it begins.
"""

from dataclasses import dataclass
from typing import Literal

from synthcohort.core.errors import ConfigError, InputError, Problem

Engine = Literal["diffusion", "gan"]

SIZES = (32, 48, 64, 96, 128, 192, 256, 384, 512)
LEAST = 64  # smaller images are not recommended, unless the cohort's own are
# Training images a second on one core, for gray images of 64 x 64 pixels, and how much faster one GPU is than a core.
# docs/experiments/2026-11-25-generators.md (diffusion, 47 alone on a core); docs/experiments/2026-11-25-gan.md (GAN).
# The GPU's factor is a cautious guess, not a measurement.
RATES: dict[Engine, float] = {"diffusion": 40.0, "gan": 35.0}
GPU = 60.0
SECOND_CORE = 0.85  # what each further core adds, up to MOST_CORES
MOST_CORES = 8
# Images that a training must see before its images are worth looking at, and beyond which they gain little, at 64 px;
# larger images need more in proportion to their side.
ENOUGH: dict[Engine, int] = {"diffusion": 20_000, "gan": 40_000}
PLENTY: dict[Engine, int] = {"diffusion": 400_000, "gan": 1_000_000}
FEW = 1_000  # training images below which a diffusion model soon learns them by heart
PASSES: dict[Engine, int] = {"diffusion": 150, "gan": 1_000}  # over the training images, at most
FEWEST = 100  # training images that anything can be learned from


@dataclass(frozen=True)
class Recommendation:
    """An engine, the images' size (rows, columns) and the budget in images and minutes, with the reasons in words.

    capped   whether far fewer images are wanted than the minutes allow: then images are the budget, not minutes
    """

    engine: Engine
    size: tuple[int, int]
    images: int
    minutes: float
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    capped: bool = False


def choose(
    *,
    images: int,
    channels: int,
    size: tuple[int, int],
    minutes: float,
    cores: int = 1,
    cuda: bool = False,
    engine: Engine | None = None,
    wanted: tuple[int, int] | None = None,
) -> Recommendation:
    """The recommendation for so many training images of this size, and so many minutes on this machine.

    `engine` and `wanted` (rows, columns) overrule a part of it; the rest is chosen around them.
    Raises ConfigError for minutes, cores or channels that make no sense, InputError for too few images.
    """
    _check(images, channels, size, minutes, cores)
    rates = {name: _rate(name, channels, cores, cuda) for name in RATES}
    reasons: list[str] = []
    warnings: list[str] = []
    machine = "one GPU" if cuda else f"{cores} core{'s' if cores > 1 else ''}"
    chosen = engine or _engine(images, minutes, rates, machine, size, reasons)
    if engine:
        reasons.append(f"{NAMES[engine]}: as asked")
    target = wanted or _size(chosen, size, minutes, rates[chosen], machine, reasons)
    if wanted:
        reasons.append(f"{wanted[0]} x {wanted[1]} pixels: as asked")
    affordable = _affordable(target, minutes, rates[chosen])
    most = min(round(PLENTY[chosen] * _side(target)), PASSES[chosen] * images)
    budget = max(1, min(affordable, most))
    if budget < affordable:
        why = (
            f"{PASSES[chosen]} passes over {images:,} images, after which they are learned by heart"
            if PASSES[chosen] * images < round(PLENTY[chosen] * _side(target))
            else "beyond which little is gained"
        )
        reasons.append(f"{budget:,} images, less than the {affordable:,} that {minutes:g} minutes allow: {why}")
    else:
        reasons.append(f"about {budget:,} images in {minutes:g} minutes on {machine}")
    need = round(ENOUGH[chosen] * _side(target))
    if budget < need:
        warnings.append(f"a {NAMES[chosen]} needs about {need:,} images of this size to begin to look right")
    if images < FEW:
        warnings.append(f"{images:,} training images are few: the copy screen will be needed, and may refuse")
    used = minutes * budget / affordable if affordable else minutes
    capped = budget < affordable / 2
    return Recommendation(chosen, target, budget, round(used, 1), tuple(reasons), tuple(warnings), capped)


def _check(images: int, channels: int, size: tuple[int, int], minutes: float, cores: int) -> None:
    checks = [
        ("minutes", minutes > 0, minutes, "more than 0"),
        ("cores", cores >= 1, cores, "1 or more"),
        ("channels", channels in (1, 3), channels, "1 or 3"),
        ("size", min(size) >= 8, size, "8 pixels or more"),
    ]
    problems = [
        Problem(f"train --auto: {name}", repr(found), allowed) for name, good, found, allowed in checks if not good
    ]
    if problems:
        raise ConfigError(*problems)
    if images < FEWEST:
        found = f"{images} with the role 'train'"
        raise InputError(Problem("training images", found, f"{FEWEST} or more", "ingest more, or train without --auto"))


def _engine(
    images: int, minutes: float, rates: dict[Engine, float], machine: str, size: tuple[int, int], reasons: list[str]
) -> Engine:
    """A diffusion model, but for few images or little time."""
    if images < FEW:
        reasons.append(
            f"GAN: with {images:,} training images it memorizes less than a diffusion model (from {FEW:,} on)"
        )
        return "gan"
    smallest = _fitted(size, min(64, max(size)))
    affordable = _affordable(smallest, minutes, rates["diffusion"])
    need = round(ENOUGH["diffusion"] * _side(smallest))
    if affordable < need and _affordable(smallest, minutes, rates["gan"]) >= round(ENOUGH["gan"] * _side(smallest)):
        reasons.append(
            f"GAN: {minutes:g} minutes on {machine} give a diffusion model {affordable:,} images, and it needs {need:,}"
        )
        return "gan"
    if affordable >= need:
        reasons.append(
            f"diffusion model: {images:,} training images and {minutes:g} minutes on {machine} are enough for it"
        )
    else:
        reasons.append(f"diffusion model: {minutes:g} minutes on {machine} are little for either, and it learns faster")
    return "diffusion"


def _size(
    engine: Engine, size: tuple[int, int], minutes: float, rate: float, machine: str, reasons: list[str]
) -> tuple[int, int]:
    """The largest size, up to the images' own, at which the minutes give twice what is enough; else LEAST."""
    own = max([SIZES[0], *(side for side in SIZES if side <= max(size))])
    least = _fitted(size, min(own, LEAST))
    for side in reversed([s for s in SIZES if min(own, LEAST) <= s <= own]):
        fitted = _fitted(size, side)
        if _affordable(fitted, minutes, rate) >= 2 * ENOUGH[engine] * _side(fitted):
            why = "nearly the images' own size" if side == own else f"the largest that the time on {machine} allows"
            reasons.append(f"{fitted[0]} x {fitted[1]} pixels: {why}")
            return fitted
    reasons.append(f"{least[0]} x {least[1]} pixels: the time on {machine} is short even for these")
    return least


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The same aspect ratio with this longer side, both in multiples of 8, which every network takes."""
    scale = side / max(size)
    rows, columns = (max(8, round(length * scale / 8) * 8) for length in size)
    return rows, columns


def _rate(engine: Engine, channels: int, cores: int, cuda: bool) -> float:
    """Images of 64 x 64 pixels a second."""
    parallel = GPU if cuda else 1 + SECOND_CORE * (min(cores, MOST_CORES) - 1)
    return RATES[engine] * parallel * (1.0 if channels == 1 else 0.9)


def images_per_second(engine: Engine, size: tuple[int, int], channels: int, cores: int, cuda: bool) -> float:
    """The rough rate of training at a size (rows, columns)."""
    return _rate(engine, channels, cores, cuda) * 64 * 64 / (size[0] * size[1])


def _affordable(size: tuple[int, int], minutes: float, rate: float) -> int:
    return int(minutes * 60 * rate * 64 * 64 / (size[0] * size[1]))


def _side(size: tuple[int, int]) -> float:
    """How many times 64 the sides are, their geometric mean; smaller images need no fewer."""
    return max(1.0, (size[0] * size[1]) ** 0.5 / 64)


NAMES: dict[Engine, str] = {"diffusion": "diffusion model", "gan": "GAN"}
