"""`train --auto`: looks at the cohorts and the machine, recommends (see auto), says why, and trains that.

What was recommended is kept in the run folder, so that the same command goes on with it, on another machine too.
"""

import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.files import check_writable, digest_json, read_artifact, write_artifact
from synthcohort.training.auto import NAMES, Engine, Recommendation, choose
from synthcohort.training.config import TrainConfig
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.joint import open_types

FILE, FORMAT, VERSION = "auto.json", "auto", 1
SECTIONS: dict[Engine, str] = {"diffusion": "train", "gan": "gan"}
DEFAULT_MINUTES = 20.0


def train_auto(
    cohorts: Sequence[Path],
    out: Path,
    train: TrainConfig,
    gan: GanConfig,
    seed: int = 0,
    *,
    minutes: float | None = None,
    engine: Engine | None = None,
    given: Collection[str] = (),
) -> dict[str, Any]:
    """Trains what suits the data, the machine and the minutes; `train` and `gan` hold all other settings.

    `given` names the settings that the user chose (train.size, gan.images …): these are never changed. Returns what the
    training returns, with `auto`: {engine, size, images, minutes, reasons, warnings}.
    Raises InputError for too few images, ConfigError for minutes that make no sense, and what the training raises.
    """
    out = Path(out)
    found = recommendation(cohorts, out, train, gan, minutes=minutes, engine=engine, given=given)
    _no_lost_canaries({"diffusion": train, "gan": gan}, found.engine)
    if os.environ.get("RANK", "0") == "0":  # of several processes that torchrun started
        print("\n".join(said(found, given)), file=sys.stderr, flush=True)
    if found.engine == "gan":
        from synthcohort.training.gan import train_gan

        result = train_gan(cohorts, out, settled(gan, found, given), seed)
    else:
        from synthcohort.training.diffusion import train as train_diffusion

        result = train_diffusion(cohorts, out, settled(train, found, given), seed)
    return result | {"auto": asdict(found)}


def recommendation(
    cohorts: Sequence[Path],
    out: Path,
    train: TrainConfig,
    gan: GanConfig,
    *,
    minutes: float | None = None,
    engine: Engine | None = None,
    given: Collection[str] = (),
) -> Recommendation:
    """The recommendation for these cohorts on this machine, or the one that `out` was begun with when asked the same.

    Raises ConfigError when minutes are asked for twice, or `out` was begun with another wish.
    """
    views = [view for kind in open_types(cohorts) for view in kind.train]
    configs: dict[Engine, TrainConfig | GanConfig] = {"diffusion": train, "gan": gan}
    _one_budget(minutes, given)
    shapes = Counter(shape for view in views for shape in zip(view.column("rows"), view.column("columns"), strict=True))
    facts: dict[str, Any] = {
        "images": sum(map(len, views)),
        "channels": 3 if any(3 in view.column("channels") for view in views) else 1,
        "size": tuple(map(int, shapes.most_common(1)[0][0])),
        "minutes": minutes if minutes is not None else _minutes_of(configs, given) or DEFAULT_MINUTES,
    }
    sizes = {name: config.size for name, config in configs.items() if f"{SECTIONS[name]}.size" in given}
    wish = {"data": digest_json([view.digest for view in views]), "engine": engine, "minutes": facts["minutes"],
            "sizes": {name: list(_sides(size, facts["size"])) for name, size in sizes.items()}}  # fmt: skip
    kept = _kept(out, wish)
    if kept is not None:
        return kept
    cores = torch.get_num_threads() * int(os.environ.get("WORLD_SIZE", "1"))
    found = choose(**facts, cores=cores, cuda=torch.cuda.is_available(), engine=engine)
    if found.engine in sizes:
        wanted = _sides(sizes[found.engine], facts["size"])
        why = found.reasons[0]
        found = choose(**facts, cores=cores, cuda=torch.cuda.is_available(), engine=found.engine, wanted=wanted)
        found = replace(found, reasons=(why, *found.reasons[1:]))
    if os.environ.get("RANK", "0") == "0":
        check_writable(out)
        out.mkdir(parents=True, exist_ok=True)
        write_artifact(out / FILE, FORMAT, VERSION, {"asked": wish, "recommended": asdict(found)})
    return found


