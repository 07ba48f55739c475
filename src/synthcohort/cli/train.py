"""synthcohort train"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section
from synthcohort.core.config import apply_overrides, load_toml
from synthcohort.core.errors import InputError, Problem

SUMMARY = "train a generator on the training patients of cohorts; the same command again goes on where it stopped"
EXAMPLES = (
    "synthcohort train cohort --out run",
    "synthcohort train cohort --out run --config configs/knee_xray.toml --set train.images=50000",
    "synthcohort train knees chests fundi --out joint --set train.text=packaged --set train.flip=false",
    "synthcohort train rare_disease --from joint --out tuned --set train.images=20000",
    "synthcohort train cohort --autoencoder --out latents --set autoencoder.size=128",
    "synthcohort train cohort --out run --set train.latent=latents --set train.size=128",
    "synthcohort train cohort --out shadow0 --set train.shadow=0       half of the patients, to audit `run` against",
    "synthcohort train cohort --gan --out gan --set gan.minutes=20",
    "synthcohort train cohort --auto --minutes 30 --out run            GAN or diffusion, size and budget are chosen",
    "synthcohort train cohort --auto --minutes 30 --gan --out run      a GAN in any case; the rest is chosen",
    "torchrun --nproc-per-node 2 -m synthcohort train cohort --out run",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cohorts",
        type=Path,
        nargs="+",
        metavar="COHORT",
        help="cohort folders made by ingest; several kinds of image train one model",
    )
    add_out(parser, "the run")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="RUN", help="start from the weights of this finished run"
    )
    parser.add_argument(
        "--autoencoder",
        action="store_true",
        help="train the autoencoder that train.latent then names (section [autoencoder]), not a generator",
    )
    parser.add_argument(
        "--gan",
        action="store_true",
        help="train a GAN (section [gan]), which draws an image in one pass, in place of a diffusion model",
    )
    parser.add_argument(
        "--diffusion", action="store_true", help="train a diffusion model, also where --auto would choose a GAN"
    )
    parser.add_argument(
        "--auto",
        action="store_true",
        help="choose GAN or diffusion, size and budget by the data, the machine and --minutes, and say why; --gan, "
        "--diffusion and every setting that is given overrule it",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="with --auto: how long to train (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    _check(args)
    _check_shadow(args)
    if args.auto:
        return _auto(args), 0
    if args.gan:
        from synthcohort.training.gan import train_gan

        return train_gan(args.cohorts, args.out, section(args, "gan"), args.seed), 0
    if args.autoencoder:
        from synthcohort.training.autoencoder import train_autoencoder

        return train_autoencoder(args.cohorts, args.out, section(args, "autoencoder"), args.seed), 0
    from synthcohort.training import train

    return train(args.cohorts, args.out, section(args, "train"), args.seed, args.start), 0


def _check(args: argparse.Namespace) -> None:
    """Raises InputError with all options that do not go together."""
    said = {
        "--autoencoder": args.autoencoder, "--gan": args.gan, "--from": args.start is not None,
        "--diffusion": args.diffusion, "--auto": args.auto,
    }  # fmt: skip
    given = [name for name, own in said.items() if own]
    problems: list[Problem | str] = []
    for first, allowed in (("--autoencoder", ()), ("--gan", ("--auto",)), ("--from", ("--diffusion",)),
                           ("--diffusion", ("--auto", "--from"))):  # fmt: skip
        others = [name for name in given[given.index(first) + 1 :] if name not in allowed] if said[first] else []
        problems += [Problem(f"{first} and {other}", "given together", "one of them") for other in others]
    if args.minutes is not None and not args.auto:
        name = "gan.minutes" if args.gan else "train.minutes"
        problems.append(Problem("--minutes", "given without --auto", remedy=f"use --auto, or --set {name}=…"))
    if problems:
        raise InputError(*problems)


def _check_shadow(args: argparse.Namespace) -> None:
    """Raises InputError for a shadow of anything but a diffusion model with the audited run's own settings."""
    given = [f"--{name}" for name in ("auto", "gan", "autoencoder") if getattr(args, name)]
    if given and section(args, "train").shadow is not None:
        found, allowed = f"given with {', '.join(given)}", "a diffusion model with the settings of the audited run"
        raise InputError(Problem("setting train.shadow", found, allowed, "leave it out or state those settings"))


def _auto(args: argparse.Namespace) -> dict[str, Any]:
    from synthcohort.training.auto_train import train_auto

    mapping = apply_overrides(load_toml(args.config) if args.config else {}, args.set)
    given = {f"{name}.{key}" for name in ("train", "gan") for key in mapping.get(name, {})}
    return train_auto(
        args.cohorts, args.out, section(args, "train"), section(args, "gan"), args.seed,
        minutes=args.minutes, engine="gan" if args.gan else "diffusion" if args.diffusion else None, given=given,
    )  # fmt: skip
