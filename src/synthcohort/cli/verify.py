"""synthcohort verify"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "check a bundle: every added, changed or missing byte, and the synthetic marking of every image"
EXAMPLES = ("synthcohort verify bundle",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder made by release")


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release import verify

    result = verify(args.bundle)
    return result, 0 if result["ok"] else 1
