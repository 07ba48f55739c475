"""The evidence folder as release reads it: the scores, byte for byte, and whether the owner's signature holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from synthcohort.core.errors import ArtifactError, Problem, SynthCohortError
from synthcohort.core.files import read_artifact
from synthcohort.core.signing import fingerprint, read_signature, signature_path, signature_problem
from synthcohort.release.decision import SCORES_FORMAT, SCORES_VERSION, Signature

NEAR_FORMAT, NEAR_VERSION = "near", 1


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on."""

    scores: Mapping[str, Any]
    data: bytes  # of scores.json
    seal: bytes | None  # of scores.sig
    signature: Signature
    near: tuple[str, ...] | None  # images too near to a training image, by name, where evaluation named them


def read_evidence(folder: Path, key: Ed25519PublicKey | None) -> Evidence:
    """Reads scores.json with its signature. Raises ArtifactError when there are no scores."""
    path = Path(folder) / "scores.json"
    if not path.is_file():
        raise ArtifactError(
            Problem(f"evidence {folder}", "holds no scores.json", "a folder made by synthcohort evaluate")
        )
    scores = read_artifact(path, SCORES_FORMAT, SCORES_VERSION)
    data = path.read_bytes()
    if json.loads(data) != scores:
        raise ArtifactError(Problem(f"evidence {folder}", "was changed while it was read", remedy="try again"))
    seal, signature = _signature(path, data, key)
    return Evidence(scores, data, seal, signature, _near(Path(folder), scores))


def _signature(path: Path, data: bytes, key: Ed25519PublicKey | None) -> tuple[bytes | None, Signature]:
    file = signature_path(path)
    if not file.exists():
        return None, Signature()
    try:
        seal = read_signature(file)
    except SynthCohortError:
        return None, Signature("scores.sig is no signature")
    if key is None:
        return seal, Signature("it cannot be checked without the owner’s key (--key)")
    return seal, Signature(signature_problem(data, seal, key), fingerprint(key))


def _near(folder: Path, scores: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The owner's list of images that are too near (docs/formats.md), where it is about these scores' cohort."""
    path = folder / "owner" / "near.json"
    if not path.is_file():
        return None
    try:
        content = read_artifact(path, NEAR_FORMAT, NEAR_VERSION)
    except SynthCohortError:
        return None
    synthetic = scores.get("synthetic")
    if not isinstance(synthetic, Mapping) or content.get("synthetic_digest") != synthetic.get("digest"):
        return None
    return tuple(str(item["image_id"]) for item in content.get("images") or [])
