"""Who is kept together, and what of a table may enter, over the whole stage."""

import errno
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from synthcohort.core import cohort_writer
from synthcohort.core.cohort import Cohort
from synthcohort.core.config import build
from synthcohort.core.errors import InputError
from synthcohort.ingest import IngestConfig, deidentify, ingest


def config(**settings):
    usual = {"key": "seed", "pixel_text": "unchecked", "near_duplicates": "off", "captions": "-"}
    return build(IngestConfig, usual | settings, "ingest")


def roles_of(path):
    """The roles of each value that the first pixel of an image shows: tests write the person there."""
    cohort = Cohort.open(path)
    found = {}
    for i, role in enumerate(cohort.column("split")):
        found.setdefault(int(cohort.image(i).flat[0]), set()).add(role)
    return found


@pytest.fixture
def slices(ct_slice):
    def write(folder, people, images, **changes):
        return write_slices(ct_slice, folder, people, images, **changes)

    return write


def write_slices(ct_slice, folder, people, images, **changes):
    """DICOM files `PERSON-NUMBER.dcm`, the person's number in the first pixel."""
    folder.mkdir(parents=True)
    for person in range(people):
        for number in range(images):
            ds = ct_slice(number, f"P{person}", f"2.25.1{person:03d}{number}")
            pixels = np.random.default_rng([person, number]).integers(0, 3000, (16, 16)).astype(np.int16)
            pixels[0, 0] = person + 1024
            ds.PixelData = pixels.tobytes()
            ds.StudyInstanceUID = f"2.25.1{person:03d}{number}"
            for name, value in changes.items():
                setattr(ds, name, value(person, number))
            ds.save_as(folder / f"{person}-{number}.dcm", enforce_file_format=True)
    return folder


def test_a_patient_named_by_the_table_here_and_by_the_header_there_is_one(slices, tmp_path):
    source = slices(tmp_path / "s", 30, 2)
    lines = [f"{p}-{n}.dcm,{'T' + str(p) if n == 0 else ''},{p % 2}" for p in range(30) for n in range(2)]
    (source / "metadata.csv").write_text("file,patient_id,grade\n" + "\n".join(lines) + "\n")
    ingest(source, tmp_path / "cohort", config(), 0)
    assert len(roles_of(tmp_path / "cohort")) == 30
    assert all(len(roles) == 1 for roles in roles_of(tmp_path / "cohort").values())


def test_a_study_is_kept_together_where_no_patient_is_named(slices, tmp_path):
    source = slices(
        tmp_path / "s",
        30,
        2,
        PatientID=lambda p, n: "",
        StudyInstanceUID=lambda p, n: f"2.25.2{p:03d}",
    )
    ingest(source, tmp_path / "cohort", config(), 0)
    assert all(len(roles) == 1 for roles in roles_of(tmp_path / "cohort").values())


def test_case_and_spaces_do_not_make_two_patients(slices, tmp_path):
    source = slices(tmp_path / "s", 30, 2, PatientID=lambda p, n: (f"Pat{p} ", f"PAT{p}")[n])
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert sum(role["patients"] for role in result["roles"].values()) == 30
    assert all(len(roles) == 1 for roles in roles_of(tmp_path / "cohort").values())


def test_an_id_that_the_table_tells_apart_names_nobody(slices, tmp_path):
    source = slices(tmp_path / "s", 30, 2, PatientID=lambda p, n: "ARCHIVE")
    lines = [f"{p}-{n}.dcm,T{p},{p % 2}" for p in range(30) for n in range(2)]
    (source / "metadata.csv").write_text("file,patient_id,grade\n" + "\n".join(lines) + "\n")
    result = ingest(source, tmp_path / "cohort", config(), 0)
    assert sum(role["patients"] for role in result["roles"].values()) == 30
    assert any("share patient ids that the table tells apart" in text for text in result["warnings"])
    alone = slices(tmp_path / "t", 30, 2, PatientID=lambda p, n: "ARCHIVE")
    said = ingest(alone, tmp_path / "alone", config(), 0)["warnings"]
    assert any("one patient id stands for 60 of 60 images" in text for text in said)


