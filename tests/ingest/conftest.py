import csv

import numpy as np
import PIL.Image
import pytest
from hypothesis import settings

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
