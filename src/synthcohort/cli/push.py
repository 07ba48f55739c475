"""synthcohort push"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "send a bundle's DICOM files to a PACS, by C-STORE or STOW-RS; the bundle is verified first"
EXAMPLES = (
    "synthcohort push bundle pacs://ORTHANC@127.0.0.1:4242",
    "synthcohort push bundle https://pacs.example/dicom-web --netrc secrets --public-key owner.key.pub",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder made by release")
    parser.add_argument("url", metavar="ADDRESS", help="pacs://TITLE@HOST:PORT, or the https:// of a DICOMweb service")
    parser.add_argument("--title", default="SYNTHCOHORT", metavar="AET", help="our own AE title, for C-STORE")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="N", help="seconds without an answer")
    parser.add_argument("--netrc", type=Path, metavar="FILE", help="file with name and password, for STOW-RS")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with a bearer token, for STOW-RS")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="PEM of the authority of the server's certificate")
    parser.add_argument("--insecure", action="store_true", help="allow http:// to another machine")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="the owner's public key, for the check before")


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release.push import PushConfig, push

    config = PushConfig(
        title=args.title, timeout=args.timeout, netrc=args.netrc, token_file=args.token_file, ca_file=args.ca_file,
        insecure=args.insecure, public_key=args.public_key,
    )  # fmt: skip
    result = push(args.bundle, args.url, config)
    return result, 0 if not result["failed"] else 1
