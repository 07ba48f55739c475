"""The whole stage over sources of many kinds: archives, volumes, NumPy files, headers, burned-in text."""

import csv
import io
import json
import shutil
import zipfile

import nibabel
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import build
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.ingest import IngestConfig, ingest, pixel_text


def config(**settings):
    usual = {"key": "seed", "pixel_text": "unchecked", "near_duplicates": "off"}
    return build(IngestConfig, usual | settings, "ingest")


def refused(cohort_path):
    rows = csv.DictReader((cohort_path / "refused.csv").read_text().splitlines()[1:])
    return {(row["file"], row["part"]): row["reason"] for row in rows if row["status"] == "refused"}


@pytest.fixture
def series(tmp_path, ct_slice):
    """Nine slices of two patients under names that say nothing of their order."""
    folder = tmp_path / "series"
    folder.mkdir()
    for patient in (1, 2):
        for number in range(9):
            name = f"{(number * 5) % 9}{patient}.dcm"
            ct_slice(number, f"P{patient}", f"2.25.{patient}").save_as(folder / name, enforce_file_format=True)
    return folder


def test_slices_become_volumes_in_the_order_they_lie(series, tmp_path):
    result = ingest(series, tmp_path / "cohort", config(), 0)
    assert (result["taken"], result["volumes"]["volumes"], result["volumes"]["regular"]) == (18, 2, 2)
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.verify() == []
    for number in range(2):
        array, affine = cohort.volume(number)
        assert array[:, 0, 0].tolist() == list(range(-24, -15))
        assert affine @ [2, 1, 3, 1] == pytest.approx([-5, 7, 6, 1])
    assert sorted(cohort.column("frame")) == sorted(list(range(9)) * 2)
    assert set(cohort.column("view")) == {"AXIAL"}
    with pytest.raises(InputError, match="0 to 1"):
        cohort.volume(2)
    with pytest.raises(InputError, match="not in this view"):
        cohort.select(indices=[0]).volume(0)


def test_a_resized_volume_keeps_its_place_in_the_patient(series, tmp_path):
    ingest(series, tmp_path / "cohort", config(size=8), 0)
    _, affine = Cohort.open(tmp_path / "cohort").volume(0)
    # the first pixel is now the mean of two by two: half a pixel further each way
    assert affine @ [0, 0, 0, 1] == pytest.approx([-7.5, 6, 0, 1])
    assert affine @ [0, 1, 1, 1] == pytest.approx([-5.5, 10, 0, 1])


@pytest.mark.parametrize(("rule", "taken"), [("middle", [4]), ("every:3", [1, 4, 7])])
def test_the_rule_for_slices_leaves_no_pixel_of_the_others(series, tmp_path, rule, taken):
    result = ingest(series, tmp_path / "cohort", config(slices=rule), 0)
    assert result["found"] == 18 == result["taken"] + result["refused"]
    assert result["refused_because"] == {"left out by ingest.slices": 18 - 2 * len(taken)}
    cohort = Cohort.open(tmp_path / "cohort")
    assert sorted({int(cohort.image(i)[0, 0]) for i in range(len(cohort))}) == [n - 24 for n in taken]
    stored = sum(len(np.load(path)) for path in (tmp_path / "cohort" / "images").iterdir())
    assert stored == len(cohort) == 2 * len(taken)


def test_an_archive_reads_as_its_folder_does(series, tmp_path):
    archive = tmp_path / "series.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in series.iterdir():
            file.write(path, f"inner/{path.name}")
        file.writestr("inner/notes.txt", "no image")
        file.writestr("../outside.dcm", b"x")
    ingest(series, tmp_path / "a", config(), 0)
    result = ingest(archive, tmp_path / "b", config(), 0)
    a, b = (Cohort.open(tmp_path / name) for name in "ab")
    assert sorted(a.column("pixels_digest")) == sorted(b.column("pixels_digest"))
    assert result["refused"] == 1
    assert any("outside" in name for name, _ in refused(tmp_path / "b"))
    shutil.copy(series / "01.dcm", tmp_path / "one.dcm")
    assert ingest(tmp_path / "one.dcm", tmp_path / "c", config(), 0)["taken"] == 1


def test_files_of_many_images_count_each_and_bring_their_labels(tmp_path):
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    arrays = {}
    for split, count in (("train", 40), ("val", 10), ("test", 10)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 28, 28)).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(source / "toymnist.npz", **arrays)
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert (result["found"], result["taken"], result["main_label"]) == (60, 60, "label")
    assert result["roles"]["test"]["images"] == 10
    cohort = Cohort.open(tmp_path / "cohort")
    first = {image.tobytes(): label for image, label in zip(arrays["train_images"], np.arange(40) % 2, strict=True)}
    found = [(cohort.image(i).tobytes(), cohort.column("label")[i]) for i in range(60)]
    assert sum(first.get(pixels) == label for pixels, label in found) == 40


