import contextlib
import gzip
import struct
import tracemalloc

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from synthcohort.formats import nifti
from synthcohort.formats.image import Image, ReadOptions, Refusal, Source, Unreadable
from synthcohort.formats.orient import slicing

LAS = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
VOLUME = np.random.default_rng(3).integers(0, 900, (4, 5, 6)).astype(np.int16)


def build(voxels, affine=LAS, kind=nibabel.Nifti1Image, **fields):
    image = kind(voxels, affine)
    for name, value in fields.items():
        image.header[name] = value
    return image.to_bytes()


def scaled(raw, slope, intercept, **fields):
    """A file whose header says that stored values are to be scaled; nibabel would scale them itself."""
    return patched(build(raw, **fields), 112, struct.pack("<ff", slope, intercept))


def patched(data, at, content):
    return data[:at] + content + data[at + len(content) :]


def images(data, **options):
    found = list(nifti.read(data, ReadOptions(**options)))
    assert all(isinstance(image, Image) for image in found)
    return found


def refusal(data):
    with pytest.raises(Unreadable) as caught:
        list(nifti.read(data))
    return str(caught.value)


def center_of(image, row, column):
    """DICOM's own formula for the place of a pixel, in LPS. Source: DICOM PS3.3 C.7.6.2.1.1."""
    along, down = np.array(image.place.orientation[:3]), np.array(image.place.orientation[3:])
    rows_mm, columns_mm = image.pixel_spacing_mm
    return np.array(image.place.position_mm) + along * columns_mm * column + down * rows_mm * row


# --- geometry -------------------------------------------------------------------------------------------------------


def test_axial_slices_by_hand():
    """Stored to the left, front and head from (10, 20, 30) RAS in steps of 1, 1 and 2 mm."""
    found = images(build(VOLUME))
    assert [image.part for image in found] == [f"slice {k}" for k in range(1, 7)]
    assert [image.frame for image in found] == list(range(6))
    third = found[2]
    # Patient's right at the left, where x of the file starts; front up, where y of the file ends.
    np.testing.assert_array_equal(third.pixels, VOLUME[:, ::-1, 2].T)
    assert third.pixel_spacing_mm == (1, 1)
    assert third.place.position_mm == (-10, -24, 34)  # RAS (10, 20 + 4, 30 + 2 * 2)
    assert third.place.orientation == (1, 0, 0, 0, 1, 0)
    assert third.place.thickness_mm == 2
    assert third.notes == ("axial slices, turned to radiological convention",)


def test_sagittal_and_coronal_slices_by_hand():
    thick_x = images(build(VOLUME, np.diag([3.0, 1, 1, 1])))
    assert len(thick_x) == 4
    assert "sagittal" in thick_x[0].notes[0]
    # Front on the left, head up.
    np.testing.assert_array_equal(thick_x[1].pixels, VOLUME[1, ::-1, ::-1].T)
    assert thick_x[1].place.position_mm == (-3, -4, 5)
    assert thick_x[1].place.orientation == (0, 1, 0, 0, 0, -1)
    thick_y = images(build(VOLUME, np.diag([1.0, 3, 0.5, 1])))
    assert "coronal" in thick_y[0].notes[0]
    # Patient's right on the left, head up.
    np.testing.assert_array_equal(thick_y[4].pixels, VOLUME[::-1, 4, ::-1].T)
    assert thick_y[4].place.position_mm == (-3, -12, 2.5)
    assert thick_y[4].place.orientation == (1, 0, 0, 0, 0, -1)
    assert thick_y[4].pixel_spacing_mm == (0.5, 1)


