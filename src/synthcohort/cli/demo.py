"""synthcohort demo"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_set

SUMMARY = "the whole pipeline on a small procedural hospital, offline; --tiny takes about a minute"
EXAMPLES = ("synthcohort demo --tiny", "synthcohort demo --out runs/demo")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tiny", action="store_true", help="a minute instead of a few; the images stay crude")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default runs/demo or runs/demo-tiny)")
    add_set(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.pipeline.demo import run_demo

    out = args.out or Path("runs") / ("demo-tiny" if args.tiny else "demo")
    return run_demo(out, tiny=args.tiny, overrides=args.set), 0
