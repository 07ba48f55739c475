"""Settings of a fetch by DICOMweb: the `[ingest.dicomweb]` section of a study file."""

import datetime
import re
from dataclasses import dataclass, replace
from typing import Literal

from synthcohort.core.errors import ConfigError, Problem

PREFIX = "dicomweb:"
# What may stand in a Code String or a description without meaning something else to the server.
_CODE = re.compile(r"[A-Z0-9 _]{1,16}")
_LEAST = {
    "limit": 0, "page_size": 1, "timeout": 0.05, "retries": 0, "backoff": 0.0, "connections": 1, "largest_mb": 1,
}  # fmt: skip
_MOST = {"page_size": 10000, "timeout": 3600, "retries": 20, "backoff": 60.0, "connections": 32}


@dataclass(frozen=True)
class DicomwebConfig:
    """Which images to fetch from a DICOMweb server, and how. Passwords and tokens come from files alone."""

    modality: str | tuple[str, ...] = ()  # DX, or ["DX", "CR"]; empty takes every one
    body_part: str | tuple[str, ...] = ()  # KNEE, or several
    study_description: str = ""  # * and ? stand for any text and any letter; many servers mind the case
    series_description: str = ""
    since: str | int | datetime.date = ""  # first day of the studies, 2021-03-01
    until: str | int | datetime.date = ""  # last day of the studies
    patients: str = ""  # file with one Patient ID a line
    limit: int = 0  # most images, whole studies first, chosen over the archive by a digest; 0 takes all
    retrieve: Literal["instance", "series"] = "instance"  # series: one answer for many images
    page_size: int = 200  # rows a query asks for at a time
    timeout: float = 30.0  # seconds without a byte
    retries: int = 4  # more tries after an error of the server or the line
    backoff: float = 0.5  # seconds before the first of them; doubled each time, 30 at most
    connections: int = 4
    largest_mb: int = 4096  # images above are refused
    netrc: str = ""  # file with name and password for the server; mode 0600
    token_file: str = ""  # file with a bearer token; mode 0600
    client_certificate: str = ""  # PEM file with certificate and key, where the server asks for one; mode 0600
    ca_file: str = ""  # PEM file of the authority that signed the server's certificate; empty takes the system's
    insecure: bool = False  # allow http:// to another machine: everything on the way can be read
    keep: bool = False  # keep the fetched files after ingest

    def __post_init__(self) -> None:
        problems = []
        for name in ("modality", "body_part"):
            value = getattr(self, name)
            words = tuple(word.strip().upper() for word in ((value,) if isinstance(value, str) else value))
            words = tuple(word for word in words if word)
            object.__setattr__(self, name, words)
            for word in words:
                if not _CODE.fullmatch(word):
                    problems.append(_problem(name, repr(word), "a code of capital letters and digits, up to 16"))
        for name in ("since", "until"):
            try:
                object.__setattr__(self, name, _day(getattr(self, name)))
            except ValueError:
                problems.append(_problem(name, repr(getattr(self, name)), "a day as in 2021-03-01"))
        if not problems and self.since and self.until and str(self.since) > str(self.until):
            problems.append(_problem("until", f"{self.until}, before since", f"{self.since} or later"))
        for name in ("study_description", "series_description"):
            if "\\" in getattr(self, name) or len(getattr(self, name)) > 64:
                problems.append(_problem(name, "holds a backslash or is too long", "64 letters without one"))
        for name, least in _LEAST.items():
            value, most = getattr(self, name), _MOST.get(name)
            if not (value >= least and (most is None or value <= most)):
                allowed = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
                problems.append(_problem(name, f"{value:g}", allowed))
        if self.netrc and self.token_file:
            problems.append(_problem("netrc", "is set beside token_file", "one of the two"))
        if problems:
            raise ConfigError(*problems)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.modality)

    @property
    def body_parts(self) -> tuple[str, ...]:
        return tuple(self.body_part)

    def public(self) -> "DicomwebConfig":
        """Without the places of files and without free text: fit for an artefact that may leave the house."""
        return replace(
            self, patients="", netrc="", token_file="", client_certificate="", ca_file="", study_description="",
            series_description="",
        )  # fmt: skip


def _problem(name: str, found: str, allowed: str) -> Problem:
    return Problem(f"setting ingest.dicomweb.{name}", found, allowed)


def _day(value: str | int | datetime.date) -> str:
    """A day as YYYY-MM-DD, from that, from YYYYMMDD as text or number, or from a TOML date; empty stays empty."""
    if isinstance(value, datetime.datetime):
        raise ValueError(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    text = str(value).strip()
    if not text:
        return ""
    if not re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text):
        raise ValueError(text)
    return datetime.datetime.strptime(text.replace("-", ""), "%Y%m%d").date().isoformat()


def is_dicomweb(source: str) -> bool:
    """Whether a source is an address to fetch from."""
    return source.startswith(PREFIX)
