"""What somebody asks of a release."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What somebody asks of a release, beside the cohort and its evidence."""

    policy: str | Path | None = None
    key: Path | None = None  # the owner's private key
    overrides: Mapping[str, str] | None = None  # rule -> written reason
    answers: Path | None = None
