"""Canaries from the trainer to the release desk by the command line: planted, learned by heart, exposed, refused."""

import json
from pathlib import Path

import pytest

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng
from synthcohort.evaluation.canaries import audit_canaries
from synthcohort.imaging.canaries import CanaryConfig
from synthcohort.phantoms.anatomy import draw_anatomy, draw_knee
from synthcohort.phantoms.knee import knee

SIZE = 32
ROLES = ["train"] * 24 + ["validation"] * 8 + ["control"] * 8 + ["test"] * 24
CANARIES = ["count=12", "repeats=4", "strength=0.25", "seed=5"]
LEAST_EXPOSURE = 4  # bits of 6: clearly beyond chance, 1.4
NETWORK = {"channels": "[32, 64]", "encoder_blocks": "[1, 1]", "decoder_blocks": "[1, 1]", "attention_levels": "[]",
           "embedding_width": "32"}  # fmt: skip
TRAINING = ["size=32", "batch=16", "flip=false", "validation_images=0", "watch_images=0"]
STATED = ["license=CC BY 4.0", "intended_use=Research.", "not_intended_for=Diagnosis.", "contact=The desk."]


def phantom_cohort(path: Path) -> Cohort:
    """One phantom knee a patient, grades in turn."""
    writer = CohortWriter(path, "phantoms", "real", [LabelColumn("grade", "ordinal", (0, 1, 2))], {}, "fingerprint")
    for n, role in enumerate(ROLES):
        params = draw_knee(draw_anatomy(rng("anatomy", n)), n % 3, "R", rng("knee", n))
        image, _ = knee(params, SIZE, rng("image", n))
        own = {"image_id": f"i{n:03d}", "patient_id": f"p{n:03d}", "group_id": f"p{n:03d}"}
        writer.add(image, {**own, "grade": n % 3, "split": role, "bits_stored": 12, "modality": "DX"})
    return writer.finish()


def settings(section: str, values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", f"{section}.{value}")]


def trained(cohort: Cohort, out: Path, images: int, canaries: list[str]) -> Path:
    network = [f"network.{name}={value}" for name, value in NETWORK.items()]
    asked = settings("train", [f"images={images}", *TRAINING, *network, *(f"canaries.{value}" for value in canaries)])
    assert main(["train", str(cohort.path), "--out", str(out), *asked]) == 0
    return out


@pytest.mark.slow
def test_marks_learned_by_heart_are_exposed_and_the_images_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = phantom_cohort(tmp_path / "real")
    run, made, evidence = trained(real, tmp_path / "run", 6_400, CANARIES), tmp_path / "made", tmp_path / "evidence"
    assert (
        main(["generate", str(run), "--count", "24", "--out", str(made), *settings("generate", ["screen=false"])]) == 0
    )
    parts = settings("evaluate", ['parts=["membership"]', 'encoders=["packaged"]'])
    asked = ["--real", str(real.path), "--synthetic", str(made), "--run", str(run), "--policy", "internal"]
    assert main(["evaluate", *asked, "--out", str(evidence), *parts]) == 0

    scores = json.loads((evidence / "scores.json").read_text())
    found = next(score for score in scores["scores"] if score["name"] == "canary_exposure")
    figures = scores["figures"]["canaries"]
    print(found, figures)
    assert figures["canaries"] == 12
    assert found["low"] > LEAST_EXPOSURE
    assert found["floor"]["value"] < 1.5
    assert figures["p_value"] < 1e-6
    assert str(tmp_path) not in (evidence / "scores.json").read_text()
    assert not any(name in (evidence / "scores.json").read_text() for name in real.image_ids)

    capsys.readouterr()
    for policy in ("internal", "partner", "open"):
        bundle = ["release", "--synthetic", str(made), "--evidence", str(evidence), "--policy", policy]
        assert main([*bundle, "--out", str(tmp_path / "bundle"), *settings("release", STATED)]) == 1
        assert "Canaries were planted in the training images" in capsys.readouterr().err
        assert not (tmp_path / "bundle").exists()

    # Marks that were never planted, through the same model: what chance gives.
    config = CanaryConfig(count=12, repeats=4, strength=0.25, seed=6)
    kept = audit_canaries(real, config, tmp_path / "cache", 0, run=run)["figures"]["canaries"]
    print(kept)
    assert kept["p_value"] > 0.01
    assert kept["mean_exposure"]["value"] < kept["chance"] + 1
