"""What a DICOM header says of an image among those of its series: what tells them apart, and what values below 0 are.

Both are settled by the header alone, so that all images of a series, and all that one kind of scanner makes, are
treated alike; see docs/decisions/0020-signed-values.md.
"""

import math

import pydicom
from pydicom.tag import BaseTag

from synthcohort.formats.dicom_header import FrameHeader, first_item, get, text

MAGNITUDE, PHASE, REAL, IMAGINARY = range(4)  # as GE counts them
COMPONENTS = {  # words of Image Type and Complex Image Component. Source: DICOM PS3.3 C.8.13.3.1.1; Siemens, Philips
    "M": MAGNITUDE, "MAGNITUDE": MAGNITUDE, "P": PHASE, "PHASE": PHASE, "PHASE MAP": PHASE, "R": REAL, "REAL": REAL,
    "I": IMAGINARY, "IMAGINARY": IMAGINARY,
}  # fmt: skip
INTENSITIES = {  # modalities whose images hold intensities; of any other (OT, SC, RTDOSE, none) nothing is known
    "BI", "CR", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "MG", "MR", "NM", "OCT", "OP", "OPT", "PT", "PX", "RF", "SM",
    "TG", "US", "XA", "XC",
}  # fmt: skip
SIGNED_KINDS = {  # words of Image Type, without spaces, lines and points
    "B0MAP", "DIFFERENCE", "FIELDMAP", "PHASEMAP", "SUB", "SUBTRACT", "SUBTRACTED", "SUBTRACTION", "TMAP", "VELOCITY",
    "VELOCITYMAP", "ZSCORE",
}  # fmt: skip
SIGNED_UNITS = {  # Rescale Type, and UCUM codes of real-world values, in capitals
    "HU", "[HNSF'U]", "DEG", "DEGREE", "DEGREES", "RAD", "RADIAN", "RADIANS", "MRAD", "PHASE", "HZ", "RAD/S", "PPM",
    "[PPM]", "PPB", "[PPB]", "CM/S", "MM/S", "M/S",
}  # fmt: skip
_GE, _SIEMENS, _PHILIPS = "GEMS_PARM_01", "SIEMENS MR HEADER", "Philips Imaging DD 001"
_B_VALUES = ((0x0019, _SIEMENS, 0x0C), (0x0043, _GE, 0x39), (0x2001, _PHILIPS, 0x03))
_FRAME_TYPES = (
    "MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "XAXRFFrameCharacteristicsSequence",
)  # fmt: skip


def stack(header: FrameHeader) -> tuple[float, ...]:
    """Acquisition number, echo time in ms, b-value, temporal position, complex component; -1 where it does not say.

    The b-value is the maker's own number where there is no standard one: it tells images apart and nothing else.
    """
    content = "FrameContentSequence"
    b_value = _number(header, "DiffusionBValue", "MRDiffusionSequence")
    if b_value is None and text(header.ds, "Modality") == "MR":
        b_value = next((found for where in _B_VALUES if (found := _private(header.ds, *where)) is not None), None)
    numbers = (
        _either(_number(header, "FrameAcquisitionNumber", content), _number(header, "AcquisitionNumber")),
        _either(_number(header, "EffectiveEchoTime", "MREchoSequence"), _number(header, "EchoTime")),
        b_value,
        _either(_number(header, "TemporalPositionIndex", content), _number(header, "TemporalPositionIdentifier")),
        component(header),
    )
    return tuple(-1.0 if number is None else float(number) for number in numbers)


def instance_number(header: FrameHeader) -> int | None:
    """Its number in the series, as far as it is a whole number of 32 bits."""
    number = _number(header, "InstanceNumber")
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**31 else None


def component(header: FrameHeader) -> int | None:
    """MAGNITUDE, PHASE, REAL or IMAGINARY, for MR; None where it does not say."""
    if text(header.ds, "Modality") != "MR":
        return None
    said = header.text("ComplexImageComponent", "MRImageFrameTypeSequence")
    for word in (said.upper() if said else "", *_kind(header)):
        if word in COMPONENTS:
            return COMPONENTS[word]
    number = _private(header.ds, 0x0043, _GE, 0x2F)
    return int(number) if number in (MAGNITUDE, PHASE, REAL, IMAGINARY) else None


def signed(header: FrameHeader, modality: str | None) -> bool:
    """Whether values below 0 mean something. They do not in intensities, where filters and interpolation leave them."""
    if modality not in INTENSITIES:
        return True
    if component(header) in (PHASE, REAL, IMAGINARY):
        return True
    if any(word.translate(_JOINED) in SIGNED_KINDS for word in _kind(header)):
        return True
    units = [header.text("RescaleType", "PixelValueTransformationSequence")]
    for item in header.items():
        mapped = first_item(item, "RealWorldValueMappingSequence")
        code = mapped and first_item(mapped, "MeasurementUnitsCodeSequence")
        units.append(text(code, "CodeValue") if code else None)
    return any(unit.upper() in SIGNED_UNITS for unit in units if unit)


_JOINED = str.maketrans("", "", " _-.")


def _kind(header: FrameHeader) -> list[str]:
    """Words of Frame Type and Image Type, in capitals, without the first two, which are the same for all modalities."""
    found = []
    for item in header.items(*_FRAME_TYPES):
        for keyword in ("FrameType", "ImageType"):
            try:
                value = get(item, keyword)
            except Exception:  # a damaged element says nothing
                continue
            if isinstance(value, pydicom.multival.MultiValue):
                found += [str(word).strip().upper() for word in value[2:]]
    return found


def _number(header: FrameHeader, keyword: str, *sequences: str) -> float | None:
    found = header.numbers(keyword, 1, *sequences)
    return found[0] if found else None


def _either(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _private(ds: pydicom.Dataset, group: int, creator: str, element: int) -> float | None:
    """The first value of a maker's own element, as a number."""
    for block in range(0x10, 0x20):
        owner = BaseTag(group << 16 | block)
        if owner not in ds:
            continue
        try:
            if str(ds[owner].value).strip() != creator:
                continue
            value = ds[BaseTag(group << 16 | block << 8 | element)].value
            if isinstance(value, bytes):  # of unknown representation: text in files of these makers
                value = value.decode("ascii").strip(" \0").split("\\")
            number = float(value if isinstance(value, (int, float, str)) else value[0])
        except Exception:  # see FrameHeader.numbers
            return None
        return number if math.isfinite(number) else None
    return None
