import csv
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image

from synthcohort.core.errors import ArtifactError, Refused
from synthcohort.core.files import digest_file, read_artifact, write_artifact, write_json
from synthcohort.core.signing import fingerprint, load_private, public_path
from synthcohort.release import release as plain_release
from synthcohort.release import verify


@pytest.fixture
def release(key):
    """A release with the owner's key."""
    return lambda *arguments, **more: plain_release(*arguments, **{"key": key, **more})


def content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_bundle_holds_what_it_says(release, key, cohort, scores, save, config, tmp_path):
    bundle = tmp_path / "bundle"
    result = release(cohort.path, save(scores), bundle, config)
    signer = fingerprint(load_private(key).public_key())
    assert result == {"bundle": bundle.as_posix(), "decision": "release", "reasons": [], "signed_by": signer}
    assert verify(bundle, public_path(key)) == {
        "ok": True, "problems": [], "images": 6, "signature": f"valid: {signer}", "overrides": {},
    }  # fmt: skip
    names = set(content(bundle))
    assert {
        "README.txt",
        "report.html",
        "metadata.csv",
        "decision.json",
        "scores.json",
        "scorecard.json",
        "provenance.json",
        "policy.toml",
        "croissant.json",
        "scores.sig",
        "load.py",
        "index.html",
        "documents/data_card.html",
        "manifest.json",
        "manifest.sha256",
        "manifest.sig",
    } <= names
    assert sum(name.endswith(".dcm") for name in names) == len(cohort)
    assert sum(name.startswith("images/png/") for name in names) == len(cohort)
    manifest = read_artifact(bundle / "manifest.json", "bundle", 2)
    images = {name for name in names if name.startswith("images/")}
    seals = {"manifest.json", "manifest.sha256", "manifest.sig"}
    assert {entry["path"] for entry in manifest["files"]} == names - images - seals
    assert {entry["path"] for entry in manifest["folders"]} == {"images/dicom/000000", "images/png/000000"}
    assert not list(tmp_path.glob(".bundle*")), "nothing half-made lies about"


def test_images_and_metadata_agree(release, cohort, scores, save, config, tmp_path):
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


def test_the_same_release_gives_the_same_bytes(release, cohort, scores, save, config, tmp_path):
    evidence = save(scores)
    release(cohort.path, evidence, tmp_path / "one", config)
    release(cohort.path, evidence, tmp_path / "deep" / "er" / "two", config)
    assert content(tmp_path / "one") == content(tmp_path / "deep" / "er" / "two")


def test_a_bundle_that_is_there_is_kept_only_when_it_is_this_one(release, cohort, scores, save, config, tmp_path):
    evidence, bundle = save(scores), tmp_path / "bundle"
    release(cohort.path, evidence, bundle, config)
    before = content(bundle)
    assert release(cohort.path, evidence, bundle, config)["decision"] == "release"
    assert content(bundle) == before
    with pytest.raises(ArtifactError, match="another bundle"):
        release(cohort.path, evidence, bundle, replace(config, contact="Another desk."))
    (bundle / "README.txt").write_text("changed")
    with pytest.raises(ArtifactError, match="was changed"):
        release(cohort.path, evidence, bundle, config)


def test_a_refusal_leaves_nothing(release, cohort, scores, save, config, tmp_path):
    scores["families"]["copies"]["verdict"] = "fail"
    scores.update(verdict="fail", failed=["copies"])
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(Refused) as refusal:
        release(cohort.path, save(scores), tmp_path / "bundle", replace(config, license=""))
    assert refusal.value.exit_code == 1
    assert len(refusal.value.problems) == 2, "all reasons at once"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "evidence"])


