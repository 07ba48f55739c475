"""synthcohort generate"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, pairs, section
from synthcohort.core.errors import InputError, Problem

SUMMARY = "draw a synthetic cohort from a trained run, screened for copies before anything is written"
EXAMPLES = (
    "synthcohort generate run --count 1000 --out synthetic",
    "synthcohort generate run --count 200 --where kl_grade=4 --out severe",
    "synthcohort generate run --count 500 --balance kl_grade --seed 7 --out balanced",
    'synthcohort generate run --count 100 --prompt "A radiograph of the knee with severe osteoarthritis." --out words',
    "synthcohort generate run --quotas quotas.toml --out filled",
    "synthcohort generate run --of synthetic --replace evidence/owner/near.json --out refilled",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder made by train")
    parser.add_argument("--count", type=int, metavar="N", help="how many images (default 1000)")
    add_out(parser, "the synthetic cohort")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only this value; may be repeated"
    )
    parser.add_argument("--balance", metavar="COLUMN", help="the same number of each value of this label column")
    parser.add_argument("--prompt", metavar="TEXT", help="what the images show, in words; the model needs text")
    parser.add_argument(
        "--quotas", type=Path, metavar="FILE", help="TOML list of [[quota]] tables: count, where, prompt, balance"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed from which each image's own seed is derived (default 0)"
    )
    parser.add_argument(
        "--replace", type=Path, metavar="FILE", help="draw only these images of --of anew: owner/near.json or names"
    )
    parser.add_argument("--of", type=Path, metavar="COHORT", help="the cohort whose other images stay as they are")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    if args.replace or args.of:
        return _replace(args), 0
    from synthcohort.generation import generate
    from synthcohort.generation.quotas import read_quotas

    return generate(
        args.run,
        args.out,
        section(args, "generate"),
        args.seed,
        count=args.count,
        where=pairs(args.where, "--where") or None,
        balance=args.balance,
        prompt=args.prompt,
        quotas=read_quotas(args.quotas) if args.quotas else None,
    ), 0


def _replace(args: argparse.Namespace) -> dict[str, Any]:
    from synthcohort.generation.replace import read_names, replace

    others = {"count": args.count, "where": args.where, "balance": args.balance, "prompt": args.prompt,
              "quotas": args.quotas}  # fmt: skip
    given = [f"--{name}" for name, value in others.items() if value]
    if not (args.replace and args.of) or given:
        found = f"given with {', '.join(given)}" if given else "needs the other one"
        raise InputError(
            Problem("--replace and --of", found, "both, and no other request: the cohort recorded its own")
        )
    return replace(args.run, args.of, read_names(args.replace), args.out, section(args, "generate").tries)
