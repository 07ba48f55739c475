"""synthcohort verify"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "check a bundle: signature, every added, changed or missing byte, the marking of every image, the decision"
EXAMPLES = ("synthcohort verify bundle --public-key owner.key.pub", "synthcohort verify bundle")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder made by release")
    parser.add_argument(
        "--public-key", type=Path, metavar="FILE", help="the owner's public key, which the owner gave you another way"
    )


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release import verify

    result = verify(args.bundle, args.public_key)
    return result, 0 if result["ok"] else 1
