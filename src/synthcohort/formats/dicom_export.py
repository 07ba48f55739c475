"""Synthetic images as DICOM files that say what they are: Synthetic Data = YES, the synthesizing equipment named.

The object class follows the modality only as far as that is honest. A class that demands facts of an acquisition which
never took place (the detector of a DX image, the slice position of a CT without spacing, the camera of an Ophthalmic
Photography image) is not used; such images go out as Computed Radiography, which leaves those facts open, or as
Secondary Capture, which makes no claim. Nothing in a file depends on a clock, a host or a random number: UIDs are
derived from the image's content, so a second export of the same image gives the same bytes. Each image is a synthetic
patient of its own, but for the slices of one synthetic volume, which are one series of one patient.
"""

import io
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
)

from synthcohort.formats import dicom_simulated
from synthcohort.formats.dicom_simulated import decimal

NAMESPACE = uuid.UUID("6f1b7f0e-5d1c-5c0a-9d0e-0d6b1f0c5a11")  # of this project, for UIDs under 2.25 (PS3.5 B.2)
IMPLEMENTATION = UID("2.25." + str(uuid.uuid5(NAMESPACE, "implementation class").int))
RADIOGRAPHS = ("CR", "DX", "RG", "XR", "PX", "IO")
PHOTOGRAPHS = ("XC", "DMS", "DERM", "DERMOSCOPY")  # of the skin and other outer parts; modality XC in the file
MICROSCOPY = ("GM", "SM", "HISTOLOGY", "MICROSCOPY", "HC")  # fields seen in a microscope; modality GM in the file
MODALITIES = ("CR", "CT", "MR", "US", "DX", "MG", "OP", "XC", "SM", "GM", "ES", "NM", "PT", "OT")  # of a capture
UNPAIRED = (  # body parts without a left and a right; Source: DICOM PS3.16 Annex L
    "ABDOMEN",
    "BLADDER",
    "BRAIN",
    "CHEST",
    "COLON",
    "CSPINE",
    "ESOPHAGUS",
    "HEAD",
    "HEART",
    "LIVER",
    "LSPINE",
    "MEDIASTINUM",
    "NECK",
    "PANCREAS",
    "PELVIS",
    "PROSTATE",
    "SKULL",
    "SPINE",
    "SPLEEN",
    "SSPINE",
    "STOMACH",
    "TSPINE",
    "UTERUS",
)
MODALITY_OF = {
    ComputedRadiographyImageStorage: "CR",
    VLPhotographicImageStorage: "XC",
    VLMicroscopicImageStorage: "GM",
}
ORIENTATIONS = {  # patient axes of row and column direction, by name of the plane
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}
NOTICE = "Synthetic image, computed by a generator. Shows no patient. Not for diagnosis."


@dataclass(frozen=True)
class Equipment:
    """Who computed the images: Contributing Equipment Sequence (0018,A001)."""

    software_version: str
    description: str = ""  # what the generator is known by, for example its digest
    manufacturer: str = "SynthCohort"
    model: str = "SynthCohort"


@dataclass(frozen=True)
class SlicePlace:
    """Where a slice lies in its synthetic volume. `affine_lps` maps (slice, row, column, 1) to mm; None: no lattice."""

    volume: str  # name of the volume: the patient, study and series of its slices
    number: int  # from 0
    affine_lps: np.ndarray | None = None


@dataclass(frozen=True)
class SyntheticImage:
    """One image with what its file may say. `record` holds the cohort's standard columns."""

    pixels: np.ndarray  # [rows, columns] uint8, uint16, int16 or [rows, columns, 3] uint8
    record: Mapping[str, Any]
    labels: Mapping[str, Any]
    cohort_digest: str
    place: SlicePlace | None = None

    @property
    def owner(self) -> str:
        """The name of the synthetic patient."""
        return self.place.volume if self.place else self.image_id

    @property
    def image_id(self) -> str:
        return str(self.record["image_id"])


def uid(image: SyntheticImage, level: str) -> UID:
    """A UID derived from cohort, image and content. Source: DICOM PS3.5 B.2 (UUID derived), RFC 9562 version 5."""
    parts = [image.cohort_digest, image.image_id, str(image.record["pixels_digest"]), level]
    if image.place and level != "instance":
        parts = [image.cohort_digest, "volume", image.place.volume, level]
    name = "\x1f".join(parts)
    return UID("2.25." + str(uuid.uuid5(NAMESPACE, name).int))


def sop_class(image: SyntheticImage) -> UID:
    """The object class an image can honestly claim (see the module's head)."""
    modality, gray = _modality(image.record), image.pixels.ndim == 2
    if gray and modality in RADIOGRAPHS:
        return ComputedRadiographyImageStorage
    deep = gray and image.pixels.dtype != np.uint8
    if modality in ("CT", "MR") and deep and _lies(image):
        return CTImageStorage if modality == "CT" else MRImageStorage
    if modality == "US" and image.pixels.dtype == np.uint8:
        return UltrasoundImageStorage
    if modality in PHOTOGRAPHS and not gray:
        return VLPhotographicImageStorage
    if modality in MICROSCOPY and not gray:
        return VLMicroscopicImageStorage
    return SecondaryCaptureImageStorage


