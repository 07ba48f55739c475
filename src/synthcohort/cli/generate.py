"""synthcohort generate"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, pairs, section

SUMMARY = "draw a synthetic cohort from a trained run, screened for copies before anything is written"
EXAMPLES = (
    "synthcohort generate run --count 1000 --out synthetic",
    "synthcohort generate run --count 200 --where kl_grade=4 --out severe",
    "synthcohort generate run --count 500 --balance kl_grade --seed 7 --out balanced",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder made by train")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many images")
    add_out(parser, "the synthetic cohort")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only this value; may be repeated"
    )
    parser.add_argument("--balance", metavar="COLUMN", help="the same number of each value of this label column")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed from which each image's own seed is derived (default 0)"
    )
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.generation import generate

    return generate(
        args.run,
        args.out,
        section(args, "generate"),
        args.seed,
        count=args.count,
        where=pairs(args.where, "--where") or None,
        balance=args.balance,
    ), 0
