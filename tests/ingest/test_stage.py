import csv
import json
import os
import shutil

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthcohort.core import files
from synthcohort.core.cohort import ROLES, Cohort
from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, ConfigError, InputError
from synthcohort.ingest import IngestConfig, ingest, reading


def config(**settings):
    usual = {"key": "seed", "pixel_text": "unchecked", "near_duplicates": "off", "captions": "-"}
    return build(IngestConfig, usual | settings, "ingest")


def everything(folder):
    """Every byte below a folder, every file's name, and the records as they read when decompressed."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    records = repr(pq.read_table(folder / "records.parquet").to_pylist()).encode()
    return b"\0".join([*(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files), records])


def roles_by_pixels(path):
    cohort = Cohort.open(path)
    return dict(zip(cohort.column("pixels_digest"), cohort.column("split"), strict=True))


def refused(cohort_path):
    lines = (cohort_path / "refused.csv").read_text().splitlines()
    assert lines[0].startswith("# For the owner")
    return {row["file"]: (row["status"], row["reason"]) for row in csv.DictReader(lines[1:])}


def test_a_folder_with_a_table_becomes_a_cohort(make_folder, knees, tmp_path):
    result = ingest(make_folder(knees), tmp_path / "cohort", config(), 0)
    assert {key: result[key] for key in ("found", "taken", "refused", "main_label")} == {
        "found": 40, "taken": 40, "refused": 0, "main_label": "kl_grade",
    }  # fmt: skip
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.verify() == []
    assert cohort.labels["kl_grade"].values == (0, 1, 2, 3, 4)
    assert sorted(cohort.column("kl_grade")) == sorted(row["kl_grade"] for row in knees)
    assert set(cohort.column("split")) == set(ROLES)
    assert cohort.info["origin"] == "real"
    assert cohort.info["roles"] == result["roles"]
    for patient in set(cohort.column("patient_id")):
        own = cohort.select(where={"patient_id": patient})
        assert [len(set(own.column(name))) for name in ("split", "group_id", "kl_grade")] == [1, 1, 1]
        assert sorted(own.column("laterality")) == ["L", "R"]
    # Every image is there unchanged, and carries its own label.
    stored = {cohort.image(i).tobytes(): cohort.column("kl_grade")[i] for i in range(40)}
    for row in knees:
        assert stored[np.array(PIL.Image.open(tmp_path / "source" / row["file"])).tobytes()] == row["kl_grade"]


def test_same_seed_same_bytes_other_seed_other_split(make_folder, knees, tmp_path):
    source = make_folder(knees)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ingest(source, tmp_path / name / "cohort", config(), seed)
    a, b, c = (tmp_path / name / "cohort" for name in "abc")
    assert everything(a) == everything(b)
    assert sorted(Cohort.open(a).column("split")) != Cohort.open(a).column("split")
    assert roles_by_pixels(a) != roles_by_pixels(c)


def test_the_split_does_not_depend_on_the_key(make_folder, knees, tmp_path):
    source = make_folder(knees)
    ingest(source, tmp_path / "a", config(key="random"), 1)
    ingest(source, tmp_path / "b", config(key="seed"), 1)
    assert roles_by_pixels(tmp_path / "a") == roles_by_pixels(tmp_path / "b")
    patients = [set(Cohort.open(tmp_path / name).column("patient_id")) for name in "ab"]
    assert not patients[0] & patients[1]


def test_the_key_is_made_once_beside_the_cohort_and_kept(make_folder, knees, tmp_path):
    source = make_folder(knees[:20])
    ingest(source, tmp_path / "cohort", config(key="random"), 0)
    key = (tmp_path / "cohort.key").read_text()
    assert (tmp_path / "cohort.key").stat().st_mode & 0o777 == 0o600
    assert key.strip().encode() not in everything(tmp_path / "cohort")
    first = Cohort.open(tmp_path / "cohort").image_ids
    shutil.rmtree(tmp_path / "cohort")
    ingest(source, tmp_path / "cohort", config(key="random"), 0)
    assert (tmp_path / "cohort.key").read_text() == key
    assert Cohort.open(tmp_path / "cohort").image_ids == first
    ingest(source, tmp_path / "other", config(key="random", key_file=str(tmp_path / "cohort.key")), 0)
    assert Cohort.open(tmp_path / "other").image_ids == first


def test_a_hospital_in_dicom(hospital, tmp_path):
    result = ingest(hospital, tmp_path / "cohort", config(size=24), 0)
    assert (result["taken"], result["refused"]) == (32, 0)
    assert result["changes"]["MONOCHROME1 inverted to MONOCHROME2"] > 0
    cohort = Cohort.open(tmp_path / "cohort")
    truth = list(csv.DictReader((hospital.parent / "truth.csv").read_text().splitlines()))
    assert sorted(map(str, cohort.column("kl_grade"))) == sorted(row["severity"] for row in truth)
    assert sorted(cohort.column("sex")) == sorted(row["sex"] for row in truth)
    assert sorted(cohort.column("age")) == sorted(min(90.0, float(row["age"])) for row in truth)
    assert len(set(cohort.column("patient_id"))) == 16
    record = cohort.record(0)
    assert record["modality"] in ("DX", "CR")
    assert (record["body_part"], record["view"], record["bits_stored"], record["rows"]) == ("KNEE", "AP", 12, 24)
    assert record["pixel_spacing_mm"] == pytest.approx([98.0 / 24] * 2, abs=1e-3)
    assert cohort.image(0).dtype == np.uint16
    # Bone is bright in every image, whatever the file's photometric interpretation was.
    assert all(np.median(cohort.image(i)[8:20, 6:18]) > np.median(cohort.image(i)[:, [0, -1]]) for i in range(32))


def test_nothing_of_the_archive_is_in_the_cohort(hospital, tmp_path):
    ingest(hospital, tmp_path / "cohort", config(key="random"), 0)
    content = everything(tmp_path / "cohort").lower()
    planted = set()
    for path in hospital.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        planted |= {path.name, path.parent.name, str(path.parent)}
        for element in ds.iterall():
            if element.keyword not in ("Manufacturer", "PhotometricInterpretation", "PixelData"):
                values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
                planted |= {v.decode(errors="ignore") if isinstance(v, bytes) else str(v) for v in values}
    planted = {text.lower() for text in planted if len(text) >= 6 and text not in ("ORIGINAL", "PRIMARY")}
    assert any("^" in text for text in planted)
    # refused.csv is the owner's: its names of ignored tables are allowed, images were not refused here.
    found = {text for text in planted if text.encode() in content}
    assert found == set()


# Unlikely to come about by chance, whatever the compression or encoding of a file.
texts = st.text("BCDFGHJKLMNPQRSTVWXZ", min_size=8, max_size=12).map(lambda text: f"Q{text}Z")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=12, max_size=12, unique=True))
def test_planted_strings_never_reach_the_cohort(hospital, tmp_path_factory, planted):
    folder = tmp_path_factory.mktemp("planted")
    source = folder / planted[0]
    source.mkdir()
    rows = []
    for i, path in enumerate(sorted(hospital.rglob("*.dcm"))[:4]):
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID, ds.StudyDescription, ds.Manufacturer = planted[1:5]
        ds.BodyPartExamined, ds.ViewPosition, ds.StationName, ds.PatientComments = planted[5:9]
        ds.RequestAttributesSequence[0].RequestedProcedureDescription = planted[9]
        ds.private_block(0x0011, "PHANTOM WORKS 01").add_new(0x09, "LO", planted[10])
        name = f"{planted[11]}{i}.dcm"
        ds.save_as(source / name)
        rows.append({"file": name, "patient_id": planted[2], "kl_grade": i, "remark": planted[1]})
    with open(source / "metadata.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    result = ingest(source, folder / "cohort", config(key="random"), 0)
    content = everything(folder / "cohort") + json.dumps({**result, "cohort": ""}).encode()
    assert [text for text in planted if text.encode() in content] == []


def test_refused_files_are_counted_and_listed(make_folder, knees, tmp_path):
    source = make_folder(knees)
    (source / "images" / "0L.png").write_bytes((source / "images" / "0L.png").read_bytes()[:60])
    (source / "images" / "text.dcm").write_text("not an image")
    (source / "images" / "unlisted.png").write_bytes((source / "images" / "1L.png").read_bytes())
    (source / "Thumbs.db").write_bytes(b"x")
    with open(source / "metadata.csv", "a") as file:
        file.write("images/gone.png,900,L,0\nimages/text.dcm,901,L,0\n")
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert result["found"] == 42
    assert result["found"] == result["taken"] + result["refused"]
    assert result["listed_but_absent"] == 1
    assert result["ignored"] == {"a preview cache": 1, "a table": 1}
    listed = refused(tmp_path / "cohort")
    assert listed["images/0L.png"] == ("refused", "damaged or cut off: it cannot be decoded")
    assert listed["images/text.dcm"][0] == "refused"
    assert listed["images/unlisted.png"] == ("refused", "the table does not name it")
    assert listed["images/gone.png"][0] == "absent"
    assert listed["Thumbs.db"][0] == "ignored"
    assert sum(result["refused_because"].values()) == result["refused"] == 3
    assert ingest(source, tmp_path / "all", config(unlisted="take"), 0)["refused"] == 2


def test_dry_run_says_the_same_and_writes_nothing(make_folder, knees, tmp_path):
    source = make_folder(knees)
    before = sorted(tmp_path.rglob("*"))
    planned = ingest(source, tmp_path / "cohort", config(key="random"), 0, dry_run=True)
    assert sorted(tmp_path.rglob("*")) == before
    done = ingest(source, tmp_path / "cohort", config(key="random"), 0)
    assert planned.pop("dry_run") is True
    assert planned == done
    assert planned["columns"] == {"file": "file", "patient_id": "patient_id", "laterality": "laterality"}
    assert planned["bytes"] == 40 * 120


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"columns": {"patient_id": "pid"}}, ConfigError, "no column 'pid' in metadata.csv; allowed: file, patient_id"),
        ({"labels": ["grade"]}, ConfigError, "no usable column 'grade'; allowed: kl_grade"),
        ({"label": "grade"}, ConfigError, "no label 'grade'; allowed: kl_grade"),
        ({"table": "other.csv"}, ConfigError, "no table 'other.csv'; allowed: metadata.csv"),
        ({"columns": {"split": "kl_grade"}}, ConfigError, "name no role"),
        ({"key": "random", "key_file": "/nowhere/key"}, InputError, "no such file"),
    ],
)
def test_wrong_settings_are_one_clear_error_and_leave_nothing(make_folder, knees, tmp_path, settings, error, words):
    source = make_folder(knees)
    with pytest.raises(error, match=words.replace("(", r"\(")) as caught:
        ingest(source, tmp_path / "cohort", config(**settings), 0)
    assert caught.value.exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_unusable_sources_leave_nothing(make_folder, knees, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images found"):
        ingest(tmp_path / "empty", tmp_path / "cohort", config(), 0)
    source = make_folder(knees[:2])
    for path in source.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(InputError, match="none of 2 images could be taken"):
        ingest(source, tmp_path / "cohort", config(key="random"), 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "source"]
    (tmp_path / "cohort").mkdir()
    with pytest.raises(ArtifactError, match="already exists"):
        ingest(make_folder(knees), tmp_path / "cohort", config(), 0)


def test_a_read_only_output_is_refused_early(make_folder, knees, tmp_path, monkeypatch):
    from synthcohort.core import files

    real_touch = files.Path.touch

    def touch(self, *args, **kwargs):
        if "locked" in self.parts:
            raise PermissionError(13, "Permission denied")
        real_touch(self, *args, **kwargs)

    monkeypatch.setattr(files.Path, "touch", touch)
    (tmp_path / "locked").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        ingest(make_folder(knees), tmp_path / "locked" / "cohort", config(), 0)


def test_a_killed_ingest_goes_on_and_ends_the_same(make_folder, knees, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK_FILES", 10)
    source = make_folder(knees)
    ingest(source, tmp_path / "whole" / "cohort", config(), 0)
    real, read = reading.read_chunk, []

    def read_chunk(number, *rest):
        if number == 2:
            raise KeyboardInterrupt
        read.append(number)
        return real(number, *rest)

    monkeypatch.setattr(reading, "read_chunk", read_chunk)
    with pytest.raises(KeyboardInterrupt):
        ingest(source, tmp_path / "cut" / "cohort", config(), 0)
    assert not (tmp_path / "cut" / "cohort").exists()
    assert (tmp_path / "cut" / "cohort.partial").stat().st_mode & 0o077 == 0
    with pytest.raises(ArtifactError, match="unfinished cohort of another configuration"):
        ingest(source, tmp_path / "cut" / "cohort", config(size=8), 0)

    # the run that died left its mark, so the next one reads in processes of its own, where no patch reaches
    monkeypatch.setattr(reading, "read_chunk", real)
    again = ingest(source, tmp_path / "cut" / "cohort", config(), 0)
    assert again["taken"] == 40
    assert read == [0, 1]
    assert everything(tmp_path / "whole" / "cohort") == everything(tmp_path / "cut" / "cohort")


def test_killed_at_any_write_nothing_is_lost(make_folder, knees, tmp_path, monkeypatch):
    """Every rename of a file onto its place is a moment at which the run may die."""
    monkeypatch.setattr(reading, "CHUNK_FILES", 16)
    monkeypatch.setattr(reading, "_crashed", lambda folder: False)
    source = make_folder(knees)
    ingest(source, tmp_path / "whole" / "cohort", config(), 0)
    real = files.os.replace
    for survived in range(0, 30):
        count = 0

        def replace(a, b, survived=survived):
            nonlocal count
            if count == survived:
                raise KeyboardInterrupt
            count += 1
            real(a, b)

        out = tmp_path / str(survived) / "cohort"
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", replace)
            try:
                ingest(source, out, config(), 0)
                break
            except KeyboardInterrupt:
                assert not out.exists()
        ingest(source, out, config(), 0)
        assert everything(out) == everything(tmp_path / "whole" / "cohort")
    assert survived > 8


def test_without_patient_ids_the_owner_is_told(make_folder, tmp_path):
    rows = [{"file": f"{i}.png", "label": "ab"[i % 2]} for i in range(20)]
    result = ingest(make_folder(rows), tmp_path / "cohort", config(), 0)
    assert any("no patient ids" in text and "near-duplicates" in text for text in result["warnings"])
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.info["near_duplicates_may_cross"] is True
    assert cohort.info["warnings"] == list(result["warnings"])
    assert set(cohort.column("patient_id")) == {None}
    assert len(set(cohort.column("group_id"))) == 20


def test_exact_copies_and_given_groups_stay_together(make_folder, tmp_path):
    rows = [{"file": f"{i:02d}.png", "smear_id": str(i // 2), "label": "ab"[i % 2]} for i in range(24)]
    source = make_folder(rows)
    for i in (5, 11, 17):  # copies of image 0 under other names, re-encoded
        PIL.Image.open(source / "00.png").save(source / f"{i:02d}.png", compress_level=1)
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert result["duplicates"] == 3
    cohort = Cohort.open(tmp_path / "cohort")
    copies = [i for i, d in enumerate(cohort.column("pixels_digest")) if cohort.column("pixels_digest").count(d) > 1]
    assert len(copies) == 4
    assert len({cohort.column("group_id")[i] for i in copies}) == 1
    assert len(set(cohort.column("group_id"))) == 12 - 3
    for group in set(cohort.column("group_id")):
        roles = {s for s, g in zip(cohort.column("split"), cohort.column("group_id"), strict=True) if g == group}
        assert len(roles) == 1


def test_a_given_split_is_respected_and_completed(make_folder, knees, tmp_path):
    rows = [{**row, "split": "test" if int(row["patient_id"]) >= 90016 else "train"} for row in knees]
    result = ingest(make_folder(rows), tmp_path / "cohort", config(), 0)
    assert result["roles"]["test"] == {"images": 8, "patients": 4}
    assert result["roles"]["control"]["images"] > 0
    assert any("no validation" in text and "control" in text for text in result["warnings"])
    torn = [{**row, "split": "train" if row["laterality"] == "L" else "test"} for row in knees]
    with pytest.raises(InputError, match="several roles"):
        ingest(make_folder(torn, name="torn"), tmp_path / "torn-cohort", config(), 0)
    ignored = ingest(make_folder(torn, name="torn2"), tmp_path / "c2", config(given_split="ignore"), 0)
    assert ignored["roles"]["test"]["images"] < 12


def test_dicom_is_joined_by_patient_id(hospital, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(hospital, source)
    ids = sorted({path.parent.name for path in source.rglob("*.dcm")})
    lines = ["PatientID,diagnosis", *(f"{name},{'well' if i % 2 else 'ill'}" for i, name in enumerate(ids[:-1]))]
    (source / "metadata.csv").write_text("\n".join(lines))
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert result["refused_because"] == {"the table does not name it": 2}
    assert result["taken"] == 30
    assert sorted(set(Cohort.open(tmp_path / "cohort").column("diagnosis"))) == ["ill", "well"]


def test_sizes_and_fits(make_folder, knees, tmp_path):
    source = make_folder(knees[:10], shape=(20, 40))
    for fit in ("pad", "crop", "stretch"):
        ingest(source, tmp_path / fit, config(size=[16, 12], fit=fit), 0)
        assert Cohort.open(tmp_path / fit).images().shape == (10, 16, 12)
    ingest(source, tmp_path / "native", config(), 0)
    assert Cohort.open(tmp_path / "native").images().shape == (10, 20, 40)


def test_color_and_16_bit_stay_what_they_are_and_mixtures_are_told(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).save(source / "color.png")
    PIL.Image.fromarray(rng.integers(0, 65535, (9, 9), np.uint16)).save(source / "deep.png")
    result = ingest(source, tmp_path / "cohort", config(), 0)
    cohort = Cohort.open(tmp_path / "cohort")
    assert sorted(cohort.image(i).dtype.name for i in range(2)) == ["uint16", "uint8"]
    assert sorted(cohort.column("channels")) == [1, 3]
    assert any("several kinds" in text for text in result["warnings"])


def test_free_text_is_left_behind_and_listed(make_folder, knees, tmp_path):
    words = [f"Adalinda {row['patient_id']}" for row in knees]
    rows = [{**row, "caption": f"Knee of {who}", "story": f"{who} fell"} for row, who in zip(knees, words, strict=True)]
    source = make_folder(rows)
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert set(result["dropped"]) == {"caption", "story"}
    assert b"Adalinda" not in everything(tmp_path / "cohort")
    ingest(source, tmp_path / "kept", config(keep_captions=True), 0)
    assert all(text.startswith("Knee of") for text in Cohort.open(tmp_path / "kept").column("caption"))


def test_attributes_of_the_table_are_normalized(make_folder, tmp_path):
    rows = [
        {"file": f"{i}.png", "patient_id": f"P{i}", "Gender": ["Female", "male", "blue", ""][i % 4],
         "age": ["61", "093Y", "", "old"][i % 4], "hospital": "AB"[i % 2], "label": "xy"[i // 2 % 2]}
        for i in range(16)
    ]  # fmt: skip
    result = ingest(make_folder(rows), tmp_path / "cohort", config(modality="DX", body_part="KNEE"), 0)
    cohort = Cohort.open(tmp_path / "cohort")
    assert sorted(map(str, cohort.column("sex"))) == ["F"] * 4 + ["M"] * 4 + ["None"] * 8
    assert sorted(map(str, cohort.column("age"))) == ["61.0"] * 4 + ["90.0"] * 4 + ["None"] * 8
    assert len(set(cohort.column("site"))) == 2
    assert all(site.startswith("site-") for site in cohort.column("site"))
    assert set(cohort.column("modality")) == {"DX"}
    assert any(text.startswith("sex: 4 values were not understood") for text in result["warnings"])


@pytest.mark.shared_data
def test_real_knees_need_no_mapping(tmp_path):
    from pathlib import Path

    source = Path(__file__).parents[3] / "shared" / "data" / "knee-xray"
    if not source.is_dir():
        pytest.fail("the real images are not beside the checkout; leave these tests out with -m 'not shared_data'")
    result = ingest(source, tmp_path / "cohort", config(size=64), 0)
    assert (result["found"], result["taken"], result["main_label"]) == (6604, 6604, "kl_grade")
    assert sum(role["patients"] for role in result["roles"].values()) == 3302
    assert os.path.isfile(tmp_path / "cohort" / "refused.csv")
