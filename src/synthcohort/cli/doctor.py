"""synthcohort doctor"""

import argparse
import sys
from pathlib import Path
from typing import Any

SUMMARY = "what is missing, broken or slow on this machine, and what to do"
EXAMPLES = ("synthcohort doctor", "synthcohort doctor --out runs/")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR", help="folder whose disk is looked at (default .)"
    )


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.pipeline.doctor import examine

    findings = examine(args.out)
    for finding in findings:
        mark = {"ok": "ok  ", "note": "note", "problem": "BAD "}[finding["state"]]
        print(
            f"{mark} {finding['what']}: {finding['found']}" + (f" -> {finding['remedy']}" if finding["remedy"] else ""),
            file=sys.stderr,
        )
    broken = [finding["what"] for finding in findings if finding["state"] == "problem"]
    return {"ok": not broken, "problems": broken, "findings": findings}, 1 if broken else 0
