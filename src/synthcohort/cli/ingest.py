"""synthcohort ingest"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "read a folder of images into a de-identified cohort, split by patient"
EXAMPLES = (
    "synthcohort ingest scans/ --out cohort --dry-run          what would be read, and as what",
    "synthcohort ingest scans/ --out cohort --set ingest.size=64",
    "synthcohort ingest scans/ --out cohort --set ingest.labels='[\"kl_grade\"]'",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="folder of DICOM, PNG or JPEG files, with or without a metadata.csv"
    )
    add_out(parser, "the cohort")
    parser.add_argument("--dry-run", action="store_true", help="propose the mapping and count; write nothing")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.ingest import ingest

    return ingest(args.source, args.out, section(args, "ingest"), args.seed, dry_run=args.dry_run), 0