def test_words_beside_the_lists_stay_out_whoever_shares_the_column(make_folder, knees, tmp_path):
    views = ["AP", "PA", "LATERAL", "AP Frau Beispiel 12.03.1961", "PA Herr Muster"]
    rows = [
        {**row, "projection": views[i % 5], "race": ("green", "Ida Muster 1961-03-12")[i == 7]}
        for i, row in enumerate(knees)
    ]
    result = ingest(make_folder(rows), tmp_path / "cohort", config(), 0)
    cohort = Cohort.open(tmp_path / "cohort")
    assert set(cohort.column("view")) == {"AP", "PA", "LATERAL", None}
    assert set(cohort.column("ethnicity")) == {"green", None}
    assert any(text.startswith("view: 16 images have a value that is no known word") for text in result["warnings"])
    everything = b"".join(path.read_bytes() for path in (tmp_path / "cohort").rglob("*") if path.is_file())
    assert b"Beispiel" not in everything
    assert b"Muster" not in everything


def test_a_copy_across_a_given_split_goes_to_the_test_set(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    lines = ["file,split,label"]
    for i in range(60):
        coarse = PIL.Image.fromarray(np.random.default_rng(i).integers(0, 255, (7, 7), np.uint8))
        picture = coarse.resize((64, 64), PIL.Image.Resampling.BICUBIC)
        picture.save(source / f"{i}.png")
        lines.append(f"{i}.png,{'test' if i < 12 else 'train'},{i % 2}")
        if i in (3, 30):
            picture.rotate(90).save(source / f"copy{i}.jpg", quality=80)
            lines.append(f"copy{i}.jpg,train,{i % 2}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n")
    result = ingest(source, tmp_path / "cohort", config(near_duplicates="group"), 0)
    assert result["roles"]["test"]["images"] == 13
    assert any("tears 1 groups of near-duplicates apart" in text for text in result["warnings"])
    report = result["near_duplicates"]
    assert (report["pairs"], report["groups"], report["crossing"]["pairs"]) == (2, 2, 0)
    assert "2 pairs of near-duplicates" in (tmp_path / "cohort" / "profile.html").read_text()
    listed = (tmp_path / "cohort" / "duplicates.csv").read_text()
    assert "copy3.jpg" in listed
    counted = ingest(source, tmp_path / "counted", config(near_duplicates="report"), 0)
    assert counted["roles"]["test"]["images"] == 12
    assert counted["near_duplicates"]["crossing"]["pairs"] >= 1


def test_a_dry_run_works_in_a_process_that_did_nothing_before(make_folder, knees, tmp_path):
    command = [
        sys.executable,
        "-m",
        "synthcohort.cli.main",
        "ingest",
        str(make_folder(knees)),
        "--out",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(
        [*command, "--dry-run", "--set", "ingest.pixel_text=unchecked"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert '"taken": 40' in done.stdout
    assert not (tmp_path / "x").exists()


def test_a_kill_while_leftovers_go_loses_nothing(make_folder, knees, tmp_path, monkeypatch):
    source = make_folder(knees)
    whole = ingest(source, tmp_path / "whole" / "cohort", config(), 0)
    real = cohort_writer.Path.unlink
    out = tmp_path / "cut" / "cohort"
    for survived in range(10):
        count = 0

        def unlink(self, missing_ok=False, survived=survived):
            nonlocal count
            if (out.with_name("cohort.partial") / "cohort.json").exists():
                if count == survived:
                    raise KeyboardInterrupt
                count += 1
            real(self, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(cohort_writer.Path, "unlink", unlink)
            try:
                ingest(source, out, config(), 0)
                break
            except KeyboardInterrupt:
                assert not out.exists()
    else:
        pytest.fail("it never ended")
    assert survived >= 2
    again = Cohort.open(out)
    assert again.digest == Cohort.open(tmp_path / "whole" / "cohort").digest
    assert again.info["provenance"]["taken"] == whole["taken"] == 40
    assert again.verify() == []


def test_what_is_the_owners_may_be_taken_away(make_folder, knees, tmp_path):
    ingest(make_folder(knees), tmp_path / "cohort", config(), 0)
    for name in ("refused.csv", "profile.html"):
        (tmp_path / "cohort" / name).unlink()
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.verify() == []
    assert cohort.info["private"] == ["profile.html", "refused.csv"]


def test_more_sizes_than_open_files(tmp_path, monkeypatch):
    import resource

    source = tmp_path / "source"
    source.mkdir()
    for i in range(150):
        PIL.Image.fromarray(np.random.default_rng(i).integers(0, 255, (8 + i, 9), np.uint8)).save(source / f"{i}.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr("synthcohort.core.cohort.MAPPED", 32)
    resource.setrlimit(resource.RLIMIT_NOFILE, (110, hard))
    try:
        assert ingest(source, tmp_path / "cohort", config(), 0)["taken"] == 150
        cohort = Cohort.open(tmp_path / "cohort")
        assert sum(cohort.image(i).shape[0] for i in range(150)) == sum(range(8, 158))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_names_that_are_no_utf8(make_folder, knees, tmp_path):
    source = make_folder(knees[:10])
    os.rename(os.fsencode(source / "images" / "0L.png"), os.fsencode(source / "images") + b"/M\xfcller.png")
    result = ingest(source, tmp_path / "cohort", config(unlisted="take"), 0)
    assert result["taken"] == 10
    (source / "images" / os.fsdecode(b"M\xfcller.png")).write_bytes(b"broken")
    ingest(source, tmp_path / "two", config(unlisted="take"), 0)
    assert "M\\udcfcller.png" in (tmp_path / "two" / "refused.csv").read_text()


def test_a_key_is_kept_where_there_are_no_hard_links(make_folder, knees, tmp_path, monkeypatch):
    def link(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(deidentify.os, "link", link)
    ingest(make_folder(knees), tmp_path / "cohort", config(key="random"), 0)
    assert len(deidentify.read_key(tmp_path / "cohort.key")) == 32
    with pytest.raises(FileExistsError):
        deidentify.write_key(tmp_path / "cohort.key", bytes(32))


def test_a_torn_given_split_is_refused_and_says_so(make_folder, knees, tmp_path):
    torn = [{**row, "split": "train" if row["laterality"] == "L" else "test"} for row in knees]
    with pytest.raises(InputError, match=r"one patient, study, group or exact copies into several roles \(20 groups\)"):
        ingest(make_folder(torn), tmp_path / "cohort", config(), 0)


def test_a_group_column_that_names_no_groups_does_not_tie_everything_together(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    lines = ["file,smear_id,label"]
    for i in range(60):
        coarse = PIL.Image.fromarray(np.random.default_rng(i).integers(0, 255, (7, 7), np.uint8))
        picture = coarse.resize((64, 64), PIL.Image.Resampling.BICUBIC)
        for turn in range(2):  # the second copy stands under the next smear
            picture.rotate(90 * turn).save(source / f"{i}-{turn}.png")
            lines.append(f"{i}-{turn}.png,{(i + turn) % 60},{i % 2}")
    (source / "metadata.csv").write_text("\n".join(lines) + "\n")
    result = ingest(source, tmp_path / "cohort", config(near_duplicates="group"), 0)
    assert any("would tie 120 of 120 images together" in text for text in result["warnings"])
    assert min(role["images"] for role in result["roles"].values()) >= 10
    assert result["near_duplicates"]["crossing"]["pairs"] == 0
    assert "smear_id" in result["dropped"]
