"""synthcohort evaluate"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "measure fidelity, usefulness and privacy of a synthetic cohort; every score with interval and floor"
EXAMPLES = (
    "synthcohort evaluate --real cohort --synthetic synthetic --out evidence",
    "synthcohort evaluate --real cohort --synthetic synthetic --policy internal --out evidence",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real", type=Path, required=True, metavar="COHORT", help="real cohort with its split roles")
    parser.add_argument("--synthetic", type=Path, required=True, metavar="COHORT", help="synthetic cohort to judge")
    parser.add_argument("--policy", metavar="NAME|FILE", help="thresholds: open (default), internal, or a TOML file")
    add_out(parser, "the evidence")
    parser.add_argument("--seed", type=int, default=0, help="seed of resampling and auditors (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.evaluation import evaluate

    return evaluate(args.real, args.synthetic, args.out, section(args, "evaluate"), args.policy, args.seed), 0
