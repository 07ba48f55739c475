"""Objects of many frames: each frame with its own facts, taken one at a time, and none lost from the count."""

import io
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from synthcohort.formats import dicom
from synthcohort.formats.dicom_frames import MORE
from synthcohort.formats.image import Image, ReadOptions, Refusal
from tests.formats.conftest import refusal

PIXELS = np.random.default_rng(0).integers(0, 4096, (6, 40, 33)).astype(np.uint16)


def codestreams(data):
    ds = pydicom.dcmread(io.BytesIO(data))
    return list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))


@pytest.mark.parametrize(
    ("syntax", "plugin"),
    [(None, ""), (RLELossless, "pydicom"), (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg")],
)
def test_each_frame_is_an_image_with_a_name_of_its_own(make_dicom, syntax, plugin):
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, compress=syntax, plugin=plugin, Modality="US")
    images = list(dicom.read(data))
    assert [image.part for image in images] == [f"frame {i}" for i in range(1, 7)]
    assert [image.frame for image in images] == list(range(6))
    np.testing.assert_array_equal([image.pixels for image in images], PIXELS)
    assert {image.facts["modality"] for image in images} == {"US"}
    assert all(image.header.NumberOfFrames == 1 for image in images)


@pytest.mark.parametrize(
    ("slices", "frames"), [("all", [0, 1, 2, 3, 4, 5]), ("middle", [3]), ("every:2", [1, 3, 5]), ("every:4", [3])]
)
def test_a_loop_is_thinned_out_as_asked(make_dicom, slices, frames):
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12)
    images = list(dicom.read(data, ReadOptions(slices=slices)))
    assert [image.frame for image in images] == frames
    np.testing.assert_array_equal([image.pixels for image in images], PIXELS[frames])


def enhanced(make_dicom, dicom_item, heights, **more):
    """An enhanced CT whose frames lie at these heights, each with a rescale, window and side of its own."""
    shared = dicom_item(
        PixelMeasuresSequence=[dicom_item(PixelSpacing=["0.5", "0.6"], SliceThickness="2.5")],
        PlaneOrientationSequence=[dicom_item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])],
        FrameAnatomySequence=[
            dicom_item(FrameLaterality="L", AnatomicRegionSequence=[dicom_item(CodeMeaning="Breast")])
        ],
    )
    own = []
    for i, height in enumerate(heights):
        own.append(
            dicom_item(
                PlanePositionSequence=[dicom_item(ImagePositionPatient=["-10", "5.5", str(height)])],
                PixelValueTransformationSequence=[
                    dicom_item(RescaleIntercept=str(-1000 - i), RescaleSlope="1", RescaleType="HU")
                ],
                FrameVOILUTSequence=[dicom_item(WindowCenter=str(40 + i), WindowWidth="400")],
            )
        )
    own[1].FrameAnatomySequence = [dicom_item(FrameLaterality="R")]
    return make_dicom(
        PIXELS[: len(heights)], BitsStored=12, NumberOfFrames=len(heights), Modality="CT", Laterality="U",
        SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=own, **more,
    )  # fmt: skip


def test_functional_groups_say_what_holds_for_each_frame(make_dicom, dicom_item):
    data = enhanced(make_dicom, dicom_item, [30, 20, 10])
    images = list(dicom.read(data))
    for i, image in enumerate(images):
        np.testing.assert_array_equal(image.pixels, PIXELS[i].astype(int) - 1000 - i)
        assert image.pixels.dtype == np.int16
        assert image.window == (40.0 + i, 400.0)
        assert image.pixel_spacing_mm == (0.5, 0.6)
        assert image.place.position_mm == (-10.0, 5.5, (30.0, 20.0, 10.0)[i])
        assert image.place.orientation == (1, 0, 0, 0, 1, 0)
        assert image.place.thickness_mm == 2.5
        (group,) = image.header.PerFrameFunctionalGroupsSequence
        assert group.FrameVOILUTSequence[0].WindowCenter == 40 + i
    assert [image.facts["laterality"] for image in images] == ["L", "R", "L"]
    assert images[0].facts["body_part"] == "Breast"


def test_the_middle_of_a_volume_is_by_height_not_by_place_in_the_file(make_dicom, dicom_item):
    data = enhanced(make_dicom, dicom_item, [50, 10, 40, 30, 20])
    assert [image.frame for image in dicom.read(data, ReadOptions(slices="middle"))] == [3]
    # By height the frames are 1, 4, 3, 2, 0; every second one, with the middle one, is 1, 3 and 0.
    assert [image.frame for image in dicom.read(data, ReadOptions(slices="every:2"))] == [0, 1, 3]


