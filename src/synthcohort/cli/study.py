"""synthcohort study create | serve | analyze | backup | restore"""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.cli.options import add_out, add_set

SUMMARY = "reader studies and teaching: make one from cohorts, serve it to readers, analyze their answers"
EXAMPLES = (
    "synthcohort study create --real cohort --synthetic synthetic --out knees",
    "synthcohort study create --real cohort --synthetic synthetic --design study.toml --out knees",
    "synthcohort study serve knees",
    "synthcohort study analyze knees --out results",
    "synthcohort study backup knees --out knees.zip; synthcohort study restore knees.zip --out again",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    _create(actions.add_parser("create", help="make a study's folder from cohorts and a design"))
    _serve(actions.add_parser("serve", help="serve it to readers, until stopped"))
    analyze = actions.add_parser("analyze", help="answers to study.json, a report, a table and a methods paragraph")
    analyze.add_argument("study", type=Path, metavar="STUDY", help="folder made by create")
    _database(analyze)
    analyze.add_argument(
        "--before-the-end", action="store_true", help="while readers are still reading; says so in the result"
    )
    add_out(analyze, "study.json, report.html, table.csv, methods.txt")
    backup = actions.add_parser("backup", help="the whole study as one file")
    backup.add_argument("study", type=Path, metavar="STUDY", help="folder made by create")
    _database(backup)
    backup.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to make; the owner's alone")
    restore = actions.add_parser("restore", help="a study's folder from such a file")
    restore.add_argument("file", type=Path, metavar="FILE", help="file made by backup")
    _database(restore)
    add_out(restore, "the study")


def _create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real", type=Path, metavar="COHORT", help="real cohort; its test patients are shown")
    parser.add_argument("--synthetic", type=Path, required=True, metavar="COHORT", help="synthetic cohort")
    parser.add_argument("--design", type=Path, metavar="FILE", help="TOML design; without: grade, then real or not")
    add_set(parser)
    _database(parser)
    add_out(parser, "the study")


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder made by create")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port to listen on (8000)")
    parser.add_argument("--proxy", default="", metavar="ADDRESS", help="proxy with TLS whose headers are believed")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="TLS certificate (PEM), with --key")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key (PEM)")
    _database(parser)


def _database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="postgresql://… in place of a file in the study's folder")


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    if args.action == "create":
        return _call_create(args), 0
    if args.action == "serve":
        from synthcohort.study.serve import serve

        return serve(args.study, args.host, args.port, args.database, args.proxy, args.certificate, args.key), 0
    if args.action == "analyze":
        from synthcohort.study.analyze import analyze

        return analyze(args.study, args.out, args.database, args.before_the_end), 0
    from synthcohort.study.backup import backup, restore

    if args.action == "backup":
        return backup(args.study, args.out, args.database), 0
    return restore(args.file, args.out, args.database), 0


def _call_create(args: argparse.Namespace) -> dict[str, Any]:
    from synthcohort.core.config import apply_overrides, build, load_toml
    from synthcohort.study.create import create
    from synthcohort.study.design import Design

    design = None
    if args.design is not None or args.set:
        mapping = apply_overrides(load_toml(args.design) if args.design else {}, args.set)
        design = build(Design, mapping)
    return create(args.synthetic, args.out, design, args.real, args.database)