def test_a_refusal_points_at_an_older_bundle(release, cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    scores["families"]["copies"]["verdict"] = "fail"
    scores.update(verdict="fail", failed=["copies"])
    with pytest.raises(Refused, match="not covered"):
        release(cohort.path, save(scores), tmp_path / "bundle", config)
    assert (tmp_path / "bundle" / "manifest.json").is_file(), "release deletes nothing"


def test_a_break_in_the_middle_leaves_nothing(release, cohort, scores, save, config, tmp_path, monkeypatch):
    from synthcohort.release import bundle as module

    def stop(*arguments: object) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_documents", stop)
    with pytest.raises(KeyboardInterrupt):
        release(cohort.path, save(scores), tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob(".bundle*"))


def test_evidence_that_is_absent_or_of_another_kind_is_an_error(release, cohort, scores, save, config, tmp_path):
    with pytest.raises(ArtifactError, match="no scores"):
        release(cohort.path, tmp_path / "nowhere", tmp_path / "bundle", config)
    evidence = save(scores)
    write_json(evidence / "scores.json", {**scores, "format": "synthcohort.cohort", "version": 1})
    with pytest.raises(ArtifactError, match="format"):
        release(cohort.path, evidence, tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()


def test_only_the_formats_asked_for(release, cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", replace(config, formats=("png",)))
    assert not (tmp_path / "bundle" / "images" / "dicom").exists()
    assert verify(tmp_path / "bundle")["ok"]


def test_sha256sum_alone_checks_every_file(release, cohort, scores, save, config, tmp_path):
    bundle = tmp_path / "bundle"
    release(cohort.path, save(scores), bundle, config)
    listed = ["manifest.sha256", *(p.relative_to(bundle).as_posix() for p in bundle.rglob("checksums/**/*.sha256"))]
    done = subprocess.run(["sha256sum", "-c", *listed], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    checked = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert checked == set(content(bundle)) - {"manifest.sha256", "checksums/documents.sha256"}


def test_openssl_alone_checks_the_signature(release, key, cohort, scores, save, config, tmp_path):
    bundle = tmp_path / "bundle"
    release(cohort.path, save(scores), bundle, config)
    if shutil.which("openssl") is None:
        return
    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public_path(key), "-rawin", "-in",
             bundle / "manifest.json", "-sigfile", bundle / "manifest.sig"]  # fmt: skip
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("formats", [("dicom",), ("png",), ("parquet",), ("classes",), ("nifti",)])
def test_the_loader_runs_and_gives_the_pixels(release, cohort, scores, save, config, tmp_path, formats):
    bundle = tmp_path / "bundle"
    release(cohort.path, save(scores), bundle, replace(config, formats=formats))
    code = (
        "import load, hashlib, json; "
        "print(json.dumps([hashlib.sha256(p.tobytes()).hexdigest() for _, p in load.images()]))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=bundle, capture_output=True, text=True, check=True)
    digests = [hashlib.sha256(cohort.image(i).tobytes()).hexdigest() for i in range(len(cohort))]
    assert json.loads(done.stdout) == digests
    assert verify(bundle)["ok"]


def test_signed_values_and_volumes_in_every_format(release, volume_cohort, scores_of, save, config, tmp_path):
    cohort, scores = volume_cohort, scores_of(volume_cohort)
    bundle = tmp_path / "bundle"
    every = ("dicom", "png", "nifti", "parquet", "classes")
    release(cohort.path, save(scores), bundle, replace(config, formats=every, simulated={"KVP": 120.0}))
    assert verify(bundle)["ok"]
    sets = [pydicom.dcmread(path) for path in sorted(bundle.rglob("*.dcm"))]
    assert {ds.SOPClassUID.name for ds in sets} == {"CT Image Storage"}
    assert len({ds.PatientID for ds in sets}) == len({ds.SeriesInstanceUID for ds in sets}) == 1
    assert [ds.InstanceNumber for ds in sets] == [1, 2, 3, 4]
    assert [list(ds.ImagePositionPatient) for ds in sets] == [[0, 0, 2.5 * i] for i in range(4)]
    assert sets[0].KVP == 120
    assert "SIMULATED" in sets[0].ImageComments
    assert sets[0].pixel_array.min() < 0
    image = nibabel.load(next(bundle.rglob("*.nii.gz")))
    assert np.array_equal(np.asarray(image.dataobj).T, cohort.volume(0)[0])
    assert np.allclose(image.affine @ [0, 0, 2, 1], [0, 0, 5, 1])
    table = pq.read_table(next(bundle.rglob("*.parquet")))
    assert table.num_rows == len(cohort)
    assert {path.parent.parent.name for path in bundle.rglob("images/classes/**/*.png")} == {"kl_grade-0", "kl_grade-1"}


def test_a_written_reason_stands_in_every_document(release, cohort, scores, save, config, tmp_path):
    scores["families"]["harm"].update(verdict="inconclusive", reason="too few images")
    scores.update(verdict="inconclusive", inconclusive=["harm"])
    reason = "The partner measures this itself, see the contract."
    release(cohort.path, save(scores), tmp_path / "bundle", config, overrides={"family:harm": reason})
    assert verify(tmp_path / "bundle")["overrides"] == {"family:harm": reason}
    text = (tmp_path / "bundle" / "report.html").read_text()
    assert "25 of 26 rules of the policy hold" in text
    assert "Set aside" in text
    for name in ("report.html", "README.txt", "decision.json", "documents/summary.html", "documents/data_card.html"):
        assert reason in (tmp_path / "bundle" / name).read_text(), name


def test_the_same_pdf_twice(release, cohort, scores, save, config, tmp_path):
    pytest.importorskip("weasyprint")
    asked = replace(config, pdf=True, formats=("png",))
    evidence = save(scores)
    release(cohort.path, evidence, tmp_path / "one", asked)
    release(cohort.path, evidence, tmp_path / "two", asked)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert (tmp_path / "one" / "documents" / "summary.pdf").read_bytes().startswith(b"%PDF-")


def test_the_owner_is_told_which_images_are_too_near(release, cohort, scores, save, config, tmp_path):
    scores["families"]["copies"].update(verdict="fail", reason="2 of 6")
    scores.update(verdict="fail", failed=["copies"])
    evidence = save(scores)
    near = {"synthetic_digest": cohort.digest, "images": [{"image_id": "synthetic-0003", "similarity": 0.99}]}
    (evidence / "owner").mkdir()
    write_artifact(evidence / "owner" / "near.json", "near", 1, near)
    with pytest.raises(Refused, match=r"synthetic-0003.*--replace"):
        release(cohort.path, evidence, tmp_path / "bundle", config)


def test_no_path_of_this_machine_in_any_byte(release, cohort, scores, save, config, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    for path in (tmp_path / "bundle").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path.name
