import json
import shutil
from pathlib import Path

import pytest

from synthcohort.core.errors import InputError
from synthcohort.core.files import digest_bytes, json_text, read_json
from synthcohort.core.seeds import rng
from synthcohort.release import release, verify
from synthcohort.release.manifest import safe_path, sidecar_text


@pytest.fixture
def bundle(make_cohort, scores, save, config, tmp_path) -> Path:
    cohort = make_cohort(count=3)
    scores["synthetic"].update(digest=cohort.digest, images=3)
    release(cohort.path, save(scores), tmp_path / "bundle", config)
    return tmp_path / "bundle"


def reseal(bundle: Path, **files: str) -> None:
    """What a forger without a key can do: rewrite files, manifest and sidecar."""
    manifest = read_json(bundle / "manifest.json")
    for entry in manifest["files"]:
        data = (bundle / entry["path"]).read_bytes()
        entry.update(sha256=digest_bytes(data).removeprefix("sha256:"), size=len(data))
    text = json_text(manifest)
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(sidecar_text(text.encode()))


def write_manifest(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(sidecar_text(text.encode()))


def test_every_single_changed_byte_is_found(bundle):
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    random = rng("flips")
    for trial in range(300):
        path = files[trial % len(files)]
        data = bytearray(path.read_bytes())
        place = int(random.integers(len(data)))
        old = data[place]
        data[place] ^= int(random.integers(1, 256))
        path.write_bytes(data)
        result = verify(bundle)
        assert not result["ok"], f"byte {place} of {path.name}"
        assert any(path.name in problem for problem in result["problems"])
        data[place] = old
        path.write_bytes(data)
    assert verify(bundle)["ok"]


def test_added_missing_and_changed_files_are_named(bundle):
    (bundle / "images" / "extra.txt").write_text("x")
    (bundle / "empty").mkdir()
    (bundle / "README.txt").unlink()
    (bundle / "metadata.csv").write_text("x")
    problems = " | ".join(verify(bundle)["problems"])
    assert "images/extra.txt was added" in problems
    assert "README.txt is missing" in problems
    assert "metadata.csv was changed" in problems
    assert "empty/" in problems


def test_links_are_never_followed(bundle, tmp_path):
    inside = bundle / "README.txt"
    outside = tmp_path / "readme"
    shutil.move(inside, outside)
    inside.symlink_to(outside)
    assert any("README.txt" in problem for problem in verify(bundle)["problems"])
    inside.unlink()
    shutil.move(outside, inside)
    (bundle / "folder").symlink_to(tmp_path)
    assert verify(bundle)["problems"] == ["folder is neither a plain file nor a folder with files in it"]


@pytest.mark.parametrize(
    "path",
    ["../outside", "/etc/passwd", "images/../../x", "a\\b", "C:x", "./README.txt", "a//b", "", "manifest.json", 3,
     None],
)
def test_path_tricks_are_refused(bundle, path):
    manifest = read_json(bundle / "manifest.json")
    manifest["files"][0]["path"] = path
    write_manifest(bundle, json_text(manifest))
    result = verify(bundle)
    assert not result["ok"]
    assert "manifest.json" in result["problems"][0]


def test_safe_path():
    assert safe_path("images/dicom/a-1.dcm")
    assert not safe_path("images/dicom/")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "{" * 10, '{"format": "synthcohort.bundle", "version": 1}',
     '{"format": "synthcohort.bundle", "version": 1, "files": [3]}',
     '{"format": "synthcohort.bundle", "version": 2, "files": []}',
     '{"format": "synthcohort.bundle", "version": 1, "files": [{"path": "a", "size": -1, "sha256": "0"}]}',
     "9" * 5000, "[" * 100_000],
)  # fmt: skip
def test_malformed_manifest_is_a_problem_not_a_crash(bundle, text):
    write_manifest(bundle, text)
    assert not verify(bundle)["ok"]


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
def test_a_bundle_without_manifest_is_no_bundle(bundle, name):
    (bundle / name).unlink()
    assert verify(bundle)["problems"] == [f"{name} is missing or no plain file"]


def test_no_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError):
        verify(tmp_path / "nowhere")


def test_unmarked_image_is_found_even_in_a_resealed_bundle(bundle):
    import pydicom

    path = next((bundle / "images" / "dicom").glob("*.dcm"))
    dataset = pydicom.dcmread(path)
    del dataset.SyntheticData
    dataset.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue = "109101"
    dataset.save_as(path)
    reseal(bundle)
    problems = verify(bundle)["problems"]
    assert len(problems) == 2
    assert all(path.name in problem for problem in problems)
    assert "(0008,001C)" in problems[0]


def test_unmarked_png_is_found_even_in_a_resealed_bundle(bundle):
    from PIL import Image

    path = next((bundle / "images" / "png").glob("*.png"))
    with Image.open(path) as picture:
        picture.load()
    Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(path)
    reseal(bundle)
    assert any(path.name in problem and "XMP" in problem for problem in verify(bundle)["problems"])


def test_decision_must_follow_from_scores_and_policy(bundle):
    scores = json.loads((bundle / "scores.json").read_text())
    scores["families"]["copies"]["verdict"] = "fail"
    (bundle / "scores.json").write_text(json_text(scores))
    reseal(bundle)
    problems = " | ".join(verify(bundle)["problems"])
    assert "other scores" in problems
    assert "copies" in problems


def test_a_looser_policy_slipped_in_is_found(bundle):
    path = bundle / "policy.toml"
    path.write_text(path.read_text().replace("detectable_rate = 0.02", "detectable_rate = 0.9"))
    reseal(bundle)
    assert any("another policy" in problem for problem in verify(bundle)["problems"])
