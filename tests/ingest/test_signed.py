"""Signed values of what is no CT: one scale for all images of a series or file, as docs/decisions/0020 has it."""

import nibabel
import numpy as np
import pytest

from synthcohort.formats.image import ReadOptions
from synthcohort.ingest.decode import Task, decode
from synthcohort.ingest.scan import SourceFile

MOVED = "signed values moved up by 32768"
CLEARED = "negative values of no CT set to 0"


def decoded(path, kind, size=None, **read):
    task = Task(path.parent, size, "pad", bytes(32), ReadOptions(**read))
    return list(decode(SourceFile(path.name, path.stat().st_size, kind), task))


def with_negatives(share, seed=0):
    """A magnitude image of which interpolation took a share below 0, [16, 16]."""
    values = np.random.default_rng(seed).integers(300, 700, (16, 16)).astype(np.int16)
    values.flat[: round(share * values.size)] = -20
    return values


@pytest.fixture
def mr(ct_slice, tmp_path):
    """Writes a slice of MR and decodes it."""

    def make(pixels, size=None, modality="MR", kind=("ORIGINAL", "PRIMARY", "M"), **elements):
        ds = ct_slice(0)
        ds.Modality, ds.ImageType, ds.RescaleIntercept, ds.PixelData = modality, list(kind), "0", pixels.tobytes()
        for name, value in elements.items():
            setattr(ds, name, value)
        ds.save_as(tmp_path / "slice.dcm", enforce_file_format=True)
        (item,) = decoded(tmp_path / "slice.dcm", "dicom", size)
        return item

    return make


def test_slices_of_a_magnitude_series_share_one_scale_however_many_values_are_negative(mr):
    shares = [0, 0.01, 0.04, 0.06, 0.09, 0.4]
    for share in shares:
        pixels = with_negatives(share)
        item = mr(pixels)
        np.testing.assert_array_equal(item.pixels, np.maximum(pixels, 0))
        assert (item.pixels.dtype, item.facts["bits_stored"]) == (np.uint16, 15)
        assert (CLEARED in item.facts["notes"]) == (share > 0)
        assert MOVED not in item.facts["notes"]
    unsigned = mr(with_negatives(0).astype(np.uint16), PixelRepresentation=0)
    np.testing.assert_array_equal(unsigned.pixels, mr(with_negatives(0)).pixels)


def test_slices_of_a_phase_series_are_moved_as_a_whole_also_without_a_negative_value(mr):
    phase = {"kind": ("ORIGINAL", "PRIMARY", "P"), "WindowCenter": "0", "WindowWidth": "800"}
    for low in (-2048, 0):
        pixels = np.random.default_rng(1).integers(low, 2048, (16, 16)).astype(np.int16)
        item = mr(pixels, **phase)
        np.testing.assert_array_equal(item.pixels.astype(int) - 2**15, pixels)
        assert item.facts["bits_stored"] == 16
        assert item.facts["window_center"] == 2**15
        assert MOVED in item.facts["notes"]


def test_padding_of_moved_images_is_their_zero(mr):
    pixels = with_negatives(0.3)
    moved = mr(pixels, (16, 32), kind=("ORIGINAL", "PRIMARY", "R"))
    assert (moved.pixels[:, [0, -1]] == 2**15).all()
    assert (mr(pixels, (16, 32)).pixels[:, [0, -1]] == 0).all()
    assert (mr(pixels, (16, 32), modality="CT").pixels[:, [0, -1]] == -1024).all()


@pytest.fixture
def volume(tmp_path):
    """Writes a NIfTI volume and decodes it."""

    def make(values, name="volume.nii", size=None, **read):
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), tmp_path / name)
        return decoded(tmp_path / name, "nifti", size, **read)

    return make


def test_slices_of_a_nifti_volume_share_one_scale(volume):
    shares = (0, 0.02, 0.06, 0.09)
    values = np.stack([with_negatives(share) for share in shares], axis=2)
    items = volume(values)
    assert [CLEARED in item.facts["notes"] for item in items] == [share > 0 for share in shares]
    assert all(MOVED not in item.facts["notes"] for item in items)
    assert {item.facts["bits_stored"] for item in items} == {10}
    assert all(300 <= np.median(item.pixels) < 700 for item in items)
    phase = values - 500  # the first slices hold few negative values, all together many
    phase[:, :, 0] = 7
    items = volume(phase)
    assert all(MOVED in item.facts["notes"] for item in items)
    assert (items[0].pixels == 2**15 + 7).all()


def test_ct_as_nifti_is_in_hounsfield_units_where_the_settings_or_a_table_say_ct(volume, tmp_path):
    values = np.random.default_rng(2).integers(-1000, 1500, (6, 8, 3)).astype(np.int16)
    items = volume(values, modality="CT", size=(8, 16))
    found = np.concatenate([item.pixels.ravel() for item in items])
    assert found.dtype == np.int16
    assert sorted(found[found != -1024]) == sorted(values.ravel())
    assert (found == -1024).sum() == 8 * 10 * 3  # padded with air
    assert all(not {MOVED, CLEARED} & set(item.facts["notes"]) for item in items)
    inside = volume(np.full((6, 8, 3), 40, np.int16), modality="CT")  # nothing below 0: Hounsfield units all the same
    assert {item.pixels.dtype for item in inside} == {np.dtype(np.int16)}
    rounded = volume(values.astype(np.float32) + 0.25, modality="CT")
    assert {item.pixels.dtype for item in rounded} == {np.dtype(np.int16)}
    by_table = Task(tmp_path, None, "pad", bytes(32), ReadOptions(modality="MR"), modalities={"volume.nii": "CT"})
    volume(values)
    (item, *_) = decode(SourceFile("volume.nii", (tmp_path / "volume.nii").stat().st_size, "nifti"), by_table)
    assert item.pixels.dtype == np.int16
    # A name that says MR is the file's word, which the settings do not change.
    named = volume(values, "sub-01_T1w.nii", modality="CT")
    assert {item.pixels.dtype for item in named} == {np.dtype(np.uint16)}


def test_arrays_that_say_nothing_are_judged_by_the_whole_file(tmp_path):
    path = tmp_path / "stack.npy"
    quiet, loud = with_negatives(0), with_negatives(0.09)
    np.save(path, np.stack([quiet, loud, quiet, loud]))
    assert all(MOVED not in item.facts["notes"] for item in decoded(path, "numpy"))
    np.save(path, np.stack([quiet, quiet, quiet - 1000, quiet]))
    items = decoded(path, "numpy")
    assert all(MOVED in item.facts["notes"] for item in items)
    np.testing.assert_array_equal(items[0].pixels.astype(int) - 2**15, quiet)
    assert {item.pixels.dtype for item in decoded(path, "numpy", modality="CT")} == {np.dtype(np.int16)}
