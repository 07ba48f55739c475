import io

import numpy as np
import pydicom
import pytest

from synthcohort.formats import dicom
from synthcohort.formats.image import ReadOptions

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4) - 3


def with_private(data, group, creator, element, vr, value):
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.private_block(group, creator, create=True).add_new(element, vr, value)
    file = io.BytesIO()
    ds.save_as(file)
    return file.getvalue()


def one(data, **options):
    (image,) = dicom.read(data, ReadOptions(**options))
    return image


@pytest.mark.parametrize(
    ("signed", "elements"),
    [
        (False, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}),
        (False, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}),
        (False, {"Modality": "MR"}),
        (False, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], "RescaleType": "US"}),
        (False, {"Modality": "PT", "ImageType": ["ORIGINAL", "PRIMARY"], "RescaleType": "BQML"}),
        (False, {"Modality": "NM", "ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]}),
        (True, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
        (True, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}),
        (True, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"]}),
        (True, {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "I"]}),
        (True, {"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "OTHER", "SUBTRACTION"]}),
        (True, {"Modality": "MR", "ImageType": ["DERIVED", "PRIMARY", "VELOCITY_MAP"]}),
        (True, {"Modality": "MR", "ComplexImageComponent": "PHASE"}),
        (True, {"Modality": "MR", "RescaleType": "cm/s"}),
        (True, {"Modality": "OT"}),
        (True, {}),
        (True, {"Modality": "CT"}),
    ],
)
def test_the_header_says_whether_values_below_zero_mean_something(make_dicom, signed, elements):
    assert one(make_dicom(PIXELS, **elements)).signed == signed


def test_units_of_real_world_values_say_it_too(make_dicom, dicom_item):
    for unit, signed in (("rad", True), ("mm2/s", False)):
        code = dicom_item(CodeValue=unit, CodingSchemeDesignator="UCUM")
        mapped = dicom_item(MeasurementUnitsCodeSequence=[code])
        data = make_dicom(PIXELS, Modality="MR", RealWorldValueMappingSequence=[mapped])
        assert one(data).signed == signed


def test_the_settings_say_the_modality_where_the_header_does_not(make_dicom):
    unsaid = make_dicom(PIXELS, PixelPaddingValue=-3)
    assert not one(unsaid, modality="MR").signed
    assert one(unsaid, modality="CT").pixels.min() == -1024  # padding is air
    assert not one(make_dicom(PIXELS, Modality="MR"), modality="CT").signed


def test_what_tells_images_of_a_series_apart(make_dicom):
    said = {"Modality": "MR", "AcquisitionNumber": "3", "EchoTime": "4.92", "DiffusionBValue": 800.0}
    image = one(make_dicom(PIXELS, **said, TemporalPositionIdentifier="2", InstanceNumber="17"))
    assert image.stack == (3, 4.92, 800, 2, -1)
    assert image.number == 17
    nothing = one(make_dicom(PIXELS))
    assert (nothing.stack, nothing.number) == ((-1,) * 5, None)
    assert one(make_dicom(PIXELS, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "R"])).stack[-1] == 2


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "IS", "1000"), (2, 1000)),
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "UN", b"1000"), (2, 1000)),
        ((0x0043, "GEMS_PARM_01", 0x39, "IS", ["700", "8", "0", "0"]), (2, 700)),
        ((0x0043, "GEMS_PARM_01", 0x2F, "SS", 1), (4, 1)),
        ((0x2001, "Philips Imaging DD 001", 0x03, "FL", 50.0), (2, 50)),
        ((0x0019, "SOMEBODY ELSE", 0x0C, "IS", "1000"), (2, -1)),
        ((0x0019, "SIEMENS MR HEADER", 0x0C, "UN", b"\xff\xfe"), (2, -1)),
    ],
)
def test_makers_say_b_values_and_phases_in_elements_of_their_own(make_dicom, block, expected):
    image = one(with_private(make_dicom(PIXELS, Modality="MR"), *block))
    at, value = expected
    assert image.stack[at] == value
    assert image.signed == (at == 4)


def test_frames_of_an_enhanced_object_have_their_own(make_dicom, dicom_item):
    groups = [
        dicom_item(
            MREchoSequence=[dicom_item(EffectiveEchoTime=float(echo))],
            MRDiffusionSequence=[dicom_item(DiffusionBValue=float(b))],
            FrameContentSequence=[dicom_item(FrameAcquisitionNumber=1, TemporalPositionIndex=time)],
            MRImageFrameTypeSequence=[dicom_item(ComplexImageComponent=component)],
        )
        for echo, b, time, component in ((5, 0, 1, "MAGNITUDE"), (10, 500, 2, "PHASE"))
    ]
    data = make_dicom(
        np.stack([PIXELS, PIXELS]), NumberOfFrames=2, Modality="MR", PerFrameFunctionalGroupsSequence=groups
    )
    first, second = dicom.read(data)
    assert (first.stack, second.stack) == ((1, 5, 0, 1, 0), (1, 10, 500, 2, 1))
    assert (first.signed, second.signed) == (False, True)
