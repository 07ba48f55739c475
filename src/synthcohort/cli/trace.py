"""synthcohort trace"""

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "print the chain from the source's digest to one image; with --run, draw it again and compare every pixel"
EXAMPLES = (
    "synthcohort trace bundle synthetic-000012",
    "synthcohort trace bundle synthetic-000012 --run run",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder made by release")
    parser.add_argument("image", metavar="IMAGE", help="name of an image, or the path of one of its files")
    parser.add_argument("--run", type=Path, metavar="RUN", help="the owner's run, to draw the image again")


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release.trace import trace

    traced = trace(args.bundle, args.image)
    result = traced.to_mapping()
    if args.run:
        from synthcohort.core.files import digest_array
        from synthcohort.generation.again import Asked, draw_again

        seed = int(traced.row["seed"])
        drawn = digest_array(draw_again(args.run, Asked.of(traced.request), [(traced.image_id, seed)])[0])
        result["drawn_again"] = {"pixels_digest": drawn, "identical": drawn == traced.row["pixels_digest"]}
        if drawn != traced.row["pixels_digest"]:
            result["ok"] = False
            result["problems"].append(
                "drawn again, the pixels differ: another machine, library version or number of threads may be why"
            )
    return result, 0 if result["ok"] else 1
