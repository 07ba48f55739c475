"""Plain folders and archives offered to the evaluation."""

import json
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from synthcohort.core.cohort import ROLES, Cohort
from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.pipeline import sources

CONFIG = EvaluateConfig(
    encoders=("self_trained",), min_class_images=6, folds=5, bootstrap=50, threads=1,
    grader=GraderConfig(steps=6, batch=16), parts=("copies", "fidelity", "damage"),
)  # fmt: skip


def folder(path: Path, num: int, seed: int, classes: bool = False, table: bool = False, size: int = 32) -> Path:
    """PNG files of blobs: in folders named by class, or listed with patients in a table."""
    rows = ["file,patient_id,grade"]
    for i in range(num):
        generator = rng("blobs", seed, i)
        place = path / f"class_{'ab'[i % 2]}" if classes else path
        place.mkdir(parents=True, exist_ok=True)
        coarse = PIL.Image.fromarray(generator.integers(0, 255, (6, 6), np.uint8)).resize((size, size))
        image = np.asarray(coarse) // 2 + generator.integers(0, 60, (size, size), np.uint8)
        PIL.Image.fromarray(image.astype(np.uint8)).save(place / f"{seed}_{i:03d}.png")
        rows.append(f"{seed}_{i:03d}.png,P{seed}{i // 2:03d},{i % 3}")
    if table:
        (path / "metadata.csv").write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def compared(monkeypatch):
    """What the evaluation was asked for, in place of it."""
    asked = {}

    def compare(real, synthetic, out, config, policy, seed, trained_on, run, study):
        asked.update(real=Cohort.open(real), synthetic=Cohort.open(synthetic), trained_on=trained_on)
        return {}

    monkeypatch.setattr("synthcohort.evaluation.evaluate", compare)
    return asked


def test_two_plain_folders_are_evaluated_to_the_end(tmp_path):
    real, made = folder(tmp_path / "real", 140, 1), folder(tmp_path / "made", 40, 2)
    result = sources.evaluate(real, made, tmp_path / "evidence", CONFIG, "internal", 3)
    scores = json.loads(Path(result["scores"]).read_text())
    assert scores["trained_on"] == list(ROLES)
    assert scores["label"] is None
    assert scores["families"]["label_truth"]["reason"] == "the real cohort has no nominal or ordinal label column"
    assert {item["name"] for item in scores["scores"]} >= {"frechet_distance", "coverage_ratio", "copy_rate"}
    assert any("Nobody said which real images" in note for note in scores["settings"]["notes"])
    assert (tmp_path / "evidence" / "report.html").exists()
    assert sorted(path.name for path in real.iterdir())[0] == "1_000.png"  # nothing was written there


def test_classes_come_from_folders_and_a_killed_reading_goes_on(tmp_path, compared, monkeypatch):
    real, made = folder(tmp_path / "real", 60, 1, classes=True), folder(tmp_path / "made", 20, 2, classes=True)
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(made.rglob("*.png")):
            file.write(path, path.relative_to(made).as_posix())
    with monkeypatch.context() as patch:
        patch.setattr(sources.CohortWriter, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sources.evaluate(real, archive, tmp_path / "out", CONFIG)
    sources.evaluate(real, archive, tmp_path / "out", CONFIG)
    assert compared["synthetic"].origin == "synthetic"
    assert set(compared["synthetic"].column("split")) == {None}
    assert compared["real"].origin == "real"
    labels = [next(iter(compared[side].labels.values())) for side in ("real", "synthetic")]
    assert labels[0] == labels[1]
    assert len(labels[0].values) == 2
    before = compared["real"].path
    folder(real, 2, 9, classes=True)
    sources.evaluate(real, archive, tmp_path / "out", CONFIG)
    assert compared["real"].path != before
    assert len(compared["real"]) == 62


def test_held_out_patients_become_control_and_test(tmp_path, compared):
    real, others = folder(tmp_path / "real", 80, 1, table=True), folder(tmp_path / "others", 60, 3, table=True)
    made = folder(tmp_path / "made", 20, 2)
    sources.evaluate(real, made, tmp_path / "out", CONFIG, holdout=others)
    cohort = compared["real"]
    assert compared["trained_on"] == ("train", "validation")
    roles = dict(zip(cohort.column("pixels_digest"), cohort.column("split"), strict=True))
    assert len(cohort) == 140
    counts = {role: list(roles.values()).count(role) for role in ROLES}
    assert counts["train"] + counts["validation"] == 80
    assert counts["control"] > 10
    assert counts["test"] > 10
    by_patient = {}
    for patient, role in zip(cohort.column("patient_id"), cohort.column("split"), strict=True):
        assert by_patient.setdefault(patient, role) == role
    assert cohort.labels["grade"].values == (0, 1, 2)
    assert cohort.verify() == []


def test_a_split_of_the_users_own_is_taken_for_what_was_learned_from(tmp_path, compared):
    real = folder(tmp_path / "real", 40, 1, table=True)
    lines = (real / "metadata.csv").read_text().splitlines()
    words = ["split", *(("train", "val", "control", "test")[i // 2 % 4] for i in range(40))]
    (real / "metadata.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(lines, words, strict=True)))
    sources.evaluate(real, folder(tmp_path / "made", 20, 2), tmp_path / "out", CONFIG)
    assert compared["trained_on"] == ("train",)
    assert compared["real"].column("split").count("test") == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"holdout": "real"}, "the same source as --real"),
        ({"holdout": "copy"}, "patients that --real has too"),
        ({"holdout": "bare"}, "images that are, pixel by pixel"),
        ({"holdout": "absent"}, "no such file or folder"),
        ({"synthetic": "empty"}, "no image"),
    ],
)
def test_sources_that_do_not_fit(tmp_path, compared, change, words):
    folder(tmp_path / "real", 40, 1, table=True)
    folder(tmp_path / "made", 20, 2)
    folder(tmp_path / "copy", 40, 1, table=True)
    folder(tmp_path / "bare", 40, 1)
    (tmp_path / "empty").mkdir()
    given = {"real": "real", "synthetic": "made", **change}
    paths = {name: tmp_path / value for name, value in given.items()}
    with pytest.raises((InputError, ArtifactError), match=words):
        sources.evaluate(out=tmp_path / "out", config=CONFIG, **paths)
