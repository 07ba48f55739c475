"""What the commands share: reading a configuration section, and `column=value` pairs."""

import argparse
from pathlib import Path
from typing import Any

from synthcohort.core.config import apply_overrides, build, load_toml
from synthcohort.core.errors import InputError, Problem


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings (a study file will do)")
    add_set(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting; may be repeated"
    )


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder to make: {what}")


def section(args: argparse.Namespace, name: str) -> Any:
    """Builds one stage's configuration from --config and --set; the whole file is checked, not only this section."""
    mapping = apply_overrides(load_toml(args.config) if args.config else {}, args.set)
    if name == "ingest" and set(mapping) <= {"ingest"}:  # without torch, which the other sections bring along
        from synthcohort.ingest.config import IngestConfig

        return build(IngestConfig, mapping.get("ingest", {}), "ingest")
    from synthcohort.pipeline.config import StudyConfig

    study = build(StudyConfig, mapping)
    return getattr(study, name)


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """`kl_grade=4` texts to a mapping."""
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(Problem(option, repr(text), "column=value", f"for example {option} kl_grade=4"))
        result[key.strip()] = value.strip()
    return result
