"""synthcohort run"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_out, add_set
from synthcohort.cli.release import written_reasons
from synthcohort.core.config import apply_overrides, build, load_toml

SUMMARY = "all stages on your data, from folder to governed release; the same command again goes on where it stopped"
EXAMPLES = (
    "synthcohort run study.toml --source scans/ --out out --dry-run     time, disk and memory it would take",
    "synthcohort run study.toml --source scans/ --out out --key owner.key",
    "synthcohort run study.toml --source scans/ --out out --set study.policy=internal",
    "synthcohort run study.toml --source scans/ --out out --set study.policy=internal --override "
    'family:harm="The partner tests for this itself, see contract."',
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY.toml", help="the study's settings")
    parser.add_argument("--source", type=Path, metavar="DIR", help="the images (instead of study.source)")
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="the owner's private key (synthcohort keys), instead of study.key"
    )
    parser.add_argument(
        "--answers", type=Path, metavar="FILE", help="TOML with what only a person can answer, instead of study.answers"
    )
    parser.add_argument(
        "--override", action="append", default=[], metavar="RULE=REASON",
        help="set a rule of the release aside, as in synthcohort release, beside release.overrides; may be repeated",
    )  # fmt: skip
    add_out(parser, "everything: cohort, run, synthetic, evidence, bundle, report.html")
    parser.add_argument("--dry-run", action="store_true", help="forecast time, disk and memory; write nothing")
    add_set(parser)


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.pipeline.config import StudyConfig
    from synthcohort.pipeline.forecast import forecast
    from synthcohort.pipeline.run import release_request, run_study
    from synthcohort.release import foresee

    study = build(StudyConfig, apply_overrides(load_toml(args.study), args.set))
    reasons = written_reasons(args.override)
    if reasons:
        study = replace(study, release=replace(study.release, overrides={**study.release.overrides, **reasons}))
    source = args.source or (Path(study.study.source) if study.study.source else None)
    if args.dry_run:
        known = foresee(study.release, release_request(study, args.key, args.answers))
        refusals = [*([str(known.unsigned)] if known.unsigned else []), *known.unsaid]
        return {**forecast(study, source), "refusals": refusals, "warnings": list(known.vain)}, 0
    result = run_study(study, source, args.out, key=args.key, answers=args.answers)
    return result, 0 if result["decision"] == "release" else 1
