"""Scores and sheets as a report gets them."""

import numpy as np
import pytest

from synthcohort.core.seeds import rng
from synthcohort.pages.grids import sheet
from synthcohort.pages.words import FAMILIES


def _score(name: str, group: str, value, low=None, high=None, **more) -> dict:
    return {
        "name": name,
        "title": more.pop("title", name.capitalize()),
        "group": group,
        "family": None,
        "encoder": None,
        "subset": None,
        "value": value,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "floor": None,
        "control": None,
        "n_real": 1000,
        "n_synthetic": 500,
        "split": "test",
        "better": "lower",
        "computed_on": "",
        "good": "near the floor",
        "verdict": None,
        **more,
    }


@pytest.fixture
def make_score():
    return _score


@pytest.fixture
def scores() -> dict:
    floor = {"value": 0.15, "low": 0.11, "high": 0.18}
    return {
        "real": {
            "digest": "sha256:" + "12" * 32,
            "name": "knees",
            "images": {"train": 60, "test": 20},
            "patients": {"train": 30, "test": 10},
        },
        "synthetic": {
            "digest": "sha256:" + "34" * 32,
            "name": "toy",
            "images": 500,
            "screened": True,
            "provenance": {"sampler": {"steps": 12}, "seed": 7},
        },
        "scores": [
            _score("frechet", "fidelity", 3.06, 2.85, 3.27, encoder="self", floor=floor, title="Fréchet distance"),
            _score("frechet", "fidelity", 41.0, 38.0, 44.0, encoder="lite0", floor=floor, title="Fréchet distance"),
            _score("recall", "utility", 0.1, 0.04, 0.17, subset="kl_grade=4", floor=floor, verdict="fail"),
            _score("copies", "privacy", 0.004, 0.001, 0.011, control=floor),
            _score("odd", "unheard_of", None),
        ],
        "families": {f.name: {"verdict": "pass", "reason": "all is well", "figures": {}} for f in FAMILIES},
        "verdict": "pass",
        "failed": [],
        "inconclusive": [],
        "policy": {"name": "open", "digest": "sha256:" + "56" * 32, "thresholds": {"copies": {"significance": 0.01}}},
        "test_uses": 1,
        "settings": {"bootstrap": 1000},
    }


@pytest.fixture
def sheets() -> dict[str, bytes]:
    images = [rng("sheet", i).integers(0, 256, (8, 8)).astype(np.uint8) for i in range(3)]
    return {f"kl_grade = {grade}": sheet(images, columns=2, tile=16) for grade in range(2)}


@pytest.fixture
def decision() -> dict:
    return {
        "decision": "refuse",
        "policy": {"name": "open", "digest": "sha256:" + "56" * 32},
        "rules": [
            {
                "name": "license",
                "title": "A license is stated",
                "passed": False,
                "figure": "",
                "reason": "No license is stated.",
            },
            {"name": "family:copies", "title": "No copies", "passed": True, "figure": {}, "reason": "Passed."},
        ],
        "questions": ["Who answers questions?"],
        "statement": {"license": "", "intended_use": "Research", "not_intended_for": "", "contact": ""},
        "scores_digest": "sha256:" + "78" * 32,
    }
