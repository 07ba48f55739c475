"""synthcohort keys"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "make the key with which an owner signs scores and bundles, and the public key that receivers get"
EXAMPLES = ("synthcohort keys --out owner.key",)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="file to make for the private key, which never leaves; the public one is FILE.pub",
    )  # fmt: skip


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.core.signing import make_key, public_path

    found = make_key(args.out)
    return {"key": args.out.as_posix(), "public": public_path(args.out).as_posix(), "fingerprint": found}, 0