def test_oblique_volume_by_hand():
    """Turned by 30 degrees around the axis from left to right: nothing is resampled, and the cosines say so."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([0.5, 0.5, 3])
    affine[:3, 3] = 5, 6, 7
    image = images(build(VOLUME, affine))[2]
    np.testing.assert_array_equal(image.pixels, VOLUME[:, ::-1, 2].T)
    # First pixel: voxel (0, 4, 2) = (5, 6 + 2c - 6s, 7 + 2s + 6c) in RAS.
    np.testing.assert_allclose(image.place.position_mm, (-5, -(6 + 2 * c - 6 * s), 7 + 2 * s + 6 * c), atol=1e-5)
    np.testing.assert_allclose(image.place.orientation, (1, 0, 0, 0, c, -s), atol=1e-6)
    np.testing.assert_allclose((*image.pixel_spacing_mm, image.place.thickness_mm), (0.5, 0.5, 3), atol=1e-6)


def test_equal_edges_give_axial_slices_and_a_single_slice_stays_one():
    assert "axial" in images(build(VOLUME, np.diag([1, 1, 1.005, 1])))[0].notes[0]
    (flat,) = images(build(VOLUME[:, :1], np.diag([9, 0.1, 1, 1])))
    assert (flat.part, flat.frame, flat.pixels.shape) == ("", None, (6, 4))
    two_axes = patched(build(VOLUME[:, :, :1]), 40, struct.pack("<h", 2))
    assert images(two_axes)[0].pixels.shape == (5, 4)


rotations = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)


@settings(deadline=None, max_examples=60)
@given(
    angles=rotations,
    sizes=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    mirrored=st.booleans(),
    shape=st.tuples(*[st.integers(2, 5)] * 3),
)
def test_every_voxel_is_shown_once_where_the_affine_says(angles, sizes, mirrored, shape):
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(t), np.sin(t)) for t in angles)
    turn = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]]) @ np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    turn = turn @ np.array([[1, 0, 0], [0, cc, -sc], [0, sc, cc]]) @ np.diag([-1 if mirrored else 1, 1, 1])
    affine = np.eye(4)
    affine[:3, :3] = turn * sizes
    affine[:3, 3] = -30, 12, 400
    volume = np.arange(np.prod(shape)).reshape(shape)
    cut = slicing(shape, affine)
    seen = []
    for k in range(cut.shape[0]):
        pixels, place = cut.cut(volume, k), cut.place(k)
        image = Image(pixels, 16, cut.pixel_spacing_mm, place=place)
        seen.extend(pixels.ravel())
        for row, column in ((0, 0), (pixels.shape[0] - 1, 0), (pixels.shape[0] - 1, pixels.shape[1] - 1)):
            voxel = np.unravel_index(pixels[row, column], shape)
            ras = affine[:3, :3] @ voxel + affine[:3, 3]
            np.testing.assert_allclose(center_of(image, row, column), ras * (-1, -1, 1), atol=1e-6)
        # As near to the convention as turning and exchanging axes can bring it.
        along, down = np.array(place.orientation[:3]), np.array(place.orientation[3:])
        wanted = {"axial": (0, 1), "coronal": (0, -3), "sagittal": (1, -3)}[cut.plane]
        assert along[wanted[0]] > 0
        assert (down[1] if wanted[1] == 1 else -down[2]) > -1e-9
    assert sorted(seen) == list(range(volume.size))
    assert max(cut.pixel_spacing_mm) <= max(sizes) * 1.0001


@settings(deadline=None, max_examples=48)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_any_storage_order_shows_the_same(order, signs):
    """The same body stored in all 48 ways gives the same slices at the same places."""
    names = (("R", "L"), ("A", "P"), ("S", "I"))
    codes = [names[axis][0 if sign > 0 else 1] for axis, sign in zip(order, signs, strict=True)]
    orientation = axcodes2ornt(codes)
    canonical = np.diag([0.7, 0.8, 3.0, 1])
    stored_axes = tuple(int(axis) for axis in orientation[:, 0])
    stored = VOLUME.transpose(stored_axes)[tuple(slice(None, None, int(sign)) for sign in orientation[:, 1])]
    affine = canonical @ np.linalg.inv(inv_ornt_aff(nibabel.io_orientation(np.eye(4)), VOLUME.shape))
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for i, (axis, sign) in enumerate(orientation):
        matrix[int(axis), i] = sign
        if sign < 0:
            matrix[int(axis), 3] = VOLUME.shape[int(axis)] - 1
    expected = images(build(VOLUME, canonical))
    found = images(build(np.ascontiguousarray(stored), affine @ matrix))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_allclose(a.place.position_mm, b.place.position_mm, atol=1e-5)
        np.testing.assert_allclose(a.place.orientation, b.place.orientation, atol=1e-6)


def test_values_and_places_are_those_of_simpleitk(tmp_path):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        image = SimpleITK.GetImageFromArray(rng.integers(-1024, 3000, (6, 7, 8)).astype(np.int16))
        image.SetSpacing([0.6, 0.7, 2.5])
        image.SetOrigin(rng.uniform(-99, 99, 3).tolist())
        image.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel().tolist())
        path = tmp_path / f"{seed}.nii.gz"
        SimpleITK.WriteImage(image, str(path))
        reference = SimpleITK.ReadImage(str(path))
        found = images(path)
        assert len(found) == 6
        for slice_ in found:
            assert slice_.pixels.dtype == np.int16
            for row, column in rng.integers(0, slice_.pixels.shape, (5, 2)):
                point = center_of(slice_, row, column)
                index = reference.TransformPhysicalPointToIndex(point.tolist())
                np.testing.assert_allclose(reference.TransformIndexToPhysicalPoint(index), point, atol=1e-3)
                assert reference[index] == slice_.pixels[row, column]


def test_orientation_is_chosen_as_nibabel_does():
    image = nibabel.Nifti1Image(VOLUME, np.diag([1, 1, 2, 1]))
    image.set_qform(np.diag([-1, 1, 2, 1]), code=1)
    image.set_sform(np.diag([1, -1, 2, 1]), code=2)
    both = image.to_bytes()
    np.testing.assert_array_equal(images(both)[0].pixels, VOLUME[::-1, :, 0].T)  # the sform
    image.set_sform(np.diag([1, -1, 2, 1]), code=0)
    np.testing.assert_array_equal(images(image.to_bytes())[0].pixels, VOLUME[:, ::-1, 0].T)  # the qform
    image.set_qform(np.diag([-1, 1, 2, 1]), code=0)
    (first, *_) = images(image.to_bytes())
    assert first.place is None
    assert first.pixel_spacing_mm == (1, 1)
    assert "states no orientation" in first.notes[-1]


def test_units_shear_and_singular_affines():
    meters = build(VOLUME, np.diag([0.001, 0.001, 0.002, 1]), xyzt_units=1)
    np.testing.assert_allclose(images(meters)[0].pixel_spacing_mm, (1, 1), rtol=1e-6)
    sheared = LAS.copy()
    sheared[0, 1] = 0.2
    assert images(build(VOLUME, sheared))[0].place is None
    assert "affine" in refusal(patched(build(VOLUME), 312, bytes(16)))  # srow_z
    assert "affine" in refusal(patched(build(VOLUME), 280, struct.pack("<f", np.nan)))  # srow_x


# --- values ---------------------------------------------------------------------------------------------------------


def restored(found):
    return np.stack([image.pixels[::-1].T for image in found], axis=-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32])
def test_whole_numbers_are_kept(dtype):
    voxels = np.random.default_rng(3).integers(0, 100, (4, 5, 6)).astype(dtype)
    found = images(nibabel.Nifti1Image(voxels, LAS, dtype=dtype).to_bytes())
    np.testing.assert_array_equal(restored(found), voxels)
    assert found[0].pixels.dtype == (np.uint8 if dtype == np.uint8 else np.uint16)
    assert {image.bits_stored for image in found} == {8 if dtype == np.uint8 else 7}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_byte_orders_and_both_versions(order, kind):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    data = kind(VOLUME, LAS, header).to_bytes()
    np.testing.assert_array_equal(restored(images(data)), VOLUME)
    np.testing.assert_array_equal(restored(images(gzip.compress(data))), VOLUME)


def test_ct_keeps_hounsfield_units():
    stored = np.random.default_rng(3).integers(0, 4000, (4, 5, 6)).astype(np.int16)
    found = images(scaled(stored, 1, -1024))
    np.testing.assert_array_equal(restored(found), stored - 1024)
    assert found[0].pixels.dtype == np.int16
    assert "rescaled to real values" in found[0].notes
    named = list(nifti.read(Source("a_ct.nii", data=build(np.abs(VOLUME)))))
    assert named[0].pixels.dtype == np.int16
    floats = list(nifti.read(Source("a_ct.nii", data=build(VOLUME.astype(np.float32) - 500.25))))
    np.testing.assert_array_equal(restored(floats), np.rint(VOLUME.astype(np.float32) - 500.25))
    assert "Hounsfield" in floats[0].notes[-1]


def test_scales_without_whole_numbers_keep_stored_values():
    raw = np.random.default_rng(3).integers(-3000, 3000, (4, 5, 6)).astype(np.int16)
    found = images(scaled(raw, 0.37, 2.5))
    np.testing.assert_array_equal(restored(found), raw - int(raw.min()))
    assert found[0].pixels.dtype == np.uint16
    assert "stored values kept" in found[0].notes[1]
    bytes_ = np.random.default_rng(3).integers(0, 256, (4, 5, 6)).astype(np.uint8)
    np.testing.assert_array_equal(restored(images(scaled(bytes_, 0.1, 0))), bytes_)
    halves = images(scaled((raw // 2) * 2, 0.5, 0))
    np.testing.assert_array_equal(restored(halves), raw // 2)
    falling = restored(images(scaled(raw, -0.37, 0)))
    assert falling[raw == raw.min()][0] == 65535
    assert falling[raw == raw.max()][0] == 0


def test_floats_are_spread_over_their_range():
    voxels = np.random.default_rng(3).normal(size=(4, 5, 6)).astype(np.float32)
    found = images(build(voxels))
    pixels = restored(found).astype(np.float64)
    assert (pixels.min(), pixels.max()) == (0, 65535)
    low, high = float(voxels.min()), float(voxels.max())
    assert np.abs(pixels / 65535 * (high - low) + low - voxels).max() <= (high - low) / 65535 * 0.51
    note = found[0].notes[-1]
    assert not any(letter.isdigit() for letter in note.replace("16", ""))
    assert set(np.unique(restored(images(build(np.full((3, 3, 3), 0.5, np.float32)))))) == {0}
    huge = np.zeros((2, 2, 2))
    huge[0], huge[1] = -1.7e308, 1.7e308
    assert set(np.unique(restored(images(build(huge))))) == {0, 65535}
    large = np.random.default_rng(3).integers(0, 2**31, (4, 5, 6)).astype(np.int32)
    assert np.corrcoef(restored(images(build(large))).ravel(), large.ravel())[0, 1] > 0.999999


def test_what_is_no_number_is_replaced_and_noted():
    voxels = VOLUME.astype(np.float32) + 1
    voxels[0, 0, 0], voxels[1, 1, 1], voxels[2, 2, 2] = np.nan, np.inf, -np.inf
    low, high = voxels[np.isfinite(voxels)].min(), voxels[np.isfinite(voxels)].max()
    found = images(build(voxels))
    pixels = restored(found)
    assert (pixels[0, 0, 0], pixels[1, 1, 1], pixels[2, 2, 2]) == (low, high, low)
    good = np.isfinite(voxels)
    np.testing.assert_array_equal(pixels[good], voxels[good])
    assert any("no finite number" in note for note in found[0].notes)
    assert "no voxel holds a finite number" in refusal(build(np.full((3, 3, 3), np.nan, np.float32)))


def test_color():
    rgb = np.random.default_rng(3).integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    packed = rgb.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    found = images(build(packed))
    assert found[0].pixels.shape == (5, 4, 3)
    np.testing.assert_array_equal(np.stack([f.pixels[::-1].transpose(1, 0, 2) for f in found], 2), rgb)
    rgba = np.concatenate([rgb, np.zeros((4, 5, 6, 1), np.uint8)], -1)
    packed = rgba.view([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])[..., 0]
    np.testing.assert_array_equal(images(build(packed))[0].pixels, found[0].pixels)
    rgba[0, 0, 0, 3] = 9
    results = list(nifti.read(build(packed)))
    assert isinstance(results[0], Refusal)
    assert isinstance(results[1], Image)


def test_window_of_the_header():
    assert images(build(VOLUME, cal_min=100, cal_max=500))[0].window == (300, 400)
    assert images(build(VOLUME))[0].window is None
    assert images(build(VOLUME + np.float32(0.5), cal_min=100, cal_max=500))[0].window is None


# --- volumes, names, files --------------------------------------------------------------------------------------------


def test_times_and_picked_slices():
    voxels = np.random.default_rng(3).integers(0, 900, (4, 5, 6, 3)).astype(np.int16)
    found = images(build(voxels))
    assert len(found) == 18
    assert [found[i].part for i in (0, 6, 17)] == ["volume 1 slice 1", "volume 2 slice 1", "volume 3 slice 6"]
    assert [image.frame for image in found] == list(range(18))
    np.testing.assert_array_equal(restored(found[6:12]), voxels[..., 1])
    assert len({image.identifiers["series_uid"] for image in found}) == 1
    middle = images(build(voxels), slices="middle")
    assert [image.part for image in middle] == [f"volume {t} slice 4" for t in (1, 2, 3)]
    assert [image.frame for image in middle] == [3, 9, 15]
    every = images(build(voxels), slices="every:2")
    np.testing.assert_array_equal(every[0].pixels, found[1].pixels)
    assert len(every) == 9


def test_all_slices_of_a_file_are_mapped_alike():
    voxels = np.zeros((4, 5, 6, 2), np.float32)
    voxels[..., 0], voxels[..., 1] = 0.5, 1.5
    voxels[0, 0, 0, 0] = 0
    found = images(build(voxels))
    assert found[2].pixels[0, 0] == 21845
    assert found[8].pixels[0, 0] == 65535


def test_nothing_of_the_headers_words_comes_out():
    secret = b"INVENTED^PERSON"
    image = nibabel.Nifti1Image(VOLUME, LAS)
    for field in ("descrip", "intent_name", "aux_file", "db_name"):
        image.header[field] = secret
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", secret))
    for found in images(image.to_bytes()):
        words = repr((found.facts, found.identifiers, found.notes, found.part, found.row, found.header))
        assert "INVENTED" not in words


@pytest.mark.parametrize(
    ("name", "modality", "subject"),
    [
        ("sub-01_ses-02_T1w.nii.gz", "MR", "sub-01"),
        ("sub-a7/anat/scan_bold.nii", "MR", "sub-a7"),
        ("sub-3/sub-3_dwi.nii.gz", "MR", "sub-3"),
        ("x/case_ct.nii.gz", "CT", None),
        ("sub-01_space-T1w_desc-brain_mask.nii.gz", None, "sub-01"),
        ("act.nii.gz", None, None),
        ("subject-4_volume.nii", None, None),
        ("sub-/x.nii", None, None),
        ("", None, None),
    ],
)
def test_what_a_name_says(name, modality, subject):
    (image, *_) = nifti.read(Source(name, data=build(VOLUME)))
    assert image.facts == ({"modality": modality} if modality else {})
    assert image.row == ({"participant_id": subject} if subject else {})


def test_files_on_disk_and_pairs(tmp_path):
    data = build(VOLUME)
    for name, content in (("a.nii", data), ("b.nii.gz", gzip.compress(data)), ("wrong_name.nii", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(restored(images(tmp_path / name)), VOLUME)
    nibabel.Nifti1Pair(VOLUME, LAS).to_filename(tmp_path / "pair.hdr")
    np.testing.assert_array_equal(restored(images(tmp_path / "pair.hdr")), VOLUME)
    header = (tmp_path / "pair.hdr").read_bytes()
    assert "unpack it" in refusal(header)
    (tmp_path / "pair.img").unlink()
    assert "half of a pair" in refusal(tmp_path / "pair.hdr")
    analyze = nibabel.AnalyzeImage(VOLUME, np.eye(4))
    analyze.to_filename(tmp_path / "old.hdr")
    assert "sides are not known" in refusal(tmp_path / "old.hdr")
    assert "cannot be read" in refusal(tmp_path / "gone.nii")


def test_a_plain_file_is_mapped_and_a_large_packed_one_streamed(tmp_path, monkeypatch):
    voxels = np.zeros((128, 128, 30, 10), np.int16)  # 10 volumes of 1 MB
    voxels[..., 7] = 5
    voxels[0, 0, 0, 3] = 700
    data = build(voxels)
    (tmp_path / "a.nii").write_bytes(data)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data, 1))
    del data
    monkeypatch.setattr(nifti, "MAX_IN_MEMORY", 2**20)
    for name, most in (("a.nii", 2.0e6), ("a.nii.gz", 6e6)):
        tracemalloc.start()
        count = 0
        for image in nifti.read(tmp_path / name):
            assert int(image.pixels.max()) == {7: 5}.get(image.frame // 30, 700 if image.frame == 90 else 0)
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 300
        # The file's digest holds up to one piece of 1 MiB at a time.
        assert peak < most + 2**20


# --- damage -----------------------------------------------------------------------------------------------------------


def test_damage_is_refused():
    data = build(VOLUME)
    packed = gzip.compress(data)
    assert refusal(b"") == "the file is empty"
    assert "not a NIfTI file" in refusal(b"hello, this is text" * 40)
    assert "cut off" in refusal(data[:-1])
    assert "cut off" in refusal(gzip.compress(data[:-1]))
    assert "cut off or corrupt" in refusal(packed[:-12])
    broken = bytearray(packed)
    broken[-6] ^= 1  # the check sum
    assert "corrupt" in refusal(bytes(broken))
    assert "type" in refusal(build(VOLUME.astype(np.complex64)))
    assert "axes" in refusal(build(np.zeros((2, 2, 2, 1, 3), np.float32)))
    assert "makes sense" in refusal(patched(data, 108, struct.pack("<f", 1e30)))


def test_bombs_are_refused_before_they_unfold():
    bomb = gzip.compress(build(VOLUME) + bytes(2**24))
    tracemalloc.start()
    assert "more than its header says" in refusal(bomb)
    assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    tracemalloc.stop()
    for shape, reason in (
        ((32767, 32767, 32767, 1), "pixels"),
        ((4096, 4096, 32767, 1), "cut off"),
        ((2, 2, 32767, 32767), "slices"),
    ):
        assert reason in refusal(patched(build(VOLUME), 40, struct.pack("<5h", 4, *shape)))
    assert "unpacked" in refusal(gzip.compress(patched(build(VOLUME), 42, struct.pack("<4h", 4096, 4096, 32767, 1))))


def test_mutated_files_are_read_or_refused():
    rng = np.random.default_rng(7)
    plain = build(VOLUME, cal_max=5)
    float_ = build(VOLUME + np.float32(0.5))
    for i in range(200):
        data = bytearray([plain, float_, gzip.compress(plain)][i % 3])
        end = len(data) if i % 3 == 2 else 360
        for at in rng.integers(0, end, rng.integers(1, 6)):
            data[at] = rng.integers(0, 256)
        with contextlib.suppress(Unreadable):
            for found in nifti.read(bytes(data[: rng.integers(1, len(data))] if i % 5 == 0 else data)):
                assert isinstance(found, (Image, Refusal))
