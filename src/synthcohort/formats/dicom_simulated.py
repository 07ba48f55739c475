"""Acquisition values that no scanner set, written only on request, and said to be simulated in the file itself.

Software that reads images for training often wants a tube voltage or an echo time. Whoever asks for one gets it where
the object class has such an attribute, and Image Comments and Contributing Equipment name it as simulated.
"""

from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, CTImageStorage, MRImageStorage

XRAY = ("KVP", "ExposureTime", "XRayTubeCurrent")
HOLDS: dict[UID, tuple[str, ...]] = {
    ComputedRadiographyImageStorage: XRAY,
    CTImageStorage: (*XRAY, "SliceThickness"),
    MRImageStorage: ("RepetitionTime", "EchoTime", "FlipAngle", "MagneticFieldStrength", "SliceThickness"),
}
WHOLE = ("ExposureTime", "XRayTubeCurrent")  # Integer Strings. Source: DICOM PS3.6


def apply(dataset: Dataset, simulated: Mapping[str, float]) -> None:
    """Writes the values that the data set's class holds, and says in it that they are simulated."""
    said = []
    for keyword in HOLDS.get(UID(dataset.SOPClassUID), ()):
        if keyword in simulated:
            value = simulated[keyword]
            setattr(dataset, keyword, round(value) if keyword in WHOLE else decimal(value))
            said.append(keyword)
    if not said:
        return
    note = f"SIMULATED, set by no scanner: {', '.join(said)}."
    dataset.ImageComments = f"{dataset.ImageComments} {note}"[:10240]
    item = dataset.ContributingEquipmentSequence[0]
    item.ContributionDescription = f"{item.ContributionDescription} {note}"[:1024]


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters. Source: DICOM PS3.5 6.2, VR DS."""
    text = f"{float(value):.10g}"
    return text if len(text) <= 16 else f"{float(value):.6g}"
