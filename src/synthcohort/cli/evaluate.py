"""synthcohort evaluate"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "measure fidelity, usefulness and privacy of a synthetic cohort; every score with interval and floor"
EXAMPLES = (
    "synthcohort evaluate --real cohort --synthetic synthetic --out evidence",
    "synthcohort evaluate --real cohort --synthetic synthetic --policy internal --out evidence",
    "synthcohort evaluate --real cohort --synthetic synthetic --run run --out evidence",
    "synthcohort evaluate --real cohort --synthetic synthetic --run run --shadow s0 --shadow s1 --out evidence",
    "synthcohort evaluate --real cohort --synthetic synthetic --study results/study.json --out evidence",
    "synthcohort evaluate --real train_images/ --holdout other_patients/ --synthetic generated.zip --out evidence",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    real = "real cohort with its split roles, or a folder or zip of images (all of them may have been learned from)"
    parser.add_argument("--real", type=Path, required=True, metavar="SOURCE", help=real)
    made = "synthetic cohort to judge, or a folder or zip of images of anybody's generator"
    parser.add_argument("--synthetic", type=Path, required=True, metavar="SOURCE", help=made)
    others = "real images of patients whom the generator never saw; then all of --real counts as learned from"
    parser.add_argument("--holdout", type=Path, metavar="SOURCE", help=others)
    model = "the generator's run folder: attacks on membership then see its model too"
    parser.add_argument("--run", type=Path, metavar="RUN", help=model)
    compared = "shadow of --run (train.shadow), for attacks that compare with it; repeat it for whole pairs"
    parser.add_argument("--shadow", type=Path, action="append", default=[], metavar="RUN", help=compared)
    read = "study.json of a finished reader study of these cohorts: its figures become part of the evidence"
    parser.add_argument("--study", type=Path, metavar="FILE", help=read)
    signed = "the owner's private key (synthcohort keys): signs scores.json, as the policies open and partner ask"
    parser.add_argument("--key", type=Path, metavar="FILE", help=signed)
    parser.add_argument("--policy", metavar="NAME|FILE", help="thresholds: open (default), internal, or a TOML file")
    add_out(parser, "the evidence")
    parser.add_argument("--seed", type=int, default=0, help="seed of resampling and auditors (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.core.signing import signed
    from synthcohort.evaluation.shadows import open_shadows
    from synthcohort.pipeline.sources import evaluate

    config = section(args, "evaluate")
    shadows = (*config.membership.shadows, *args.shadow)
    open_shadows(args.run, shadows)  # what is wrong with them is said before the work begins
    config = replace(config, membership=replace(config.membership, shadows=shadows))
    with signed(args.out / "scores.json", args.key):
        result = evaluate(
            args.real, args.synthetic, args.out, config, args.policy, args.seed, args.holdout, args.run, args.study
        )
    return result, 0
