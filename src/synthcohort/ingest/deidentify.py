"""De-identification: keyed pseudonyms for whatever must stay linkable, closed vocabularies for what a header may say.

A value reaches the cohort in one of three ways: as a keyed hash that cannot be undone without the key, as a word of
the lists in `vocabulary`, or as a checked number. Everything else in a header stays behind. The key never enters.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest.vocabulary import BODY_PARTS, MANUFACTURERS, MODALITIES, VIEWS

KEY_BYTES = 32
LEAST_DAYS, MOST_DAYS = 30, 3650
OLDEST_AGE = 90.0  # ages above 89 are given as 90, because few people share them (45 CFR 164.514(b)(2)(i)(C))


class Pseudonyms:
    """Keyed hashes (HMAC-SHA256, RFC 2104), one domain for each kind of thing, so that kinds cannot be matched."""

    def __init__(self, key: bytes):
        if len(key) != KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes; allowed: {KEY_BYTES}")
        self._key = key

    def _hash(self, kind: str, value: str | bytes) -> str:
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return hmac.new(self._key, kind.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    @property
    def key_id(self) -> str:
        """Tells keys apart without telling them."""
        return self._hash("key id", "")[:16]

    def image(self, name: str) -> str:
        return "i-" + self._hash("image", name)[:20]

    def patient(self, value: str) -> str:
        """Spaces around and case do not tell patients apart: files and tables write one id in several ways."""
        return "p-" + self._hash("patient", value.strip().casefold())[:16]

    def group(self, value: str) -> str:
        return "g-" + self._hash("group", value)[:16]

    def series(self, uid: str) -> str:
        return "s-" + self._hash("series", uid.strip())[:16]

    def study(self, uid: str) -> str:
        return "e-" + self._hash("study", uid.strip())[:16]

    def instance(self, uid: str) -> str:
        return "o-" + self._hash("instance", uid.strip())[:16]

    def uid(self, uid: str) -> str:
        """A UID that stands for another. Source: DICOM PS3.5 B.2, with a UUID of version 8 (RFC 9562)."""
        number = int(self._hash("uid", uid.strip(" \0"))[:32], 16)
        return f"2.25.{number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62}"

    def days(self, value: str) -> int:
        """By how many days a patient's dates are moved: 30 to 3650, forward or back."""
        number = int(self._hash("days", value.strip())[:16], 16)
        days = LEAST_DAYS + number // 2 % (MOST_DAYS - LEAST_DAYS + 1)
        return days if number % 2 else -days

    def site(self, value: str) -> str:
        return "site-" + self._hash("site", value.strip().casefold())[:8]

    def source(self, data: bytes) -> str:
        """Tells equal files of one key. Hashes a fast fingerprint (XXH3, 128 bits) of the bytes, forty times as quick.

        The key protects it, not the fingerprint: whoever lacks the key can test no guess. Two files would have to be
        made on purpose to share a fingerprint, and would gain nothing: copies are found by their pixels.
        """
        return "hmac-xxh3:" + self._hash("source", xxhash.xxh3_128_digest(data))

    def seal(self, text: str) -> str:
        """Shows that we wrote a text: nobody else can make it without the key."""
        return self._hash("seal", text)[:32]


def seed_key(seed: int) -> bytes:
    """A key that anybody who knows the seed can make again: repeatable, and no secret."""
    return hashlib.blake2b(f"synthcohort pseudonyms {seed}".encode(), digest_size=KEY_BYTES).digest()


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def read_key(path: Path) -> bytes:
    """Reads a key file. Raises InputError when it is absent, not a key, or open to others."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except FileNotFoundError:
        raise InputError(Problem(f"key file {path}", "no such file")) from None
    except (OSError, ValueError):
        raise InputError(Problem(f"key file {path}", "is not a key", f"{2 * KEY_BYTES} hexadecimal digits")) from None
    if len(key) != KEY_BYTES:
        raise InputError(Problem(f"key file {path}", f"{len(key)} bytes", f"{KEY_BYTES} bytes in hexadecimal"))
    if path.stat().st_mode & 0o077:
        raise InputError(Problem(f"key file {path}", "others may read it", "mode 0600", f"run chmod 600 {path}"))
    return key


def write_key(path: Path, key: bytes) -> None:
    """Writes a key so that only its owner can read it, whole or not at all; an existing file is never replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    _write_secret(temporary, key)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name itself is made, and only when it is absent
        _write_secret(path, key)
    finally:
        temporary.unlink()


def _write_secret(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())


def clean_facts(facts: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The header facts that may enter a record, and the names of those whose value was on no list and stays behind."""
    kept: dict[str, Any] = {}
    dropped = []
    for name, vocabulary in (("modality", MODALITIES), ("body_part", BODY_PARTS), ("view", VIEWS)):
        if name in facts:
            word = re.sub(r"[\s_-]+", "", str(facts[name])).upper()
            if word in vocabulary:
                kept[name] = word
            else:
                dropped.append(name)
    if "manufacturer" in facts:
        kept["manufacturer"] = manufacturer(str(facts["manufacturer"]))
    for name, parse in (("sex", parse_sex), ("age", parse_age), ("laterality", parse_laterality)):
        if name in facts:
            value = parse(facts[name])
            if value is None:
                dropped.append(name)
            else:
                kept[name] = value
    return kept, dropped


def manufacturer(text: str) -> str:
    """The maker by a known name, or `other`."""
    words = " ".join(re.split(r"[^A-Z0-9]+", text.upper()))
    return next((name for name in MANUFACTURERS if re.search(rf"\b{name}\b", words)), "other")


_SEX = {"f": "F", "female": "F", "woman": "F", "w": "F", "m": "M", "male": "M", "man": "M", "o": "O", "other": "O"}
_SIDE = {
    "l": "L", "left": "L", "os": "L", "r": "R", "right": "R", "od": "R",
    "b": "B", "both": "B", "bilateral": "B", "ou": "B",
}  # fmt: skip
_AGE_UNITS = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}


def parse_sex(value: Any) -> str | None:
    """F, M or O; None for anything else, `unknown` included."""
    return _SEX.get(str(value).strip().casefold())


def parse_laterality(value: Any) -> str | None:
    """L, R or B."""
    return _SIDE.get(str(value).strip().casefold())


def parse_age(value: Any) -> float | None:
    """Years from 63, 63.5, 063Y, 018M, 010W or 020D; None for what is no age. 90 stands for 90 and older."""
    text = str(value).strip().upper()
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([YMWD])?(?:EARS?|R?S)?", text)
    if not match:
        return None
    years = float(match[1]) / _AGE_UNITS[match[2] or "Y"]
    if years > 130:
        return None
    return OLDEST_AGE if years > 89 else round(years, 2)
