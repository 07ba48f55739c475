"""A tiny synthetic cohort with evidence that passes: each test breaks one thing."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.files import artifact_text, write_artifact
from synthcohort.core.policy import FAMILIES, Policy, load_policy
from synthcohort.core.seeds import rng
from synthcohort.core.signing import load_private, make_key, sign_file
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.decision import Signature

PROVENANCE = {
    "method": "diffusion model in pixel space", "model_digest": "sha256:" + "cd" * 32, "seed": 7, "count": 6,
    "config": {"sampling": {"steps": 12}}, "where": {}, "balance": None, "prompt": None,
    "training": {"cohorts": ["sha256:" + "12" * 32], "images_seen": 500, "steps": 80, "training_images": 60, "seed": 1},
}  # fmt: skip


def write_cohort(
    path: Path, count: int = 6, screened: bool = True, origin: str = "synthetic", made: dict | None = None, **record
) -> Cohort:
    labels = [LabelColumn("kl_grade", "ordinal", (0, 1, 2))]
    writer = CohortWriter(path, "toy", origin, labels, made or PROVENANCE, "toy")
    for i in range(count):
        image = rng("image", i).integers(0, 256, (6, 5)).astype(np.uint8)
        row = {"image_id": f"synthetic-{i:04d}", "kl_grade": i % 3, "modality": "DX", "body_part": "KNEE"}
        writer.add(image, {**row, "seed": 100 + i, **record})
    return writer.finish(screened=screened)


def write_volume(path: Path, slices: int = 4) -> Cohort:
    """One synthetic CT volume, slices 2.5 mm apart."""
    labels = [LabelColumn("kl_grade", "ordinal", (0, 1, 2))]
    writer = CohortWriter(path, "toy", "synthetic", labels, PROVENANCE, "toy")
    names = [f"synthetic-{i:04d}" for i in range(slices)]
    for i, name in enumerate(names):
        image = rng("slice", i).integers(-1024, 2000, (6, 5)).astype(np.int16)
        row = {"image_id": name, "kl_grade": i % 2, "modality": "CT", "view": "axial", "body_part": "CHEST"}
        writer.add(image, {**row, "seed": i, "pixel_spacing_mm": [0.7, 0.5], "window_center": 40, "window_width": 400})
    affine = [[0, 0, 0.5, 0], [0, 0.7, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]]
    volume = {"series_id": None, "image_ids": names, "slices": slices, "affine_lps": affine}
    return writer.finish(
        extra_files={"volumes.json": artifact_text("volumes", 1, {"volumes": [volume]})}, screened=True
    )


def passing_scores(cohort: Cohort, policy: Policy) -> dict:
    score = {
        "name": "frechet",
        "title": "Fréchet distance",
        "group": "fidelity",
        "family": None,
        "encoder": "self",
        "subset": None,
        "value": 3.0,
        "low": 2.8,
        "high": 3.3,
        "confidence": 0.95,
        "floor": {"value": 0.2, "low": 0.1, "high": 0.3},
        "control": None,
        "n_real": 6,
        "n_synthetic": 6,
        "split": "test",
        "better": "lower",
        "computed_on": "64 px",
        "good": "near the floor",
        "verdict": None,
    }
    bounded = {
        **score,
        "name": "copy_rate",
        "title": "Images that copy a training image",
        "group": "privacy",
        "family": "copies",
        "value": 0.0,
        "low": 0.0,
        "high": 0.004,
        "floor": None,
        "verdict": "pass",
    }
    seen = {
        **bounded,
        "name": "copy_sensitivity",
        "title": "Planted copies found",
        "value": 1.0,
        "low": 0.97,
        "high": 1.0,
    }
    return {
        "real": {"digest": "sha256:" + "12" * 32, "name": "real", "images": {"train": 60}, "patients": {"train": 30}},
        "synthetic": {
            "digest": cohort.digest,
            "name": cohort.name,
            "images": len(cohort),
            "screened": True,
            "provenance": PROVENANCE,
        },
        "scores": [score, bounded, seen],
        "families": {name: {"verdict": "pass", "reason": "all is well", "figures": {}} for name in FAMILIES},
        "verdict": "pass",
        "failed": [],
        "inconclusive": [],
        "policy": policy.summary(),
        "test_uses": 1,
        "settings": {"seed": 0},
    }


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy("open")


@pytest.fixture
def config() -> ReleaseConfig:
    return ReleaseConfig(
        license="CC BY 4.0", intended_use="Research on graders.", not_intended_for="Diagnosis.", contact="The desk."
    )


@pytest.fixture(scope="session")
def key(tmp_path_factory) -> Path:
    """The owner's key; beside it lies the public one."""
    path = tmp_path_factory.mktemp("keys") / "owner.key"
    make_key(path)
    return path


@pytest.fixture
def signed(scores) -> Signature:
    """What a decision knows of scores whose signature holds."""
    return Signature("", "ed25519:" + "ee" * 32)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "synthetic")


@pytest.fixture
def scores(cohort: Cohort, policy: Policy) -> dict:
    return copy.deepcopy(passing_scores(cohort, policy))


@pytest.fixture
def save(tmp_path: Path, key: Path) -> Callable[..., Path]:
    """Writes scores as the evidence folder that `release` reads, signed by the owner."""

    def write(scores: dict, sign: bool = True) -> Path:
        folder = tmp_path / "evidence"
        folder.mkdir(exist_ok=True)
        write_artifact(folder / "scores.json", "scores", 1, scores)
        if sign:
            sign_file(folder / "scores.json", load_private(key))
        return folder

    return write


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    def make(name: str = "other", **settings) -> Cohort:
        return write_cohort(tmp_path / name, **settings)

    return make


@pytest.fixture
def volume_cohort(tmp_path: Path) -> Cohort:
    return write_volume(tmp_path / "ct")


@pytest.fixture
def scores_of(policy: Policy) -> Callable[[Cohort], dict]:
    """Evidence that passes, about a cohort."""
    return lambda cohort: copy.deepcopy(passing_scores(cohort, policy))
