"""A tiny synthetic cohort with evidence that passes: each test breaks one thing."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.files import write_artifact
from synthcohort.core.policy import FAMILIES, Policy, load_policy
from synthcohort.core.seeds import rng
from synthcohort.release.config import ReleaseConfig

PROVENANCE = {"run": "sha256:" + "ab" * 32, "model": "sha256:" + "cd" * 32, "seed": 7, "sampler": {"steps": 12}}


def write_cohort(path: Path, count: int = 6, screened: bool = True, origin: str = "synthetic", **record) -> Cohort:
    labels = [LabelColumn("kl_grade", "ordinal", (0, 1, 2))]
    writer = CohortWriter(path, "toy", origin, labels, PROVENANCE, "toy")
    for i in range(count):
        image = rng("image", i).integers(0, 256, (6, 5)).astype(np.uint8)
        row = {"image_id": f"synthetic-{i:04d}", "kl_grade": i % 3, "modality": "DX", "body_part": "KNEE"}
        writer.add(image, {**row, "seed": 100 + i, **record})
    return writer.finish(screened=screened)


def passing_scores(cohort: Cohort, policy: Policy) -> dict:
    score = {
        "name": "frechet", "title": "Fréchet distance", "group": "fidelity", "family": None, "encoder": "self",
        "subset": None,
        "value": 3.0, "low": 2.8, "high": 3.3, "confidence": 0.95, "floor": {"value": 0.2, "low": 0.1, "high": 0.3},
        "control": None, "n_real": 6, "n_synthetic": 6, "split": "test", "better": "lower", "computed_on": "64 px",
        "good": "near the floor", "verdict": None,
    }
    return {
        "real": {"digest": "sha256:" + "12" * 32, "name": "real", "images": {"train": 60}, "patients": {"train": 30}},
        "synthetic": {"digest": cohort.digest, "name": cohort.name, "images": len(cohort), "screened": True,
                      "provenance": PROVENANCE},
        "scores": [score],
        "families": {name: {"verdict": "pass", "reason": "all is well", "figures": {}} for name in FAMILIES},
        "verdict": "pass", "failed": [], "inconclusive": [], "policy": policy.summary(), "test_uses": 1,
        "settings": {"seed": 0},
    }


@pytest.fixture(scope="session")
def policy() -> Policy:
    return load_policy("open")


@pytest.fixture
def config() -> ReleaseConfig:
    return ReleaseConfig(license="CC BY 4.0", intended_use="Research on graders.")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "synthetic")


@pytest.fixture
def scores(cohort: Cohort, policy: Policy) -> dict:
    return copy.deepcopy(passing_scores(cohort, policy))


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict], Path]:
    """Writes scores as the evidence folder that `release` reads."""

    def write(scores: dict) -> Path:
        folder = tmp_path / "evidence"
        folder.mkdir(exist_ok=True)
        write_artifact(folder / "scores.json", "scores", 1, scores)
        return folder

    return write


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    def make(name: str = "other", **settings) -> Cohort:
        return write_cohort(tmp_path / name, **settings)

    return make
