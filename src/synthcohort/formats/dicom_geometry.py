"""How large the pixels of a DICOM frame are, where they lie in the patient, and how they are shown."""

from collections.abc import Sequence

import numpy as np

from synthcohort.formats.dicom_header import FrameHeader, first_item, get, text
from synthcohort.formats.dicom_pixels import Meaning, Values
from synthcohort.formats.image import Place

SAME = 1e-4  # share by which two spacings may differ and count as equal
MAGNIFICATIONS = (0.5, 20.0)  # believed
NOT_SQUARE = "its pixels are not square"
AT_DETECTOR = "pixel spacing is the detector's, not the patient's"
MAGNIFIED = "pixel spacing is the detector's, divided by the magnification"
ON_FILM = "pixel spacing is that of a scanned film or paper"
SEVERAL_SCALES = "ultrasound regions of several scales: no pixel spacing"
SIGMOID = "a sigmoid window was replaced by the linear one of the same slope"
VOI_TABLE = "a lookup table for display was left out"
NO_WINDOW = "a window that does not fit its pixels was left out"
_MEASURES = "PixelMeasuresSequence"
_CM, _PLANE = 3, 1  # units of an ultrasound region; spatial format of a two-dimensional one
Spacing = tuple[float, float] | None
Notes = tuple[str, ...]


def spacing(header: FrameHeader) -> tuple[Spacing, Notes]:
    """Between rows and between columns, in millimetres, and what to note.

    What was calibrated comes before what the detector has. Source: DICOM PS3.3 10.7.1 and C.8.5.5.
    """
    found, notes = _spacing(header)
    edges = found or header.numbers("PixelAspectRatio", 2)
    uneven = edges is not None and min(edges) > 0 and abs(edges[0] / edges[1] - 1) > SAME
    return found, (*notes, NOT_SQUARE) if uneven else notes


def _spacing(header: FrameHeader) -> tuple[Spacing, Notes]:
    given = _pair(header, "PixelSpacing", _MEASURES)
    detector = _pair(header, "ImagerPixelSpacing", "FramePixelDataPropertiesSequence")
    calibrated = text(header.ds, "PixelSpacingCalibrationType") is not None
    if given and (calibrated or detector is None or not _equal(given, detector)):
        return given, ()
    if detector:
        magnification = header.numbers("EstimatedRadiographicMagnificationFactor", 1)
        if magnification and MAGNIFICATIONS[0] <= magnification[0] <= MAGNIFICATIONS[1]:
            return (detector[0] / magnification[0], detector[1] / magnification[0]), (MAGNIFIED,)
        return detector, (AT_DETECTOR,)
    regions = _ultrasound(header)
    if regions is not None:
        return regions
    film = _pair(header, "NominalScannedPixelSpacing")
    return (film, (ON_FILM,)) if film else (None, ())


def _pair(header: FrameHeader, keyword: str, *sequences: str) -> Spacing:
    found = header.numbers(keyword, 2, *sequences)
    return (found[0], found[1]) if found and min(found) > 0 else None


def _equal(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) <= SAME * b for a, b in zip(one, other, strict=True))


def _ultrasound(header: FrameHeader) -> tuple[Spacing, Notes] | None:
    """The scale of the two-dimensional regions, when they share one; None when there is no such region."""
    try:
        regions = list(get(header.ds, "SequenceOfUltrasoundRegions") or ())
        scales = []
        for region in regions:
            units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
            if region.get("RegionSpatialFormat") != _PLANE or units != (_CM, _CM):
                continue
            row, column = abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10
            if 0 < row < np.inf and 0 < column < np.inf:
                scales.append((row, column))
    except Exception:  # a damaged region says nothing; it does not take the image with it
        return None
    if not scales:
        return None
    return (scales[0], ()) if all(_equal(scale, scales[0]) for scale in scales) else (None, (SEVERAL_SCALES,))


def place(header: FrameHeader) -> Place | None:
    """Where the frame lies in the patient. Source: DICOM PS3.3 C.7.6.2.1.1, C.7.6.16.2.3 and C.7.6.16.2.4."""
    position = header.numbers("ImagePositionPatient", 3, "PlanePositionSequence")
    along = header.numbers("ImageOrientationPatient", 6, "PlaneOrientationSequence")
    if position is None or along is None:
        return None
    thickness = header.numbers("SliceThickness", 1, _MEASURES)
    a, b, c, d, e, f = along
    x, y, z = position
    return Place((x, y, z), (a, b, c, d, e, f), thickness[0] if thickness and thickness[0] > 0 else None)


def in_order(places: Sequence[Place | None]) -> list[int]:
    """Frames from the lowest slice to the highest, as far as all lie in one orientation; else in the file's order."""
    known = [p for p in places if p is not None]
    if len(known) < len(places) or len({p.orientation for p in known}) != 1:
        return list(range(len(places)))
    row, column = np.array(known[0].orientation).reshape(2, 3)
    heights = np.array([p.position_mm for p in known]) @ np.cross(row, column)
    return [int(i) for i in np.argsort(np.round(heights, 3), kind="stable")]


def window(header: FrameHeader, values: Values, meaning: Meaning) -> tuple[tuple[float, float] | None, Notes]:
    """The first window in units of the pixels, as the linear one that shows the same. Source: DICOM PS3.3 C.11.2.

    LINEAR spans width - 1 around center - 0.5, LINEAR_EXACT spans width around center, and SIGMOID has its slope.
    """
    group = "FrameVOILUTSequence"
    try:
        center, width = (float(header.text(name, group) or "nan") for name in ("WindowCenter", "WindowWidth"))
    except ValueError:
        center = width = np.nan
    function = (header.text("VOILUTFunction", group) or "LINEAR").upper()
    notes: Notes = ()
    if function in ("LINEAR_EXACT", "SIGMOID"):
        notes = (SIGMOID,) if function == "SIGMOID" and width > 0 else ()
        center, width = center + 0.5, width + 1 if width > 0 else np.nan
    if not (np.isfinite(center) and np.isfinite(width) and width >= 1):
        return None, (VOI_TABLE,) if first_item(header.ds, "VOILUTSequence") is not None else ()
    if values.to_pixel is None:
        return None, (NO_WINDOW,)
    factor, offset = values.to_pixel
    middle = (center - 0.5) * factor + offset + 0.5
    return (float(middle), float((width - 1) * abs(factor) + 1)), notes


def meaning(header: FrameHeader, whole: Meaning) -> Meaning:
    """What a frame's numbers stand for, where its groups say more than the object's header."""
    group = "PixelValueTransformationSequence"
    slope, intercept = header.get("RescaleSlope", group), header.get("RescaleIntercept", group)
    return Meaning(
        whole.ct, whole.padding, 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept),
        whole.table, whole.palette,
    )  # fmt: skip
