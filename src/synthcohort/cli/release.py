"""synthcohort release"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "decide by policy whether a synthetic cohort may leave, and if so make the bundle; a refusal exits with 1"
EXAMPLES = (
    "synthcohort release --synthetic synthetic --evidence evidence --out bundle",
    "synthcohort release --synthetic synthetic --evidence evidence --policy internal --out bundle",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--synthetic", type=Path, required=True, metavar="COHORT", help="synthetic cohort to release")
    parser.add_argument("--evidence", type=Path, required=True, metavar="DIR", help="evidence folder made by evaluate")
    parser.add_argument("--policy", metavar="NAME|FILE", help="rules: open (default), internal, or a TOML file")
    add_out(parser, "the bundle")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release import release

    return release(args.synthetic, args.evidence, args.out, section(args, "release"), args.policy), 0