def test_nifti_is_split_by_the_subject_in_its_name(tmp_path):
    for subject in range(1, 9):
        folder = tmp_path / "bids" / f"sub-{subject:02d}" / "anat"
        folder.mkdir(parents=True)
        values = np.random.default_rng(subject).integers(-5, 4000, (12, 10, 4)).astype(np.int16)
        values[0, 0] = [-7, 5, -9, 4]
        if subject == 8:  # a phase image
            values -= 2000
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1])), folder / f"sub-{subject:02d}_T1w.nii.gz")
    result = ingest(tmp_path / "bids", tmp_path / "cohort", config(), 0)
    assert (result["found"], result["taken"]) == (32, 32)
    cohort = Cohort.open(tmp_path / "cohort")
    assert len(set(cohort.column("patient_id"))) == 8
    assert {cohort.image(i).dtype.name for i in range(32)} == {"uint16"}
    assert result["changes"]["signed values moved up by 32768"] == 4
    assert result["changes"]["negative values of no CT set to 0"] >= 14
    tops = sorted(int(cohort.image(i).max()) for i in range(32))
    assert 3800 < tops[0] <= tops[27] < 4000  # nothing clipped at the top of CT numbers
    assert tops[28] > 32768 + 1800


def test_kept_headers_are_clean_and_name_the_records_patient(series, tmp_path):
    rows = [f"{path.name},real-{path.name[1]}" for path in series.iterdir()]
    (series / "metadata.csv").write_text("file,patient_id\n" + "\n".join(rows) + "\n")
    ingest(series, tmp_path / "cohort", config(headers="clean", dates="shift"), 0)
    cohort = Cohort.open(tmp_path / "cohort")
    lines = [json.loads(line) for line in (tmp_path / "cohort" / "headers.jsonl").read_text().splitlines()]
    assert [line["image_id"] for line in lines] == cohort.image_ids
    for line, patient in zip(lines, cohort.column("patient_id"), strict=True):
        assert line["header"]["00100020"]["Value"] == [patient]
        assert line["header"]["00120062"]["Value"] == ["YES"]
        assert line["header"]["00080020"]["Value"] != ["20210304"]
    text = (tmp_path / "cohort" / "headers.jsonl").read_text().lower()
    assert "invented" not in text
    assert "19600102" not in text


def written(text, size=(128, 160)):
    image = PIL.Image.fromarray((np.random.default_rng(0).random(size) * 40 + 60).astype(np.uint8))
    PIL.ImageDraw.Draw(image).text((8, 20), text, fill=250, font=PIL.ImageFont.load_default(18))
    return image


def test_burned_in_text_is_quarantined_or_painted_over(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    written("INVENTED INA").save(source / "named.png")
    written("").save(source / "plain.png")
    result = ingest(source, tmp_path / "a", config(pixel_text="quarantine"), 0)
    assert (result["taken"], result["refused"]) == (1, 1)
    assert refused(tmp_path / "a") == {("named.png", ""): "text is burned into its pixels"}
    assert sum(len(np.load(path)) for path in (tmp_path / "a" / "images").iterdir()) == 1
    result = ingest(source, tmp_path / "b", config(pixel_text="blank"), 0)
    assert result["taken"] == 2
    assert result["changes"]["burned-in text painted over"] == 1
    cohort = Cohort.open(tmp_path / "b")
    assert all(not pixel_text.find_text(cohort.image(i)) for i in range(2))


def test_without_an_ocr_images_that_may_carry_text_are_refused_until_told(series, tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_text, "available", lambda: "the extra ocr is not installed")
    PIL.Image.fromarray(np.zeros((20, 20), np.uint8)).save(series / "picture.png")
    result = ingest(series, tmp_path / "cohort", config(pixel_text="quarantine"), 0)
    assert (result["taken"], result["refused"]) == (18, 1)  # primary CT cannot carry any
    assert "the extra ocr is not installed" in refused(tmp_path / "cohort")["picture.png", ""]
    assert ingest(series, tmp_path / "told", config(), 0)["taken"] == 19
    provenance = Cohort.open(tmp_path / "told").info["provenance"]
    assert provenance["config"]["pixel_text"] == "unchecked"


def test_captions_say_what_records_say_and_wrong_templates_stop_before_the_work(make_folder, knees, tmp_path):
    source = make_folder(knees)
    ingest(source, tmp_path / "cohort", config(modality="DX", body_part="KNEE"), 0)
    cohort = Cohort.open(tmp_path / "cohort")
    for caption, phrasings, side in zip(
        *(cohort.column(n) for n in ("caption", "phrasings", "laterality")), strict=True
    ):
        assert caption in phrasings
        assert len(set(phrasings)) == len(phrasings) > 4
        assert any("knee" in text.lower() for text in phrasings)
        other = {"L": "right", "R": "left"}[side]
        assert not any(other in text.lower().split() for text in phrasings)
    (tmp_path / "mine.toml").write_text("[[nonsense]]\n")
    with pytest.raises(ConfigError, match="nonsense"):
        ingest(source, tmp_path / "x", config(captions=str(tmp_path / "mine.toml")), 0)
    assert not (tmp_path / "x").exists()


def test_the_profile_says_that_it_is_private_and_what_was_found(make_folder, knees, tmp_path):
    ingest(make_folder(knees), tmp_path / "cohort", config(), 0)
    page = (tmp_path / "cohort" / "profile.html").read_text()
    assert "PRIVATE" in page
    assert "40 images found = 40 taken + 0 refused" in page
    assert "900" not in io.StringIO(page.split("<img")[0]).read()  # no raw patient id
