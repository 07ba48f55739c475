import json
import shutil
from pathlib import Path

import pytest

from synthcohort.core.errors import InputError
from synthcohort.core.files import digest_bytes, json_text, read_json
from synthcohort.core.seeds import rng
from synthcohort.core.signing import load_private, make_key, public_path
from synthcohort.release import release, verify
from synthcohort.release.manifest import safe_path, sidecar_text


@pytest.fixture
def bundle(make_cohort, scores, save, config, key, tmp_path) -> Path:
    cohort = make_cohort(count=3)
    scores["synthetic"].update(digest=cohort.digest, images=3)
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    return tmp_path / "bundle"


def _digits(path: Path) -> str:
    return digest_bytes(path.read_bytes()).removeprefix("sha256:")


def reseal(bundle: Path) -> None:
    """What a forger without a key can do: rewrite files, manifest and sidecar."""
    manifest = read_json(bundle / "manifest.json")
    for folder in manifest["folders"]:
        paths = sorted(path for path in (bundle / folder["path"]).iterdir())
        lines = [f"{_digits(path)}  {path.relative_to(bundle).as_posix()}\n" for path in paths]
        (bundle / folder["list"]).write_text("".join(lines))
        folder["files"] = len(paths)
    for entry in manifest["files"]:
        data = (bundle / entry["path"]).read_bytes()
        entry.update(sha256=digest_bytes(data).removeprefix("sha256:"), size=len(data))
    text = json_text(manifest)
    write_manifest(bundle, text)


def write_manifest(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    (bundle / "manifest.sha256").write_text(sidecar_text(text.encode(), (bundle / "manifest.sig").read_bytes()))


def test_every_single_changed_byte_is_found(bundle):
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    random = rng("flips")
    for trial in range(200):
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
    [
        "../outside",
        "/etc/passwd",
        "images/../../x",
        "a\\b",
        "C:x",
        "./README.txt",
        "a//b",
        "",
        "manifest.json",
        3,
        None,
    ],
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
     '{"format": "synthcohort.bundle", "version": 2, "folders": [], "files": [3]}',
     '{"format": "synthcohort.bundle", "version": 3, "files": []}',
     '{"format": "synthcohort.bundle", "version": 2, "folders": [], "files": [{"path": "a", "size": -1}]}',
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

    path = next((bundle / "images" / "dicom").rglob("*.dcm"))
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

    path = next((bundle / "images" / "png").rglob("*.png"))
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


def test_the_owners_signature_is_checked(bundle, key, tmp_path):
    public = public_path(key)
    assert verify(bundle, public)["signature"].startswith("valid: ed25519:")
    assert verify(bundle)["signature"] == "not checked: no --public-key"
    make_key(tmp_path / "other.key")
    found = verify(bundle, tmp_path / "other.key.pub")
    assert not found["ok"]
    assert "manifest.sig" in found["problems"][0]


def test_whoever_reseals_a_changed_bundle_without_the_key_is_found(bundle, key):
    (bundle / "README.txt").write_text("Use them for diagnosis.")
    reseal(bundle)
    assert verify(bundle)["ok"], "without the public key nobody can tell"
    found = verify(bundle, public_path(key))
    assert not found["ok"]
    assert found["signature"] == "invalid"


def test_a_bundle_signed_by_somebody_else_is_found(bundle, key, tmp_path):
    make_key(tmp_path / "forger.key")
    reseal(bundle)
    (bundle / "manifest.sig").write_bytes(
        load_private(tmp_path / "forger.key").sign((bundle / "manifest.json").read_bytes())
    )
    write_manifest(bundle, (bundle / "manifest.json").read_text())
    assert verify(bundle, tmp_path / "forger.key.pub")["problems"], "the scores carry the owner's signature, not his"
    assert "manifest.sig" in verify(bundle, public_path(key))["problems"][0]


def test_a_signature_taken_away_is_missed(bundle, key):
    (bundle / "manifest.sig").unlink()
    assert "manifest.sig is missing: the manifest says that the bundle is signed" in verify(bundle)["problems"]
    assert any("manifest.sig is missing" in problem for problem in verify(bundle, public_path(key))["problems"])


def test_images_added_renamed_and_taken_away_are_named(bundle):
    folder = bundle / "images" / "dicom" / "000000"
    (folder / "extra.dcm").write_bytes(b"x")
    first, second = sorted(folder.glob("synthetic-*.dcm"))[:2]
    first.rename(folder / "renamed.dcm")
    second.unlink()
    (bundle / "images" / "png" / "000001").mkdir()
    (bundle / "images" / "png" / "000001" / "new.png").write_bytes(b"x")
    problems = " | ".join(verify(bundle)["problems"])
    for words in ("000000/extra.dcm was added", "renamed.dcm was added", f"{first.name} is missing",
                  f"{second.name} is missing", "000001/new.png was added"):  # fmt: skip
        assert words in problems


def test_a_whole_folder_taken_away_names_each_image(bundle):
    shutil.rmtree(bundle / "images" / "png")
    assert sum("is missing" in problem for problem in verify(bundle)["problems"]) == 3


def test_checksums_that_name_files_elsewhere_are_refused(bundle):
    listing = bundle / "checksums" / "images" / "png" / "000000.sha256"
    listing.write_text(listing.read_text().replace("images/png/000000/", "images/png/000000/../"))
    manifest = read_json(bundle / "manifest.json")
    entry = next(item for item in manifest["files"] if item["path"].endswith("png/000000.sha256"))
    entry.update(sha256=_digits(listing), size=listing.stat().st_size)
    write_manifest(bundle, json_text(manifest))
    assert any("is not a list of its files" in problem for problem in verify(bundle)["problems"])


def test_an_image_of_an_unmarked_kind_is_found_even_in_a_resealed_bundle(bundle):
    (bundle / "images" / "png" / "000000" / "photo.jpg").write_bytes(b"\xff\xd8")
    reseal(bundle)
    assert any("photo.jpg is of a kind that carries no marking" in problem for problem in verify(bundle)["problems"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made["rules"].pop(5), "recorded otherwise"),
        (lambda made: made["rules"][5].update(passed=False), "recorded otherwise"),
        (lambda made: made["overrides"].update({"family:copies": "There is no reason at all."}), "recorded otherwise"),
        (lambda made: made["statement"].update(license=""), "No license"),
        (lambda made: made["policy"].update(digest="sha256:0"), "another policy"),
        (lambda made: made.update(rules=3), "cannot be repeated"),
    ],
)
def test_a_decision_edited_and_resealed_does_not_follow(bundle, change, words):
    made = read_json(bundle / "decision.json")
    change(made)
    (bundle / "decision.json").write_text(json_text(made))
    reseal(bundle)
    assert any(words in problem for problem in verify(bundle)["problems"])


def test_a_key_that_is_none_is_an_input_error(bundle, key, tmp_path):
    with pytest.raises(InputError, match="public key"):
        verify(bundle, key)
    with pytest.raises(InputError, match="public key"):
        verify(bundle, tmp_path / "nowhere")
