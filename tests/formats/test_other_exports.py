"""NIfTI and parquet exports: pixels, places and marks."""

import gzip
import io

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import SimpleITK
from PIL import Image

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.seeds import rng
from synthcohort.formats import marking, nifti_export, parquet_export, png_export

AFFINE = np.array([[0, 0, 0.5, -10], [0, 0.7, 0, 4], [2.5, 0, 0, 1], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_a_volume_keeps_values_and_place(dtype, tmp_path):
    volume = rng("nifti", dtype).integers(0, 200, (3, 4, 5)).astype(dtype) - (100 if dtype == "int16" else 0)
    path = tmp_path / "v.nii.gz"
    path.write_bytes(nifti_export.encode(volume, AFFINE))
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(np.transpose(np.asarray(image.dataobj), (2, 1, 0)), volume)
    # voxel (column, row, slice) in RAS is the same point as (slice, row, column) in LPS
    ras = image.affine @ [4, 3, 2, 1]
    assert np.allclose(ras[:3] * [-1, -1, 1], (AFFINE @ [2, 3, 4, 1])[:3])
    read = SimpleITK.ReadImage(str(path))
    assert np.allclose(read.TransformIndexToPhysicalPoint((4, 3, 2)), (AFFINE @ [2, 3, 4, 1])[:3])
    assert np.array_equal(SimpleITK.GetArrayFromImage(read), volume)


def test_color_and_an_image_without_a_place(tmp_path):
    picture = rng("nifti").integers(0, 255, (1, 4, 5, 3)).astype(np.uint8)
    path = tmp_path / "c.nii.gz"
    path.write_bytes(nifti_export.encode(picture, None, (0.2, 0.3)))
    image = nibabel.load(path)
    values = np.asarray(image.dataobj)
    assert np.array_equal(np.stack([values["R"], values["G"], values["B"]], -1).transpose(2, 1, 0, 3), picture)
    assert image.header["sform_code"] == image.header["qform_code"] == 0, "nobody lay anywhere"
    assert np.allclose(image.header.get_zooms()[:2], (0.3, 0.2))


def test_nifti_bytes_repeat_and_carry_the_mark(tmp_path):
    volume = np.zeros((2, 3, 4), np.int16)
    data = nifti_export.encode(volume, AFFINE)
    assert data == nifti_export.encode(volume, AFFINE)
    path = tmp_path / "v.nii.gz"
    path.write_bytes(data)
    assert marking.marking_problems(path) == []
    path.write_bytes(gzip.compress(gzip.decompress(data).replace(b"SYNTHETIC=YES", b"SYNTHETIC=NO ")))
    assert "no comment" in marking.marking_problems(path)[0]
    path.write_bytes(b"x")
    assert "cannot be read" in marking.marking_problems(path)[0]


def test_parquet_holds_images_labels_and_the_mark(tmp_path):
    labels = [LabelColumn("grade", "ordinal", (0, 1)), LabelColumn("finding", "nominal", ("a", "b"))]
    pixels = rng("parquet").integers(0, 255, (4, 5)).astype(np.uint8)
    png = png_export.encode(pixels, "i")
    row = {"image_id": "i", "image": {"bytes": png, "path": "i.png"}, "png_offset": 0, "caption": None, "grade": 1,
           "finding": "b"}  # fmt: skip
    data = parquet_export.encode([row], labels)
    assert data == parquet_export.encode([row], labels)
    path = tmp_path / "part.parquet"
    path.write_bytes(data)
    assert marking.marking_problems(path) == []
    found = pq.read_table(path).to_pylist()[0]
    with Image.open(io.BytesIO(found["image"]["bytes"])) as picture:
        assert np.array_equal(np.asarray(picture), pixels)
    assert (found["grade"], found["finding"]) == (1, "b")
    pq.write_table(pa.table({"a": [1]}), path)
    assert "does not say" in marking.marking_problems(path)[0]
    path.write_bytes(b"x")
    assert "cannot be read" in marking.marking_problems(path)[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_png_comes_back_in_its_own_type(dtype, tmp_path):
    pixels = rng("png", dtype).integers(0, 200, (4, 5)).astype(dtype)
    path = tmp_path / "i.png"
    path.write_bytes(png_export.encode(pixels, "i"))
    back = png_export.decode(path, png_export.offset_of(pixels))
    assert back.dtype == pixels.dtype
    assert np.array_equal(back, pixels)


def test_a_file_of_another_kind_carries_no_mark(tmp_path):
    assert not marking.is_marked_kind(tmp_path / "a.jpg")
    assert "no marking" in marking.marking_problems(tmp_path / "a.jpg")[0]
