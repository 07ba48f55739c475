import json
import random
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.formats.image import Place
from synthcohort.ingest.stacks import SliceRecord
from synthcohort.ingest.volumes import FINDINGS, affine_lps, assemble, pick, plane_name, volume_report

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)


def turned(a, b, c):
    """Row and column direction after turns about three axes, in degrees."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.deg2rad([a, b, c])), np.sin(np.deg2rad([a, b, c]))
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return tuple((z @ y @ x)[:, :2].T.ravel())


def series(count=8, spacing=2.5, orientation=AXIAL, lean=(0.0, 0.0), origin=(-100.0, -90.0, 40.0), **rest):
    """Slices along the normal; `lean` moves them along rows and columns, in mm per mm. Every slice has own pixels."""
    row, column = np.array(orientation, float).reshape(2, 3)
    step = np.cross(row, column) + lean[0] * row + lean[1] * column
    facts = {"shape": (16, 12), "pixel_spacing_mm": (0.7, 0.5), "series_id": "s"} | rest
    return [
        SliceRecord(i, place=Place(tuple(origin + i * spacing * step), orientation), pixels_digest=f"d{i}", **facts)
        for i in range(count)
    ]


def moved(item, by):
    return replace(item, place=replace(item.place, position_mm=tuple(np.add(item.place.position_mm, by))))


def kinds(volume):
    return [finding.kind for finding in volume.findings]


def numbered(slices, start):
    return [replace(item, index=start + i, pixels_digest=f"d{start + i}") for i, item in enumerate(slices)]


ORIENTATIONS = st.one_of(st.sampled_from([AXIAL, CORONAL, SAGITTAL]), st.builds(turned, *[st.floats(-180, 180)] * 3))
SERIES = st.builds(
    series, st.integers(4, 30), st.floats(0.05, 12), ORIENTATIONS,
    st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)) | st.just((0.0, 0.0)),
)  # fmt: skip


def test_an_even_series_is_one_volume_without_findings():
    (volume,) = assemble(series())
    assert volume.indices == tuple(range(8))
    assert volume.findings == ()
    assert volume.regular
    assert volume.spacing_mm == pytest.approx(2.5)
    assert (volume.plane, volume.axes, volume.handedness, volume.tilt_deg) == ("axial", "LPH", "right", 0.0)


@given(SERIES, st.randoms(use_true_random=False))
def test_order_depends_on_places_alone(slices, chance):
    shuffled = chance.sample(slices, len(slices))
    (volume,) = assemble(shuffled)
    assert volume == assemble(slices)[0]
    assert volume.indices == tuple(range(len(slices)))
    assert volume.handedness == "right"
    assert set(kinds(volume)) <= {"gantry tilt"}
    # Numbers of a source that runs the other way change nothing.
    backward = [replace(item, number=-item.index) for item in slices]
    assert assemble(backward)[0].indices == volume.indices


@given(SERIES, st.data())
def test_a_slice_taken_out_is_one_missing_slice(slices, data):
    before = kinds(assemble(slices)[0])
    out = data.draw(st.integers(1, len(slices) - 2))
    (volume,) = assemble(slices[:out] + slices[out + 1 :])
    (missing,) = [finding for finding in volume.findings if finding.kind == "missing slices"]
    assert (missing.count, missing.detail["gaps"], missing.detail["first_gap_after"]) == (1, 1, out - 1)
    assert sorted(kinds(volume)) == sorted([*before, "missing slices"])
    assert volume.spacing_mm == pytest.approx(assemble(slices)[0].spacing_mm)
    assert not volume.regular


@given(SERIES.filter(lambda slices: assemble(slices)[0].spacing_mm > 0.25), st.data())
def test_a_slice_moved_along_the_normal_is_uneven(slices, data):
    at = data.draw(st.integers(1, len(slices) - 2))
    spacing = assemble(slices)[0].spacing_mm
    share = data.draw(st.sampled_from([-0.4, -0.1, 0.1, 0.3]))
    normal = np.cross(slices[0].place.orientation[:3], slices[0].place.orientation[3:])
    moved_one = moved(slices[at], share * spacing * normal)
    (volume,) = assemble([*slices[:at], moved_one, *slices[at + 1 :]])
    assert "uneven spacing" in kinds(volume)
    assert "missing slices" not in kinds(volume)
    assert volume.indices == tuple(range(len(slices)))
    assert not volume.regular


@given(SERIES, st.data(), st.sampled_from(["equal", "different", "unknown"]))
def test_a_slice_given_twice_is_a_duplicate(slices, data, pixels):
    at = data.draw(st.integers(0, len(slices) - 1))
    digest = {"equal": slices[at].pixels_digest, "different": "zz", "unknown": ""}[pixels]
    double = replace(slices[at], index=99, pixels_digest=digest)
    if pixels == "unknown":
        slices = [replace(item, pixels_digest="") for item in slices]
    (volume,) = assemble([double, *slices])
    (found,) = [finding for finding in volume.findings if finding.kind == "duplicate slices"]
    assert (found.count, dict(found.detail)) == (1, {pixels: 1})
    assert volume.set_aside == (99,)
    assert volume.indices == tuple(range(len(slices)))
    assert volume.regular  # what is left lies on a lattice


def test_the_tolerance_is_one_percent_and_a_hundredth_of_a_millimeter():
    def shifted(spacing, by):
        slices = series(6, spacing)
        return kinds(assemble([*slices[:3], moved(slices[3], (0, 0, by)), *slices[4:]])[0])

    assert shifted(5.0, 0.045) == []
    assert shifted(5.0, 0.06) == ["uneven spacing"]
    assert shifted(0.5, 0.009) == []  # more than 1 %, but no more than rounding
    assert shifted(0.5, 0.012) == ["uneven spacing"]
    assert shifted(0.02, 0.009) == ["uneven spacing"]  # never more than a quarter of the spacing


def test_missing_slices_are_counted_by_gap():
    slices = series(20)
    (volume,) = assemble([item for item in slices if item.index not in (4, 5, 6, 11)])
    (missing,) = volume.findings
    assert (missing.kind, missing.count) == ("missing slices", 4)
    assert missing.detail == {"gaps": 2, "largest_gap_mm": 10.0, "first_gap_after": 3}


@pytest.mark.parametrize("degrees", [0.5, 5, 23.7, -30])
def test_gantry_tilt_is_found_with_its_angle(degrees):
    (volume,) = assemble(series(12, 3.0, lean=(0, np.tan(np.deg2rad(degrees)))))
    (finding,) = volume.findings
    assert (finding.kind, finding.detail["angle_deg"]) == ("gantry tilt", pytest.approx(abs(degrees), abs=1e-3))
    assert volume.spacing_mm == pytest.approx(3.0)  # along the normal
    assert np.linalg.norm(volume.step_mm) == pytest.approx(3.0 / np.cos(np.deg2rad(degrees)))
    assert volume.regular


def test_rounded_positions_are_no_finding():
    for orientation in (AXIAL, turned(12, -7, 33)):
        rounded = [
            replace(s, place=Place(tuple(np.round(s.place.position_mm, 2)), tuple(np.round(s.place.orientation, 4))))
            for s in series(40, 1.37, orientation)
        ]
        assert kinds(assemble(rounded)[0]) == []


def test_a_slice_moved_within_its_plane_is_said_and_is_no_tilt():
    slices = series(9)
    (volume,) = assemble([*slices[:4], moved(slices[4], (0.8, 0, 0)), *slices[5:]])
    (finding,) = volume.findings
    assert (finding.kind, finding.count, finding.detail["most_mm"]) == ("shifted slices", 1, 0.8)
    assert not volume.regular


def test_a_localizer_is_split_by_orientation_shape_and_spacing():
    slices = [
        *series(5),
        *numbered(series(4, orientation=CORONAL), 10),
        *numbered(series(3, orientation=SAGITTAL), 20),
        *numbered(series(3, shape=(20, 20)), 30),
        *numbered(series(3, pixel_spacing_mm=(1.0, 1.0)), 40),
    ]
    random.Random(3).shuffle(slices)
    volumes = assemble(slices)
    assert [(v.plane, len(v.indices)) for v in volumes][:2] == [("axial", 5), ("coronal", 4)]
    assert sorted(v.plane for v in volumes) == ["axial", "axial", "axial", "coronal", "sagittal"]
    assert all({"mixed orientations", "mixed shapes", "mixed pixel spacings"} == set(kinds(v)) for v in volumes)
    assert {f.kind: f.count for f in volumes[0].findings} == {
        "mixed orientations": 3, "mixed shapes": 2, "mixed pixel spacings": 2,
    }  # fmt: skip


@given(st.integers(2, 4), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_echoes_become_volumes_of_their_own(echoes, keyed, slice_major, chance):
    base = series(6)
    slices = []
    for e in range(echoes):
        for i, item in enumerate(base):
            number = i * echoes + e if slice_major else e * len(base) + i
            told = {"key": (float(e),)} if keyed else {"number": number}
            # Slices beside the body are empty in every echo: equal pixels do not make them duplicates.
            digest = "empty" if i == 0 else f"{e}.{i}"
            slices.append(replace(item, index=e * 100 + i, pixels_digest=digest, **told))
    volumes = assemble(chance.sample(slices, len(slices)))
    assert [v.indices for v in volumes] == [tuple(e * 100 + i for i in range(6)) for e in range(echoes)]
    assert all(kinds(v) == ["repeated positions"] and v.findings[0].count == echoes for v in volumes)
    assert all(v.regular for v in volumes)


def test_a_missing_slice_of_one_echo_is_found_in_that_echo():
    slices = [replace(s, index=100 * e + s.index, key=(e,), pixels_digest="") for e in (1, 2) for s in series(6)]
    first, second = assemble([s for s in slices if s.index != 203])
    assert kinds(first) == ["repeated positions"]
    assert kinds(second) == ["repeated positions", "missing slices"]


def test_repetitions_that_nothing_tells_apart_have_no_affine():
    slices = series(5) + numbered(series(5), 50)
    volumes = assemble(slices)
    assert [len(v.indices) for v in volumes] == [5, 5]
    assert all("ambiguous repetitions" in kinds(v) and not v.regular for v in volumes)


@pytest.mark.parametrize(("repeated", "volumes"), [(2, 1), (3, 2)])
def test_more_than_half_of_the_positions_must_repeat_to_make_volumes(repeated, volumes):
    again = [replace(item, number=90 + item.index) for item in numbered(series(5)[:repeated], 50)]
    found = assemble([*series(5), *again])
    assert [len(v.indices) for v in found] == [5, repeated][:volumes]
    assert "duplicate slices" in kinds(found[0]) if volumes == 1 else "ambiguous repetitions" in kinds(found[0])


def test_a_series_stored_twice_is_duplicates_and_not_two_volumes():
    copies = [replace(item, index=50 + item.index) for item in series(5)]
    (volume,) = assemble(series(5) + copies)
    assert kinds(volume) == ["duplicate slices"]
    assert dict(volume.findings[0].detail) == {"equal": 5}


def test_acquisitions_that_go_on_where_another_ended_are_one_volume():
    slices = [replace(item, key=(float(item.index >= 4),)) for item in series(9)]
    border = replace(slices[4], index=77, key=(0.0,), pixels_digest="other")
    (volume,) = assemble([*slices, border])
    assert kinds(volume) == ["duplicate slices"]
    assert len(volume.indices) == 9


def test_stacks_side_by_side_in_one_plane_are_two_volumes():
    right = [moved(item, (180, 0, 0)) for item in numbered(series(6), 10)]
    random.Random(1).shuffle(right)
    volumes = assemble(right + series(6))
    assert [v.indices for v in volumes] == [tuple(range(6)), tuple(range(10, 16))]
    assert all(kinds(v) == ["repeated positions"] for v in volumes)


def test_frames_at_one_place_are_no_volume_but_kept_in_order_of_time():
    frames = [replace(series(1)[0], index=i, number=9 - i, pixels_digest=f"{i}") for i in range(10)]
    (volume,) = assemble(frames)
    assert volume.indices == tuple(range(9, -1, -1))
    assert kinds(volume) == ["repeated positions", "not a volume"]


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_slices_are_no_volume(count):
    (volume,) = assemble(series(count))
    assert kinds(volume) == ["not a volume"]
    with pytest.raises(InputError, match="not a volume"):
        affine_lps(volume)


@pytest.mark.parametrize(
    "place",
    [
        None,
        Place((0, 0, float("nan")), AXIAL),
        Place((0, 0, 0), (0, 0, 0, 0, 0, 0)),
        Place((0, 0, 0), (1, 0, 0, 1, 0, 0)),
        Place((0, 0, 0), (2, 0, 0, 0, 1, 0)),
    ],
)
def test_slices_without_a_usable_place_are_kept_apart(place):
    lost = replace(series(1)[0], index=50, place=place)
    volumes = assemble([lost, *series(4)])
    assert [v.indices for v in volumes] == [(0, 1, 2, 3), (50,)]
    assert (volumes[1].plane, kinds(volumes[1])) == ("unknown", ["no place"])


@given(st.lists(st.sampled_from(range(40)), max_size=60), st.randoms(use_true_random=False))
def test_no_slice_is_lost_or_used_twice(chosen, chance):
    pool = [
        *series(10),
        *numbered(series(10, orientation=CORONAL), 10),
        *[replace(s, index=20 + i, key=(1.0,)) for i, s in enumerate(series(10))],
        *[replace(s, index=30 + i, series_id="t") for i, s in enumerate(series(10))],
    ]
    slices = [replace(pool[i], index=n) for n, i in enumerate(chosen)]
    volumes = assemble(slices)
    assert sorted(i for v in volumes for i in (*v.indices, *v.set_aside)) == list(range(len(slices)))
    assert all(set(kinds(v)) <= set(FINDINGS) for v in volumes)
    assert json.loads(json.dumps(volume_report(volumes)))["slices"] + volume_report(volumes)["set_aside"] == len(slices)
    # Another order of the same files: the same volumes, whatever number each file has.
    order = chance.sample(range(len(slices)), len(slices))
    again = assemble([replace(slices[old], index=new) for new, old in enumerate(order)])
    assert [(v.series_id, v.plane, len(v.indices), v.findings) for v in again] == [
        (v.series_id, v.plane, len(v.indices), v.findings) for v in volumes
    ]


@pytest.mark.parametrize(
    ("orientation", "name"),
    [
        (AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal"), (turned(0, 0, 50), "axial"),
        (turned(30, 0, 0), "axial"), (turned(45, 0, 0), "oblique"), (turned(36, 0, 0), "axial"),
        (turned(38, 0, 0), "oblique"), ((-1, 0, 0, 0, -1, 0), "axial"),
    ],
)  # fmt: skip
def test_planes_go_by_the_normal(orientation, name):
    assert plane_name(orientation) == name


def test_pick():
    (volume,) = assemble(list(reversed(series(10))))
    assert pick(volume, "all") == tuple(range(10))
    assert pick(volume, "middle") == (5,)
    assert pick(volume, "every:4") == (1, 5, 9)
    for rule in ("every:0", "every:-1", "some", "", "every:2 "):
        with pytest.raises(ConfigError, match="every:N"):
            pick(volume, rule)


def test_affine_of_a_hand_computed_case():
    # Coronal: rows run to the left, columns to the feet, so slices run to the back.
    (volume,) = assemble(series(4, 2.0, CORONAL, origin=(-10, 5, 70)))
    assert volume.axes == "LFP"
    expected = [[0, 0, 0.5, -10], [2, 0, 0, 5], [0, -0.7, 0, 70], [0, 0, 0, 1]]
    np.testing.assert_allclose(affine_lps(volume), expected, atol=1e-12)
    # Axial, tilted: the next slice lies 3 mm toward the head and 1 mm toward the back.
    (volume,) = assemble(series(4, 3.0, lean=(0, 1 / 3), origin=(1, 2, 3)))
    expected = [[0, 0, 0.5, 1], [1, 0.7, 0, 2], [3, 0, 0, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(affine_lps(volume), expected, atol=1e-12)


def test_without_spacing_there_is_no_affine():
    (volume,) = assemble(list(reversed(series(5))))
    assert list(volume.indices) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="no pixel spacing"):
        affine_lps(replace(volume, pixel_spacing_mm=None))


def write_dicom(path, item, pixels, uid):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = pydicom.Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID, ds.Modality = uid, "CT"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelSpacing = list(item.pixel_spacing_mm)
    ds.ImagePositionPatient = [f"{value:.9g}" for value in item.place.position_mm]
    ds.ImageOrientationPatient = [f"{value:.9g}" for value in item.place.orientation]
    ds.PixelData = pixels.astype("<i2").tobytes()
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("orientation", "lean"),
    [
        (AXIAL, (0, 0)), (CORONAL, (0, 0)), (SAGITTAL, (0, 0)), (turned(20, -35, 15), (0, 0)),
        (AXIAL, (0, 0.35)), (turned(10, 25, -40), (0.2, -0.1)), ((-1, 0, 0, 0, 1, 0), (0, 0)),
    ],
)  # fmt: skip
def test_volumes_equal_those_of_an_independent_reader(tmp_path, orientation, lean):
    import SimpleITK

    uid, slices = generate_uid(), series(7, 2.25, orientation, lean)
    names = random.Random(5).sample(range(7), 7)  # file order is not slice order
    pixels = [np.random.default_rng(i).integers(-1000, 1000, (16, 12)) for i in range(7)]
    for item in slices:
        write_dicom(tmp_path / f"{names[item.index]}.dcm", item, pixels[item.index], uid)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    reader.ForceOrthogonalDirectionOff()  # else its third axis is the normal, tilted or not
    theirs = reader.Execute()

    read = []
    for path in sorted(tmp_path.glob("*.dcm")):
        ds = pydicom.dcmread(path)
        place = Place(tuple(map(float, ds.ImagePositionPatient)), tuple(map(float, ds.ImageOrientationPatient)))
        spacing = (float(ds.PixelSpacing[0]), float(ds.PixelSpacing[1]))
        read.append((SliceRecord(len(read), "s", place, (16, 12), spacing), ds.pixel_array))
    (volume,) = assemble([item for item, _ in read])
    array, affine = np.stack([read[i][1] for i in volume.indices]), affine_lps(volume)

    np.testing.assert_array_equal(array, SimpleITK.GetArrayFromImage(theirs))
    corners = [(k, i, j) for k in (0, 3, 6) for i in (0, 15) for j in (0, 11)]
    for k, i, j in corners:
        there = theirs.TransformIndexToPhysicalPoint((j, i, k))
        np.testing.assert_allclose((affine @ (k, i, j, 1))[:3], there, atol=1e-5)
