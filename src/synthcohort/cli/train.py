"""synthcohort train"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "train a generator on the training patients of a cohort; the same command again goes on where it stopped"
EXAMPLES = (
    "synthcohort train cohort --out run",
    "synthcohort train cohort --out run --config configs/knee_xray.toml --set train.images=50000",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohorts", type=Path, nargs="+", metavar="COHORT", help="cohort folder made by ingest")
    add_out(parser, "the run")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.training import train

    return train(args.cohorts, args.out, section(args, "train"), args.seed), 0
