import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from synthcohort.core.files import digest_array
from synthcohort.core.seeds import rng
from synthcohort.formats.dicom_export import (
    Equipment,
    SlicePlace,
    SyntheticImage,
    encode,
    marking_problems,
    sop_class,
    uid,
)
from synthcohort.formats.dicom_simulated import HOLDS

SIMULATED = dict.fromkeys({keyword for held in HOLDS.values() for keyword in held}, 50.0)
EQUIPMENT = Equipment("0.1.0", "Synthetic cohort sha256:ab")
DEPTHS = {"uint8": (0, 256), "uint16": (0, 4096), "int16": (-1024, 3072)}


def example(dtype: str = "uint8", shape: tuple[int, ...] = (7, 5), **record) -> SyntheticImage:
    pixels = rng("export", dtype).integers(*DEPTHS[dtype], shape).astype(dtype)
    full = {"image_id": "synthetic-1", "pixels_digest": digest_array(pixels), "seed": 5, **record}
    return SyntheticImage(pixels, full, {"kl_grade": 4}, "sha256:ab")


AXIAL = np.array([[0, 0, 0.5, -10], [0, 0.7, 0, 4], [2.5, 0, 0, 1], [0, 0, 0, 1.0]])
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
OBLIQUE = np.vstack([np.column_stack([TURN @ AXIAL[:3, :3], AXIAL[:3, 3]]), AXIAL[3]])


def placed(image: SyntheticImage, affine: np.ndarray | None = AXIAL, number: int = 3) -> SyntheticImage:
    return replace(image, place=SlicePlace("volume-00001", number, affine))


CASES = {
    "radiograph": (example(modality="DX", body_part="knee", laterality="R", view="AP", pixel_spacing_mm=[0.2, 0.2],
                           age=63.0, sex="F"), "Computed Radiography Image Storage"),
    "radiograph, 12 bit": (example("uint16", modality="CR", bits_stored=12, window_center=2000.0, window_width=4000.0),
                           "Computed Radiography Image Storage"),
    "chest, no laterality": (example(modality="DX", body_part="CHEST"), "Computed Radiography Image Storage"),
    "CT slice": (example("int16", modality="CT", view="axial", pixel_spacing_mm=[0.7, 0.7], body_part="CHEST"),
                 "CT Image Storage"),
    "CT without spacing": (example("int16", modality="CT", view="axial"), "Secondary Capture Image Storage"),
    "MR slice": (example("uint16", modality="MR", view="sagittal", pixel_spacing_mm=[1, 1], bits_stored=12),
                 "MR Image Storage"),
    "MR, 8 bit": (example(modality="MR"), "Secondary Capture Image Storage"),
    "ultrasound": (example(modality="US", body_part="BREAST"), "Ultrasound Image Storage"),
    "ultrasound, color": (example(modality="US", shape=(7, 5, 3)), "Ultrasound Image Storage"),
    "dermoscopy": (example(modality="XC", shape=(7, 5, 3), body_part="SKIN"),
                   "VL Photographic Image Storage"),
    "histology": (example(modality="SM", shape=(7, 5, 3), body_part="COLON"), "VL Microscopic Image Storage"),
    "CT slice of a volume": (placed(example("int16", modality="CT", body_part="CHEST", view="axial")),
                             "CT Image Storage"),
    "CT of a volume on no lattice": (placed(example("int16", modality="CT", body_part="CHEST"), None),
                                     "Secondary Capture Image Storage"),
    "MR slice of an oblique volume": (placed(example("uint16", modality="MR", bits_stored=12), OBLIQUE),
                                      "MR Image Storage"),
    "fundus photograph": (example(modality="OP", shape=(7, 5, 3), laterality="L"), "Secondary Capture Image Storage"),
    "unknown": (example("uint16"), "Secondary Capture Image Storage"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pixels_keep_their_depth_and_values(name, tmp_path):
    image, kind = CASES[name]
    path = tmp_path / "image.dcm"
    path.write_bytes(encode(image, EQUIPMENT))
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID.name == kind == sop_class(image).name
    assert dataset.pixel_array.dtype == image.pixels.dtype
    assert np.array_equal(dataset.pixel_array, image.pixels)
    assert marking_problems(path) == []


def test_a_file_says_what_it_is():
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(encode(CASES["radiograph"][0], EQUIPMENT)))
    assert dataset["SyntheticData"].tag == 0x0008001C
    assert dataset.SyntheticData == "YES"
    item = dataset.ContributingEquipmentSequence[0]
    code = item.PurposeOfReferenceCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("109100", "DCM")
    assert code.CodeMeaning == "Synthesizing Equipment"
    assert item.SoftwareVersions == "0.1.0"
    assert "seed 5" in item.ContributionDescription
    assert dataset.PatientID == "synthetic-1"
    assert dataset.PatientAge == "063Y"
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        assert not dataset[keyword].value, "nothing is invented about an acquisition that never took place"


def test_the_same_image_gives_the_same_bytes_and_another_other_uids():
    image = example()
    assert encode(image, EQUIPMENT) == encode(example(), EQUIPMENT)
    other = SyntheticImage(image.pixels, {**image.record, "image_id": "synthetic-2"}, image.labels, image.cohort_digest)
    levels = ("study", "series", "instance")
    assert len({uid(one, level) for one in (image, other) for level in levels}) == 6
    for level in levels:
        assert uid(image, level).startswith("2.25.")
        assert uid(image, level).is_valid


def test_odd_length_pixels_are_padded():
    image = example(shape=(7, 5))
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(encode(image, EQUIPMENT)))
    assert len(dataset.PixelData) == 36