def encode(image: SyntheticImage, equipment: Equipment, simulated: Mapping[str, float] | None = None) -> bytes:
    """The whole DICOM file. The same image and equipment give the same bytes.

    `simulated`: acquisition values, by keyword, that somebody asked for; they stand where the class has them, marked.
    """
    dataset = Dataset()
    kind = sop_class(image)
    _identity(dataset, image, kind)
    _marking(dataset, image, equipment)
    _picture(dataset, image)
    if kind == ComputedRadiographyImageStorage:
        _radiograph(dataset, image)
    elif kind in (CTImageStorage, MRImageStorage):
        _slice(dataset, image, kind)
    elif kind == SecondaryCaptureImageStorage:
        _capture(dataset, image)
    elif kind in (VLPhotographicImageStorage, VLMicroscopicImageStorage):
        _visible_light(dataset, image)
    if simulated:
        dicom_simulated.apply(dataset, simulated)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, "SYNTHCOHORT"
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _identity(dataset: Dataset, image: SyntheticImage, kind: UID) -> None:
    """Patient, study, series, equipment: an invented patient, empty acquisition values."""
    record = image.record
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, uid(image, "instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(image, "study"), uid(image, "series")
    dataset.PatientName = f"Synthetic^{image.owner}"[:64]
    dataset.PatientID = image.owner[:64]
    dataset.PatientBirthDate = ""
    dataset.PatientSex = {"m": "M", "f": "F", "o": "O"}.get(str(record.get("sex") or "").lower()[:1], "")
    age = record.get("age")
    if age is not None and 0 <= age < 1000:
        dataset.PatientAge = f"{int(age):03d}Y"
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.StudyDescription = "SYNTHETIC, shows no patient"
    dataset.Modality = MODALITY_OF.get(kind) or _kept_modality(record)
    dataset.SeriesNumber, dataset.InstanceNumber = 1, image.place.number + 1 if image.place else 1
    text = ", ".join(f"{name}={value}" for name, value in image.labels.items())
    dataset.SeriesDescription = _text(f"SYNTHETIC {text}".strip(), 64)
    dataset.ImageComments = _text(f"{NOTICE} {text}".strip(), 10240)
    body_part = re.sub(r"[^A-Z0-9_ ]", "", str(record.get("body_part") or "").upper())[:16].strip()
    if body_part or kind == ComputedRadiographyImageStorage:
        dataset.BodyPartExamined = body_part
    laterality = str(record.get("laterality") or "").upper()[:1]
    if laterality in ("L", "R"):
        dataset.Laterality = laterality
    elif body_part not in UNPAIRED:
        dataset.Laterality = ""  # type 2C: demanded for paired parts, forbidden for unpaired ones


def _marking(dataset: Dataset, image: SyntheticImage, equipment: Equipment) -> None:
    """(0008,001C) and (0018,A001). Source: DICOM PS3.3 C.12.1.1.1, CID 7005."""
    dataset.SyntheticData = "YES"
    dataset.ImageType, dataset.PatientOrientation = ["DERIVED", "SECONDARY"], ""
    dataset.Manufacturer, dataset.ManufacturerModelName = equipment.manufacturer, equipment.model
    dataset.SoftwareVersions = equipment.software_version
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "109100", "DCM", "Synthesizing Equipment"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code])
    item.Manufacturer, item.ManufacturerModelName = equipment.manufacturer, equipment.model
    item.SoftwareVersions = equipment.software_version
    seed = image.record.get("seed")
    drawn = f" drawn from seed {seed}" if seed is not None else ""
    text = f"Computed by a generative model{drawn}. {equipment.description}"
    item.ContributionDescription = _text(text.strip(), 1024)
    dataset.ContributingEquipmentSequence = Sequence([item])


def _picture(dataset: Dataset, image: SyntheticImage) -> None:
    """Pixels at their own depth: 8 bit stays 8 bit, 16 bit stays 16 bit, HU stay signed."""
    pixels, record = np.ascontiguousarray(image.pixels), image.record
    allocated = pixels.dtype.itemsize * 8
    stored = allocated if pixels.dtype != np.uint16 else int(record.get("bits_stored") or 16)
    if pixels.size and pixels.dtype == np.uint16 and int(pixels.max()) >= 2**stored:
        raise ValueError(f"image {image.image_id}: value {int(pixels.max())} does not fit into {stored} bits")
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = int(pixels.dtype == np.int16)
    if pixels.ndim == 2 and record.get("window_center") is not None and (record.get("window_width") or 0) >= 1:
        dataset.WindowCenter, dataset.WindowWidth = decimal(record["window_center"]), decimal(record["window_width"])
    data = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.add_new("PixelData", "OB" if allocated == 8 else "OW", data + b"\0" * (len(data) % 2))


