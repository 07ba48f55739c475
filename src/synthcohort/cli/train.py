"""synthcohort train"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section
from synthcohort.core.errors import InputError, Problem

SUMMARY = "train a generator on the training patients of cohorts; the same command again goes on where it stopped"
EXAMPLES = (
    "synthcohort train cohort --out run",
    "synthcohort train cohort --out run --config configs/knee_xray.toml --set train.images=50000",
    "synthcohort train knees chests fundi --out joint --set train.text=packaged --set train.flip=false",
    "synthcohort train rare_disease --from joint --out tuned --set train.images=20000",
    "synthcohort train cohort --autoencoder --out latents --set autoencoder.size=128",
    "synthcohort train cohort --out run --set train.latent=latents --set train.size=128",
    "synthcohort train cohort --gan --out gan --set gan.minutes=20",
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
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    given = [
        name
        for name, said in (("--autoencoder", args.autoencoder), ("--gan", args.gan), ("--from", args.start))
        if said
    ]
    if len(given) > 1:
        raise InputError(Problem(" and ".join(given), "given together", "one of them"))
    if args.gan:
        from synthcohort.training.gan import train_gan

        return train_gan(args.cohorts, args.out, section(args, "gan"), args.seed), 0
    if args.autoencoder:
        from synthcohort.training.autoencoder import train_autoencoder

        return train_autoencoder(args.cohorts, args.out, section(args, "autoencoder"), args.seed), 0
    from synthcohort.training import train

    return train(args.cohorts, args.out, section(args, "train"), args.seed, args.start), 0
