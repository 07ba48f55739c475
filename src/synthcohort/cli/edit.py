"""synthcohort edit"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, pairs, section

SUMMARY = "edit one image, real or drawn: another condition for the same patient, a region, a sweep over grades"
EXAMPLES = (
    "synthcohort edit run --seed 7 --from kl_grade=0 --to kl_grade=4 --out worse",
    "synthcohort edit run --image knee.png --from kl_grade=1 --sweep kl_grade --out sweep",
    "synthcohort edit run --image knee.dcm --from kl_grade=1 --to kl_grade=4 --mask joint.png --out masked",
    "synthcohort edit run --seed 7 --mask region.png --variation 3 --out redrawn",
    "synthcohort edit run --image knee.png --variation 0 --strength 0.4 --out similar",
    "synthcohort edit gan --seed 7 --from kl_grade=0 --sweep kl_grade --between 3 --out strip     (of a GAN, as below)",
    "synthcohort edit gan --seed 7 --from kl_grade=2 --along age --by 20 --keep kl_grade --cohort cohort --out older",
    "synthcohort edit gan --seed 7 --from kl_grade=2 --along sex=M --by 0.5 --cohort cohort --out sex",
    "synthcohort edit gan --image knee.png --from kl_grade=1 --project --out nearest",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder made by train")
    parser.add_argument("--image", type=Path, metavar="FILE", help="a real image; its edits are never released")
    parser.add_argument("--seed", type=int, metavar="S", help="the image this seed draws (column seed of a cohort)")
    parser.add_argument(
        "--from", dest="old", action="append", default=[], metavar="COLUMN=VALUE",
        help="what the image shows; may be repeated, as prompt=… too",
    )  # fmt: skip
    parser.add_argument(
        "--to", action="append", default=[], metavar="COLUMN=VALUE", help="what it is to show instead; may be repeated"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what it is to show, in words; the model needs text")
    parser.add_argument("--sweep", metavar="COLUMN", help="every value of this ordinal column")
    parser.add_argument(
        "--mask", type=Path, metavar="FILE", help="picture whose pixels are not 0 where the image may change"
    )
    parser.add_argument(
        "--local", action="store_true", help="let it change only where the two conditions' predictions differ"
    )
    parser.add_argument(
        "--strength", type=float, metavar="X", help="share of the steps drawn again, 0 to 1: less keeps more"
    )
    parser.add_argument(
        "--variation", type=int, metavar="N", help="draw again from fresh noise number N, not the image's own noise"
    )
    parser.add_argument(
        "--fit", choices=("pad", "crop", "stretch"), default="pad", help="how a real image gets the model's size"
    )
    gan = parser.add_argument_group("of a GAN alone")
    gan.add_argument(
        "--between", type=int, default=0, metavar="N", help="with --sweep: N pictures between a value and the next"
    )
    gan.add_argument(
        "--along", metavar="COLUMN[=VALUE]",
        help="move in the latent space as this column of --cohort changes most; =VALUE where it has no order",
    )  # fmt: skip
    gan.add_argument(
        "--by", type=float, action="append", default=[], metavar="X",
        help="how far: in grades, years or the like; in probability for COLUMN=VALUE; may be repeated",
    )  # fmt: skip
    gan.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN[=VALUE]", help="what --along is to leave as it is"
    )
    gan.add_argument("--cohort", type=Path, metavar="COHORT", help="real cohort whose labels --along is found from")
    gan.add_argument(
        "--project", action="store_true", help="the drawn image that comes nearest to --image; for its owner's own use"
    )
    add_out(parser, "a cohort of the edits, with a strip that shows them beside the original")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.generation.edit import EditConfig
    from synthcohort.generation.edit_cohort import EditRequest, edit
    from synthcohort.generation.gan_latent import LatentRequest

    to: dict[str, Any] = {**pairs(args.to, "--to")}
    if args.prompt is not None:
        to["prompt"] = args.prompt
    latent = LatentRequest(args.along, tuple(args.by), tuple(args.keep), args.cohort, args.between, args.project)
    request = EditRequest(
        args.image, args.seed, pairs(args.old, "--from"), to, args.sweep, args.mask, args.variation, args.fit, latent
    )
    chosen = {} if args.strength is None else {"strength": args.strength}
    return edit(args.run, args.out, section(args, "generate"), request, EditConfig(local=args.local, **chosen)), 0
