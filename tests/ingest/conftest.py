import csv

import numpy as np
import PIL.Image
import pytest
from hypothesis import settings
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from synthcohort.phantoms import write_hospital

# Time limits of single examples measure how busy the machine is, not the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def picture(number, shape=(12, 10), dtype=np.uint8):
    """A small image that no other number gives."""
    values = np.random.default_rng(number).integers(0, 200, shape)
    return values.astype(dtype)


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def make_folder(tmp_path):
    """Writes PNG files and a metadata.csv: `rows` are its lines, `file` in each the name of an image to make."""

    def make(rows, shape=(12, 10), table="metadata.csv", name="source"):
        folder = tmp_path / name
        for number, row in enumerate(rows):
            path = folder / row["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(picture(number, shape)).save(path)
        if table:
            write_table(folder / table, rows)
        return folder

    return make


@pytest.fixture
def knees():
    """Rows of 20 patients with two knees each and a grade."""
    return [
        {"file": f"images/{p}{side}.png", "patient_id": f"900{p:02d}", "laterality": side, "kl_grade": p % 5}
        for p in range(20)
        for side in "LR"
    ]


@pytest.fixture(scope="session")
def hospital(tmp_path_factory):
    """A small procedural hospital, as DICOM."""
    out = tmp_path_factory.mktemp("hospital") / "h"
    return write_hospital(out, patients=16, seed=11, size=32, images_per_patient=2)


def build_ct(number, patient="P1", series="2.25.7", z=None):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = CTImageStorage, f"{series}.{number}", series
    ds.PatientID, ds.PatientName, ds.Modality, ds.ImageType = patient, "Invented^Ina", "CT", ["ORIGINAL", "PRIMARY"]
    ds.StudyDate, ds.PatientBirthDate, ds.PatientSex = "20210304", "19600102", "F"
    ds.StudyDescription = "Chest of Ina Invented"
    ds.BodyPartExamined, ds.Rows, ds.Columns, ds.SamplesPerPixel = "CHEST", 16, 16, 1
    ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 16, 15
    ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 1, "1", "-1024"
    ds.PixelSpacing, ds.SliceThickness = ["2.0", "1.0"], "3.0"
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.ImagePositionPatient = ["-8", "5", str(3.0 * number if z is None else z)]
    ds.PixelData = np.full((16, 16), 1000 + number, np.int16).tobytes()
    return ds


@pytest.fixture(scope="session")
def ct_slice():
    """Makes a CT slice of an invented patient, as a pydicom data set."""
    return build_ct
