"""synthcohort ingest"""

import argparse
import os
from typing import Any

from synthcohort.cli.options import add_config, add_out, section

SUMMARY = "read images into a de-identified cohort, split by patient"
EXAMPLES = (
    "synthcohort ingest scans/ --out cohort --dry-run          what would be read, and as what",
    "synthcohort ingest scans/ --out cohort --set ingest.size=64",
    "synthcohort ingest archive.zip --out cohort --set ingest.modality=DX --set ingest.body_part=KNEE",
    "synthcohort ingest dicomweb:https://pacs.example/dicom-web --out cohort --set ingest.dicomweb.modality=DX",
    "synthcohort ingest scans/ --out cohort --set ingest.labels='[\"kl_grade\"]'",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder, file or zip archive (DICOM, NIfTI, PNG, JPEG, TIFF, whole slides, MedMNIST .npz, parquet), "
        "with or without a table; or dicomweb:URL",
    )
    add_out(parser, "the cohort")
    parser.add_argument("--dry-run", action="store_true", help="propose the mapping and count; write nothing")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    # Arrow's own pool keeps the memory of tables that are done with; read when Arrow is loaded
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from synthcohort.ingest import ingest

    return ingest(args.source, args.out, section(args, "ingest"), args.seed, dry_run=args.dry_run), 0