def _one_budget(minutes: float | None, given: Collection[str]) -> None:
    twice = sorted(name for name in given if name in ("train.minutes", "gan.minutes"))
    if minutes is not None and twice:
        raise ConfigError(Problem("--minutes", f"given beside {' and '.join(twice)}", "one of them"))


def _no_lost_canaries(configs: dict[Engine, TrainConfig | GanConfig], engine: Engine) -> None:
    """Raises ConfigError where marks were asked for in the section of the other engine: nobody would plant them."""
    asked = [SECTIONS[name] for name, config in configs.items() if config.canaries.count]
    if asked and not configs[engine].canaries.count:
        remedy = f"set {SECTIONS[engine]}.canaries too, or choose the engine with --gan or --diffusion"
        raise ConfigError(Problem(f"setting {asked[0]}.canaries", f"--auto chose {NAMES[engine]}", "", remedy))


def _minutes_of(configs: dict[Engine, TrainConfig | GanConfig], given: Collection[str]) -> float | None:
    """The minutes that the settings name; the longer ones where both sections do."""
    named = [c.minutes for name, c in configs.items() if f"{SECTIONS[name]}.minutes" in given and c.minutes]
    return max(named, default=None)


def _sides(size: Any, own: tuple[int, int]) -> tuple[int, int]:
    """A size setting as rows and columns; None is the images' own."""
    if size is None:
        return own
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _kept(out: Path, wish: dict[str, Any]) -> Recommendation | None:
    """What `out` was begun with; None where it was not begun."""
    file = out / FILE
    if not file.exists():
        return None
    content = read_artifact(file, FORMAT, VERSION)
    if content["asked"] != wish:
        if not (out / "run.json").exists():
            return None  # no training came of it
        differing = ", ".join(name for name, value in wish.items() if content["asked"].get(name) != value)
        allowed = "the wishes that it was begun with"
        raise ConfigError(Problem(f"run {out}", f"was begun with other {differing}", allowed, "use another --out"))
    own = content["recommended"]
    listed = {name: tuple(own[name]) for name in ("size", "reasons", "warnings")}
    return Recommendation(**{**own, **listed})


def said(found: Recommendation, given: Collection[str] = ()) -> list[str]:
    """What is trained and why, a line each."""
    section, (rows, columns) = SECTIONS[found.engine], found.size
    own = _own_budget(found.engine, given)
    budget = f"with {' and '.join(own)} as set" if own else f"about {found.minutes:g} minutes"
    other = "--diffusion" if found.engine == "gan" else "--gan"
    return [
        f"auto: a {NAMES[found.engine]} of {rows} x {columns} pixels, {budget}, because",
        *(f"  {reason}" for reason in found.reasons),
        f"  overrule with {other}, --set {section}.size=… or --set {section}.images=…",
        *(f"warning: {text}" for text in found.warnings),
    ]


def _own_budget(engine: Engine, given: Collection[str]) -> list[str]:
    """The settings of the budget that the user chose."""
    return [name for key in ("images", "minutes") if (name := f"{SECTIONS[engine]}.{key}") in given]


def settled(config: Any, found: Recommendation, given: Collection[str]) -> Any:
    """The settings with the recommended size and budget, but for what the user chose.

    The budget is in minutes, so that these hold on a machine of another speed; only where far fewer images are wanted
    than the minutes allow is it in images.
    """
    section = SECTIONS[found.engine]
    changes: dict[str, Any] = {} if f"{section}.size" in given else {"size": found.size}
    if not _own_budget(found.engine, given):
        changes |= {"images": found.images, "minutes": None} if found.capped else {"minutes": found.minutes}
    return replace(config, **changes)