def test_frames_come_one_at_a_time_and_are_not_kept(make_dicom):
    pixels = np.random.default_rng(0).integers(0, 255, (200, 128, 128)).astype(np.uint8)
    data = make_dicom(pixels, NumberOfFrames=200, compress=JPEGLSLossless, plugin="pyjpegls")
    frames = dicom.read(data)
    next(frames)
    tracemalloc.start()
    assert sum(int(image.pixels.sum()) for image in frames) == int(pixels[1:].sum())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 128 * 128


def test_an_uncompressed_frame_is_a_view_and_no_copy(make_dicom):
    (image,) = dicom.read(make_dicom(PIXELS[0], BitsStored=12))
    assert image.pixels.base is not None
    assert not image.pixels.flags.owndata


def test_one_damaged_frame_is_refused_and_the_others_are_taken(make_dicom):
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, compress=JPEGLSLossless, plugin="pyjpegls")
    streams = codestreams(data)
    streams[2] = b"\xff\xd8" + bytes(len(streams[2]) - 2)
    broken = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, encapsulated=streams, syntax=JPEGLSLossless)
    items = list(dicom.read(broken))
    assert items[2] == Refusal("frame 3", "damaged: its compressed frame is cut off or garbled")
    assert [isinstance(item, Image) for item in items] == [True, True, False, True, True, True]
    np.testing.assert_array_equal(items[5].pixels, PIXELS[5])


@pytest.mark.parametrize("table", ["basic", "none", "extended", "wrong"])
def test_frames_in_several_fragments_are_put_together(make_dicom, table):
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, compress=JPEGLSLossless, plugin="pyjpegls")
    streams, more = codestreams(data), {}
    value = encapsulate(streams, fragments_per_frame=3, has_bot=table == "basic")
    if table == "extended":
        _, offsets, lengths = encapsulate_extended(streams)
        value = encapsulate(streams, fragments_per_frame=1, has_bot=False)
        more = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    if table == "wrong":
        value = encapsulate(streams, fragments_per_frame=3, has_bot=True)
        value = value[:8] + bytes(range(24)) + value[32:]
    broken = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, encapsulated=value, syntax=JPEGLSLossless, **more)
    np.testing.assert_array_equal([image.pixels for image in dicom.read(broken)], PIXELS)


def test_fewer_and_more_frames_than_the_header_says(make_dicom):
    compressed = {"encapsulated": None, "syntax": JPEGLSLossless, "BitsStored": 12}
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, compress=JPEGLSLossless, plugin="pyjpegls")
    compressed["encapsulated"] = codestreams(data)
    more = list(dicom.read(make_dicom(PIXELS, NumberOfFrames=4, **compressed)))
    np.testing.assert_array_equal([image.pixels for image in more], PIXELS[:4])
    assert more[0].notes == (MORE,)
    fewer = make_dicom(PIXELS, NumberOfFrames=7, **compressed)
    assert refusal(fewer) == "damaged: its compressed pixel data hold fewer frames than its header says"
    native = list(dicom.read(make_dicom(PIXELS, NumberOfFrames=4, BitsStored=12)))
    assert (len(native), native[0].notes) == (4, (MORE,))
    assert "shorter than its header says" in refusal(make_dicom(PIXELS, NumberOfFrames=7, BitsStored=12))


def test_encapsulated_data_that_are_cut_off_are_refused_as_a_whole(make_dicom):
    data = make_dicom(PIXELS, NumberOfFrames=6, BitsStored=12, compress=JPEGLSLossless, plugin="pyjpegls")
    start = data.index(b"\xe0\x7f\x10\0")
    for end in (start + 12, start + 60, len(data) - 3000, len(data) - 8, len(data) - 4):
        assert "damaged" in refusal(data[:end])


def test_compressed_data_under_an_uncompressed_syntax_and_the_other_way_round(make_dicom):
    rle, plain = b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"
    native = make_dicom(PIXELS[0], BitsStored=12)
    assert "are uncompressed, its transfer syntax is RLE Lossless" in refusal(native.replace(plain, rle, 1))
    compressed = make_dicom(PIXELS[0], BitsStored=12, compress=RLELossless, plugin="pydicom")
    assert "are compressed, its transfer syntax is Explicit" in refusal(compressed.replace(rle, plain, 1))
