import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from synthcohort.core.errors import ArtifactError, Refused
from synthcohort.core.files import digest_file, read_artifact, write_json
from synthcohort.release import release, verify


def content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_bundle_holds_what_it_says(cohort, scores, save, config, tmp_path):
    bundle = tmp_path / "bundle"
    result = release(cohort.path, save(scores), bundle, config)
    assert result == {"bundle": bundle.as_posix(), "decision": "release", "reasons": []}
    assert verify(bundle) == {"ok": True, "problems": []}
    names = set(content(bundle))
    assert {"README.txt", "report.html", "metadata.csv", "decision.json", "scores.json", "scorecard.json",
            "provenance.json", "policy.toml", "manifest.json", "manifest.sha256"} <= names
    assert sum(name.endswith(".dcm") for name in names) == sum(name.endswith(".png") for name in names) == len(cohort)
    manifest = read_artifact(bundle / "manifest.json", "bundle", 1)
    assert {entry["path"] for entry in manifest["files"]} == names - {"manifest.json", "manifest.sha256"}
    assert not list(tmp_path.glob(".bundle*")), "nothing half-made lies about"


def test_images_and_metadata_agree(cohort, scores, save, config, tmp_path):
    bundle = tmp_path / "bundle"
    release(cohort.path, save(scores), bundle, config)
    with open(bundle / "metadata.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == cohort.image_ids
    patients = set()
    for i, row in enumerate(rows):
        dataset = pydicom.dcmread(bundle / row["dicom"])
        assert np.array_equal(dataset.pixel_array, cohort.image(i))
        assert dataset.SOPInstanceUID == row["sop_instance_uid"]
        assert f"kl_grade={row['kl_grade']}" in dataset.SeriesDescription
        with Image.open(bundle / row["png"]) as picture:
            assert np.array_equal(np.asarray(picture), cohort.image(i))
        assert row["pixels_digest"] == cohort.column("pixels_digest")[i]
        patients.add(dataset.PatientID)
    assert len(patients) == len(rows), "each image is a synthetic patient of its own"
    assert "patient_id" not in rows[0]
    assert "source_digest" not in rows[0]


def test_the_same_release_gives_the_same_bytes(cohort, scores, save, config, tmp_path):
    evidence = save(scores)
    release(cohort.path, evidence, tmp_path / "one", config)
    release(cohort.path, evidence, tmp_path / "deep" / "er" / "two", config)
    assert content(tmp_path / "one") == content(tmp_path / "deep" / "er" / "two")


def test_a_bundle_that_is_there_is_kept_only_when_it_is_this_one(cohort, scores, save, config, tmp_path):
    evidence, bundle = save(scores), tmp_path / "bundle"
    release(cohort.path, evidence, bundle, config)
    before = content(bundle)
    assert release(cohort.path, evidence, bundle, config)["decision"] == "release"
    assert content(bundle) == before
    with pytest.raises(ArtifactError, match="another bundle"):
        release(cohort.path, evidence, bundle, replace(config, contact="desk"))
    (bundle / "README.txt").write_text("changed")
    with pytest.raises(ArtifactError, match="was changed"):
        release(cohort.path, evidence, bundle, config)


def test_a_refusal_leaves_nothing(cohort, scores, save, config, tmp_path):
    scores["families"]["copies"]["verdict"] = "fail"
    scores.update(verdict="fail", failed=["copies"])
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(Refused) as refusal:
        release(cohort.path, save(scores), tmp_path / "bundle", replace(config, license=""))
    assert refusal.value.exit_code == 1
    assert len(refusal.value.problems) == 2, "all reasons at once"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "evidence"])


def test_a_refusal_points_at_an_older_bundle(cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    scores["families"]["copies"]["verdict"] = "fail"
    scores.update(verdict="fail", failed=["copies"])
    with pytest.raises(Refused, match="not covered"):
        release(cohort.path, save(scores), tmp_path / "bundle", config)
    assert (tmp_path / "bundle" / "manifest.json").is_file(), "release deletes nothing"


def test_a_break_in_the_middle_leaves_nothing(cohort, scores, save, config, tmp_path, monkeypatch):
    from synthcohort.release import bundle as module

    def stop(*arguments: object) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.documents, "scorecard", stop)
    with pytest.raises(KeyboardInterrupt):
        release(cohort.path, save(scores), tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob(".bundle*"))


def test_evidence_that_is_absent_or_of_another_kind_is_an_error(cohort, scores, save, config, tmp_path):
    with pytest.raises(ArtifactError, match="no scores"):
        release(cohort.path, tmp_path / "nowhere", tmp_path / "bundle", config)
    evidence = save(scores)
    write_json(evidence / "scores.json", {**scores, "format": "synthcohort.cohort", "version": 1})
    with pytest.raises(ArtifactError, match="format"):
        release(cohort.path, evidence, tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()


def test_only_the_formats_asked_for(cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", replace(config, formats=("png",)))
    assert not (tmp_path / "bundle" / "images" / "dicom").exists()
    assert verify(tmp_path / "bundle")["ok"]


def test_no_path_of_this_machine_in_any_byte(cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    for path in (tmp_path / "bundle").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path.name


def test_scorecard_names_all_seven_criteria(cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    card = read_artifact(tmp_path / "bundle" / "scorecard.json", "scorecard", 1)
    status = {item["name"]: item["status"] for item in card["criteria"]}
    criteria = "congruence coverage constraint completeness compliance comprehension consistency"
    assert list(status) == criteria.split()
    assert status["congruence"] == status["completeness"] == "evaluated"
    assert status["compliance"] == status["coverage"] == "not evaluated"
    assert all(item.get("reason") for item in card["criteria"] if item["status"] == "not evaluated")
    keys = next(item for item in card["criteria"] if item["name"] == "comprehension")["figures"]["keys"]
    assert len(keys) == 12
    assert keys["not_intended_for"] is None, "an open question stays open"