def _radiograph(dataset: Dataset, image: SyntheticImage) -> None:
    """Computed Radiography leaves detector and exposure open. Source: DICOM PS3.3 A.2, C.8.1."""
    view = str(image.record.get("view") or "").upper()
    dataset.ViewPosition = view if re.fullmatch(r"[A-Z0-9_ ]{1,16}", view) else ""
    spacing = _spacing(image.record)
    if spacing:
        dataset.ImagerPixelSpacing = [decimal(value) for value in spacing]


def _slice(dataset: Dataset, image: SyntheticImage, kind: UID) -> None:
    """A CT or MR slice in a frame of reference of its own; what no scanner set stays empty. Source: PS3.3 A.3, A.4."""
    position, orientation, spacing = _geometry(image)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid(image, "frame of reference"), ""
    dataset.PixelSpacing = [decimal(value) for value in spacing]
    dataset.ImageOrientationPatient = [decimal(value) for value in orientation]
    dataset.ImagePositionPatient = [decimal(value) for value in position]
    dataset.PatientPosition = ""  # nobody lay in a scanner
    dataset.SliceThickness = None
    dataset.AcquisitionNumber = None
    if kind == CTImageStorage:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]  # every CT plane that is no localizer is called AXIAL
        dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
        if image.pixels.dtype == np.int16:
            dataset.RescaleType = "HU"
        dataset.KVP = None
    else:
        dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"  # research mode: no scanner ran a sequence
        dataset.ScanOptions, dataset.MRAcquisitionType = "", ""
        dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None


def _lies(image: SyntheticImage) -> bool:
    """Whether it is known how a slice lies in space: by its volume, or by plane and pixel spacing."""
    if image.place is not None:
        return image.place.affine_lps is not None
    return _plane(image) is not None and _spacing(image.record) is not None


def _geometry(image: SyntheticImage) -> tuple[list[float], list[float], tuple[float, float]]:
    """Position of the first pixel, directions of rows and columns, spacing of rows and columns: in mm, axes L P H."""
    if image.place is not None and image.place.affine_lps is not None:
        affine = np.asarray(image.place.affine_lps, np.float64)
        down, right = affine[:3, 1], affine[:3, 2]
        spacing = float(np.linalg.norm(down)), float(np.linalg.norm(right))
        along = np.concatenate([right / spacing[1], down / spacing[0]])
        return (affine @ [image.place.number, 0, 0, 1])[:3].tolist(), along.tolist(), spacing
    plane, known = _plane(image), _spacing(image.record)
    assert plane is not None
    assert known is not None
    return [0.0, 0.0, 0.0], [float(value) for value in ORIENTATIONS[plane]], known


def _visible_light(dataset: Dataset, image: SyntheticImage) -> None:
    """A photograph or a field seen in a microscope. Source: DICOM PS3.3 A.32.1, A.32.2, C.8.12.1."""
    dataset.LossyImageCompression = "00"
    dataset.AcquisitionContextSequence = Sequence([])
    if image.record.get("laterality"):
        dataset.ImageLaterality = str(image.record["laterality"]).upper()[:1]


def _capture(dataset: Dataset, image: SyntheticImage) -> None:
    """Secondary Capture, conversion type SYN (synthetic image). Source: DICOM PS3.3 A.8, C.8.6.1."""
    dataset.ConversionType = "SYN"
    if image.pixels.dtype == np.int16:
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    spacing = _spacing(image.record)
    if spacing:
        dataset.PixelSpacing = [decimal(value) for value in spacing]


def marking_problems(path: Path) -> list[str]:
    """What a synthetic image's file lacks of the marking that it must carry; empty when all is there."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        problems = []
        if dataset.get("SyntheticData") != "YES":
            problems.append("Synthetic Data (0008,001C) is not YES")
        codes = [
            (code.get("CodeValue"), code.get("CodingSchemeDesignator"))
            for item in dataset.get("ContributingEquipmentSequence") or []
            for code in item.get("PurposeOfReferenceCodeSequence") or []
        ]
        if ("109100", "DCM") not in codes:
            problems.append("Contributing Equipment Sequence (0018,A001) names no Synthesizing Equipment (109100, DCM)")
        return problems
    except Exception as error:  # a damaged file may fail anywhere in the reader
        return [f"cannot be read as DICOM ({type(error).__name__})"]


def _modality(record: Mapping[str, Any]) -> str:
    return str(record.get("modality") or "").upper()


def _kept_modality(record: Mapping[str, Any]) -> str:
    modality = _modality(record)
    return modality if modality in MODALITIES else "OT"


def _plane(image: SyntheticImage) -> str | None:
    view = str(image.record.get("view") or "").lower()
    return view if view in ORIENTATIONS else None


def _spacing(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """Row and column spacing in mm, where known and positive."""
    spacing = record.get("pixel_spacing_mm")
    if spacing is None or len(spacing) < 2 or min(spacing[:2]) <= 0:
        return None
    return float(spacing[0]), float(spacing[1])


def _text(text: str, length: int) -> str:
    """A text value without backslashes and control characters, cut to what the VR holds."""
    return re.sub(r"[\\\x00-\x1f]", " ", text)[:length].strip()
