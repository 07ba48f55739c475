"""Spacing, place and window, each as the standard means them."""

import numpy as np
import pytest

from synthcohort.formats import dicom_geometry as geometry
from tests.formats.conftest import one

PIXELS = np.arange(63, dtype=np.uint16).reshape(9, 7)


@pytest.mark.parametrize(
    ("elements", "spacing", "notes"),
    [
        ({}, None, ()),
        ({"PixelSpacing": ["0.18", "0.18"]}, (0.18, 0.18), ()),
        ({"PixelSpacing": ["0", "0.2"]}, None, ()),
        ({"PixelSpacing": ["0.4", "0.2"]}, (0.4, 0.2), (geometry.NOT_SQUARE,)),
        # Calibrated, because it differs from the detector's, or because it says so.
        ({"PixelSpacing": ["0.18", "0.18"], "ImagerPixelSpacing": ["0.2", "0.2"]}, (0.18, 0.18), ()),
        ({"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.2", "0.2"],
          "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.2), ()),
        # Not calibrated: the detector's own, or at the object when the magnification is known.
        ({"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.2", "0.2"]}, (0.2, 0.2), (geometry.AT_DETECTOR,)),
        ({"ImagerPixelSpacing": ["0.2", "0.2"]}, (0.2, 0.2), (geometry.AT_DETECTOR,)),
        ({"ImagerPixelSpacing": ["0.3", "0.3"], "EstimatedRadiographicMagnificationFactor": "1.5"}, (0.2, 0.2),
         (geometry.MAGNIFIED,)),
        ({"ImagerPixelSpacing": ["0.3", "0.3"], "EstimatedRadiographicMagnificationFactor": "0"}, (0.3, 0.3),
         (geometry.AT_DETECTOR,)),
        ({"NominalScannedPixelSpacing": ["0.1", "0.1"]}, (0.1, 0.1), (geometry.ON_FILM,)),
        ({"PixelAspectRatio": ["4", "3"]}, None, (geometry.NOT_SQUARE,)),
        ({"PixelAspectRatio": ["1", "1"]}, None, ()),
    ],
)  # fmt: skip
def test_spacing(make_dicom, elements, spacing, notes):
    image = one(make_dicom(PIXELS, **elements))
    assert image.pixel_spacing_mm == pytest.approx(spacing) if spacing else image.pixel_spacing_mm is None
    assert image.notes == notes


def region(dicom_item, row_cm, column_cm, units=3, kind=1):
    return dicom_item(
        RegionSpatialFormat=kind, PhysicalUnitsXDirection=units, PhysicalUnitsYDirection=units,
        PhysicalDeltaX=column_cm, PhysicalDeltaY=row_cm,
    )  # fmt: skip


def test_ultrasound_regions_give_the_scale_when_they_agree(make_dicom, dicom_item):
    tissue, doppler = region(dicom_item, -0.02, 0.02), region(dicom_item, 0.3, 0.009, units=4, kind=3)
    image = one(make_dicom(PIXELS, Modality="US", SequenceOfUltrasoundRegions=[doppler, tissue, tissue]))
    assert image.pixel_spacing_mm == pytest.approx((0.2, 0.2))
    other = region(dicom_item, 0.05, 0.05)
    image = one(make_dicom(PIXELS, Modality="US", SequenceOfUltrasoundRegions=[tissue, other]))
    assert (image.pixel_spacing_mm, image.notes) == (None, (geometry.SEVERAL_SCALES,))
    image = one(make_dicom(PIXELS, Modality="US", SequenceOfUltrasoundRegions=[doppler]))
    assert (image.pixel_spacing_mm, image.notes) == (None, ())


def test_place(make_dicom):
    where = {"ImagePositionPatient": ["-10", "5.5", "30"], "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}
    image = one(make_dicom(PIXELS, SliceThickness="3", **where))
    assert image.place.position_mm == (-10.0, 5.5, 30.0)
    assert (image.place.orientation, image.place.thickness_mm) == ((1, 0, 0, 0, 1, 0), 3.0)
    for name, wrong in (("ImagePositionPatient", ["1", "2"]), ("ImageOrientationPatient", None)):
        elements = {key: value for key, value in (where | {name: wrong}).items() if value}
        assert one(make_dicom(PIXELS, **elements)).place is None
    damaged = make_dicom(PIXELS, **where).replace(b"-10\\5.5", b"-10\\?.5")
    assert one(damaged).place is None


@pytest.mark.parametrize(
    ("elements", "window", "notes"),
    [
        ({"WindowCenter": "40", "WindowWidth": "400"}, (40.0, 400.0), ()),
        ({"WindowCenter": ["40", "600"], "WindowWidth": ["400", "1600"]}, (40.0, 400.0), ()),
        ({"WindowCenter": "40", "WindowWidth": "0.5"}, None, ()),
        ({"WindowCenter": "40"}, None, ()),
        # LINEAR_EXACT from 20 to 60 is LINEAR around 40.5 with a width of 41.
        ({"WindowCenter": "40", "WindowWidth": "40", "VOILUTFunction": "LINEAR_EXACT"}, (40.5, 41.0), ()),
        ({"WindowCenter": "40", "WindowWidth": "40", "VOILUTFunction": "SIGMOID"}, (40.5, 41.0), (geometry.SIGMOID,)),
        ({"VOILUTSequence": 1}, None, (geometry.VOI_TABLE,)),
        ({"VOILUTSequence": 1, "WindowCenter": "40", "WindowWidth": "400"}, (40.0, 400.0), ()),
    ],
)
def test_window(make_dicom, dicom_item, elements, window, notes):
    if "VOILUTSequence" in elements:
        lut = dicom_item(LUTDescriptor=[1, 0, 16], LUTData=b"\1\0")
        lut["LUTData"].VR = "OW"
        elements = elements | {"VOILUTSequence": [lut]}
    image = one(make_dicom(PIXELS, **elements))
    assert (image.window, image.notes) == (window, notes)


def test_a_rescaled_image_keeps_its_window_in_modality_values(make_dicom):
    data = make_dicom(PIXELS, BitsStored=12, RescaleIntercept="-1024", RescaleSlope="1", WindowCenter="40",
                      WindowWidth="400")  # fmt: skip
    assert one(data).window == (40.0, 400.0)