def test_values_beyond_the_stored_bits_are_refused():
    image = example("uint16", bits_stored=8)
    with pytest.raises(ValueError, match="does not fit into 8 bits"):
        encode(image, EQUIPMENT)


def test_texts_that_a_value_cannot_hold_are_cut_and_cleaned():
    image = example(body_part="left knee, seen from the front\\x", view="a view\nof it", sex="unknown", age=-3.0)
    image = SyntheticImage(image.pixels, image.record, {"finding": "x" * 200}, "sha256:ab")
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(encode(image, EQUIPMENT)))
    assert len(dataset.SeriesDescription) <= 64
    assert len(dataset.BodyPartExamined) <= 16
    assert dataset.PatientSex == ""
    assert "PatientAge" not in dataset


def test_marking_of_a_damaged_file_is_a_problem(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(b"no DICOM at all")
    assert "cannot be read" in marking_problems(path)[0]
    path.write_bytes(encode(example(), EQUIPMENT).replace(b"109100", b"109101"))
    assert "109100" in marking_problems(path)[0]


@pytest.mark.parametrize("name", CASES)
def test_an_independent_validator_finds_no_error(name, tmp_path):
    """dciodvfy of dicom3tools, where installed; its dictionary of 2022 does not know Synthetic Data (0008,001C) yet."""
    if shutil.which("dciodvfy") is None:
        return
    path = tmp_path / "image.dcm"
    path.write_bytes(encode(CASES[name][0], EQUIPMENT, SIMULATED))
    found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=60, check=False)
    errors = [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]
    assert [line for line in errors if "not a recognized standard attribute - (0x0008,0x001c)" not in line] == []


def read(image: SyntheticImage, simulated: dict[str, float] | None = None) -> pydicom.Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(encode(image, EQUIPMENT, simulated)))


def test_slices_of_a_volume_are_one_series_of_one_patient_in_place():
    base = example("int16", modality="CT", body_part="CHEST", view="axial")
    sets = [read(placed(replace(base, record={**base.record, "image_id": f"s-{k}"}), OBLIQUE, k)) for k in range(3)]
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({str(ds[keyword].value) for ds in sets}) == 1, keyword
    assert len({ds.SOPInstanceUID for ds in sets}) == 3
    assert [ds.InstanceNumber for ds in sets] == [1, 2, 3]
    for k, ds in enumerate(sets):
        spacing = np.array(ds.PixelSpacing, float)
        right, down = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        # Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1
        found = np.array(ds.ImagePositionPatient, float) + 4 * right * spacing[1] + 6 * down * spacing[0]
        assert np.allclose(found, (OBLIQUE @ [k, 6, 4, 1])[:3], atol=1e-6)


def test_simulated_values_stand_only_where_asked_for_and_say_so():
    image = CASES["CT slice"][0]
    assert read(image).KVP is None
    assert "SIMULATED" not in read(image).ImageComments
    asked = read(image, {"KVP": 120.0, "EchoTime": 20.0})
    assert asked.KVP == 120
    assert "EchoTime" not in asked, "no CT has an echo time"
    assert "SIMULATED, set by no scanner: KVP." in asked.ImageComments
    assert "SIMULATED" in asked.ContributingEquipmentSequence[0].ContributionDescription


def test_what_may_be_simulated_is_one_list():
    from synthcohort.release.config import SIMULATED as ALLOWED

    assert set(ALLOWED) == {keyword for held in HOLDS.values() for keyword in held}
