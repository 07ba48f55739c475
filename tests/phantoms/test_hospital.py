import csv
import filecmp

import numpy as np
import pydicom
import pytest
from scipy.stats import spearmanr

from synthcohort.core.errors import ArtifactError
from synthcohort.core.seeds import rng
from synthcohort.phantoms.hospital import write_hospital
from synthcohort.phantoms.people import draw_person


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return write_hospital(tmp_path_factory.mktemp("phantoms") / "hospital", patients=12, seed=3, size=48)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_table_and_truth_name_every_file(hospital):
    files = sorted(p.relative_to(hospital).as_posix() for p in hospital.rglob("*.dcm"))
    grades, truth = rows(hospital / "metadata.csv"), rows(hospital.parent / "truth.csv")
    assert sorted(row["file"] for row in grades) == files == sorted(row["file"] for row in truth)
    assert [row["kl_grade"] for row in grades] == [row["severity"] for row in truth]
    assert list(grades[0]) == ["file", "kl_grade"]  # the exact truth stays outside


def test_headers_are_what_the_truth_says(hospital):
    for row in rows(hospital.parent / "truth.csv"):
        ds = pydicom.dcmread(hospital / row["file"])
        assert ds.PatientID == row["patient_id"]
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == row["sop_instance_uid"]
        assert ds.PatientSex == row["sex"]
        assert (ds.get("ImageLaterality") or ds.Laterality) == row["laterality"]
        assert float(ds.ImagerPixelSpacing[0]) == pytest.approx(float(row["pixel_spacing_mm"]), abs=1e-4)
        assert "PatientAge" not in ds or int(ds.PatientAge[:3]) == int(row["age"])
        assert any(element.tag.is_private for element in ds)
        image = ds.pixel_array
        assert image.dtype == np.uint16
        assert image.max() < 4096


def test_variety(hospital):
    truth = rows(hospital.parent / "truth.csv")
    assert {row["photometric_interpretation"] for row in truth} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({row["transfer_syntax"] for row in truth}) == 4
    assert {pydicom.dcmread(hospital / row["file"], stop_before_pixels=True).Modality for row in truth} == {"DX", "CR"}


def test_monochrome1_is_the_negative(hospital):
    for row in rows(hospital.parent / "truth.csv"):
        ds = pydicom.dcmread(hospital / row["file"])
        image = ds.pixel_array.astype(int)
        shown = 4095 - image if row["photometric_interpretation"] == "MONOCHROME1" else image
        assert np.median(shown) > shown[-4:, :4].mean()  # bone in the middle, air or soft tissue in the corner


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    first = write_hospital(tmp_path / "a", patients=3, seed=5, size=32)
    second = write_hospital(tmp_path / "b", patients=3, seed=5, size=32)
    third = write_hospital(tmp_path / "c", patients=3, seed=6, size=32)
    names = sorted(p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file())
    same, different, errors = filecmp.cmpfiles(first, second, names, shallow=False)
    assert (sorted(same), different, errors) == (names, [], [])
    uids = [{pydicom.dcmread(p).SOPInstanceUID for p in folder.rglob("*.dcm")} for folder in (first, third)]
    assert not uids[0] & uids[1]


def test_a_hospital_is_kept_or_refused(tmp_path):
    folder = write_hospital(tmp_path / "h", patients=2, seed=1, size=32)
    stamp = next(folder.rglob("*.dcm")).stat().st_mtime_ns
    assert write_hospital(tmp_path / "h", patients=2, seed=1, size=32) == folder
    assert next(folder.rglob("*.dcm")).stat().st_mtime_ns == stamp
    with pytest.raises(ArtifactError, match="is another"):
        write_hospital(tmp_path / "h", patients=3, seed=1, size=32)


def test_very_small_images_can_be_written(tmp_path):
    folder = write_hospital(tmp_path / "h", patients=8, seed=1, size=16, images_per_patient=2)
    syntaxes = {pydicom.dcmread(p).file_meta.TransferSyntaxUID.name for p in folder.rglob("*.dcm")}
    assert len(list(folder.rglob("*.dcm"))) == 16
    assert len(syntaxes) == 3


def test_age_and_sex_follow_severity():
    people = [draw_person(i, rng("test", i)) for i in range(600)]
    worse = [max(p.severity.values()) for p in people]
    assert spearmanr(worse, [p.age for p in people]).statistic > 0.5
    assert spearmanr(worse, [p.sex == "F" for p in people]).statistic > 0.05
    assert {0, 1, 2, 3, 4} == set(worse)
    assert len({p.patient_id for p in people}) == 600
    assert max(p.age for p in people) > 89  # ages that de-identification must treat with care occur
