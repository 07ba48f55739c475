"""synthcohort release"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_config, add_out, section
from synthcohort.core.errors import InputError, Problem

SUMMARY = "decide by policy whether a synthetic cohort may leave, and if so make the bundle; a refusal exits with 1"
EXAMPLES = (
    "synthcohort release --synthetic synthetic --evidence evidence --key owner.key --out bundle",
    "synthcohort release --synthetic synthetic --evidence evidence --policy internal --out bundle",
    "synthcohort release --synthetic synthetic --evidence evidence --policy partner --key owner.key "
    "--answers answers.toml --out bundle",
    "synthcohort release --synthetic synthetic --evidence evidence --policy internal --override "
    'family:harm="The partner tests for this itself, see contract." --out bundle',
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--synthetic", type=Path, required=True, metavar="COHORT", help="synthetic cohort to release")
    parser.add_argument("--evidence", type=Path, required=True, metavar="DIR", help="evidence folder made by evaluate")
    parser.add_argument(
        "--policy", metavar="NAME|FILE", help="rules: open (default), partner, internal, or a TOML file"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="the owner's private key, made by synthcohort keys")
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="TOML with what only a person can answer (documents/answers.toml)"
    )
    parser.add_argument(
        "--override", action="append", default=[], metavar="RULE=REASON",
        help="set a rule aside, with a written reason that stays visible in the bundle; may be repeated",
    )  # fmt: skip
    add_out(parser, "the bundle")
    add_config(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.release import release

    config = section(args, "release")
    overrides = written_reasons(args.override)
    return release(
        args.synthetic, args.evidence, args.out, config, args.policy, key=args.key, overrides=overrides,
        answers=args.answers,
    ), 0  # fmt: skip


def written_reasons(texts: list[str]) -> dict[str, str]:
    """`RULE=REASON` texts of --override to a mapping. Raises InputError for one of another form."""
    found = {name.strip(): reason.strip() for name, _, reason in (text.partition("=") for text in texts)}
    bad = [text for text in texts if not all(part.strip() for part in text.partition("=")[::2])]
    example = 'for example --override family:harm="The partner tests for this itself."'
    if bad:
        raise InputError(*(Problem("--override", repr(text), "RULE=REASON", example) for text in bad))
    return found
