"""A procedural hospital: a folder of DICOM files as a hospital would hand it over, and the truth beside it.

The headers hold what a real archive's would: names, dates, ids, free text, private tags and nested sequences, all
invented, so that whatever is meant to remove them has something to remove. The same arguments give the same bytes.
"""

import csv
import hashlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import atomic_path, json_text, read_json
from synthcohort.core.seeds import rng as named_rng
from synthcohort.phantoms.anatomy import draw_anatomy, draw_knee
from synthcohort.phantoms.knee import BITS_STORED, knee
from synthcohort.phantoms.people import ADDRESS, INSTITUTION, PHYSICIANS, Person, draw_person

# One file in four is compressed, by turns; each with the plugin that writes it.
COMPRESSIONS = ((RLELossless, "pydicom"), (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg"))
COMPRESS_EVERY = 4
MONOCHROME1_EVERY = 5
MANUFACTURERS = ("Phantom Works", "Invented Imaging")
PRIVATE_CREATOR = "PHANTOM WORKS 01"


def write_hospital(
    out: Path,
    patients: int,
    seed: int = 0,
    size: int | tuple[int, int] = 128,
    images_per_patient: int | tuple[int, int] = (2, 4),
) -> Path:
    """Writes `out/dicom` (DICOM files and a metadata.csv with their grades) and `out/truth.csv`; returns `out/dicom`.

    `images_per_patient` is a number or a range (both ends included). A hospital that is already there is kept when it
    was made with the same arguments, and an ArtifactError otherwise.
    """
    out = Path(out)
    few, many = (images_per_patient,) * 2 if isinstance(images_per_patient, int) else images_per_patient
    if patients < 1 or not 1 <= few <= many:
        raise ValueError(f"{patients} patients with {few} to {many} images")
    facts = {"patients": patients, "seed": seed, "size": size, "images_per_patient": [few, many]}
    if out.exists():
        if not (out / "hospital.json").is_file() or read_json(out / "hospital.json") != _as_read(facts):
            raise ArtifactError(Problem(f"hospital {out}", "exists and is another", remedy="choose another folder"))
        return out / "dicom"
    with atomic_path(out) as folder:
        (folder / "dicom").mkdir(parents=True)
        grades: list[dict[str, Any]] = []
        truths: list[dict[str, Any]] = []
        for number in range(patients):
            _write_patient(folder / "dicom", number, seed, size, (few, many), grades, truths)
        (folder / "dicom" / "metadata.csv").write_text(_csv(grades), encoding="utf-8")
        (folder / "truth.csv").write_text(_csv(truths), encoding="utf-8")
        (folder / "hospital.json").write_text(json_text(facts), encoding="utf-8")
    return out / "dicom"


def _write_patient(
    folder: Path, number: int, seed: int, size: int | tuple[int, int], span: tuple[int, int],
    grades: list[dict[str, Any]], truths: list[dict[str, Any]],
) -> None:
    draw = named_rng("phantom hospital", seed, number)
    person = draw_person(number, draw)
    anatomy = draw_anatomy(named_rng("phantom anatomy", seed, number))
    sides: tuple[Literal["L", "R"], ...] = ("R", "L") if draw.random() < 0.5 else ("L", "R")
    knees = {
        side: draw_knee(anatomy, person.severity[side], side, named_rng("phantom knee", seed, number, side))
        for side in sides
    }
    for k in range(int(draw.integers(span[0], span[1] + 1))):
        side = sides[k % 2]
        image, truth = knee(knees[side], size, named_rng("phantom image", seed, number, k))
        dataset = _dataset(person, seed, k, side, image, truth["pixel_spacing_mm"])
        name = f"{person.patient_id}/{side}{k + 1:03d}.dcm"
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        syntax, plugin = COMPRESSIONS[len(truths) // COMPRESS_EVERY % len(COMPRESSIONS)]
        if syntax == JPEG2000Lossless and min(image.shape) < 32:  # too small for its wavelet levels
            syntax, plugin = COMPRESSIONS[0]
        if len(truths) % COMPRESS_EVERY == COMPRESS_EVERY - 1:
            dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
        grades.append({"file": name, "kl_grade": truth["severity"]})
        truths.append(
            {
                "file": name,
                "sop_instance_uid": str(dataset.SOPInstanceUID),
                "patient_id": person.patient_id,
                "sex": person.sex,
                "age": person.age,
                "photometric_interpretation": str(dataset.PhotometricInterpretation),
                "transfer_syntax": dataset.file_meta.TransferSyntaxUID.name,
                **{key: f"{value:.4f}" if isinstance(value, float) else value for key, value in truth.items()},
            }
        )


def _dataset(person: Person, seed: int, index: int, side: str, image: np.ndarray, spacing_mm: float) -> FileDataset:
    """A Digital X-Ray or Computed Radiography image with a full and invented header (DICOM PS3.3 A.26, A.2)."""
    device = person.number % len(MANUFACTURERS)
    sop_class = (DigitalXRayImageStorageForPresentation, ComputedRadiographyImageStorage)[device]
    uid = _uid(seed, "image", person.number, index)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    meta.ImplementationVersionName = "SYNTHCOHORT"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    ds.StudyInstanceUID = _uid(seed, "study", person.number)
    ds.SeriesInstanceUID = _uid(seed, "series", person.number, side)
    ds.FrameOfReferenceUID = _uid(seed, "frame", person.number)
    day = person.study_date.strftime("%Y%m%d")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime, ds.ContentTime = f"{9 + person.number % 8:02d}1500", f"{9 + person.number % 8:02d}1{index % 10}42"
    ds.AccessionNumber = f"ACC{(seed * 7919 + person.number * 104729) % 10**9:09d}"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = f"S{person.number:06d}", "LR".index(side) + 1, index + 1
    _invented_people(ds, person)
    _device(ds, device, side)
    rows, columns = image.shape
    inverse = (person.number + index) % MONOCHROME1_EVERY == MONOCHROME1_EVERY - 1
    ds.SamplesPerPixel, ds.Rows, ds.Columns = 1, rows, columns
    ds.PhotometricInterpretation = "MONOCHROME1" if inverse else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, BITS_STORED, BITS_STORED - 1, 0
    ds.ImagerPixelSpacing = [f"{spacing_mm:.6f}"] * 2
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    stored = (2**BITS_STORED - 1 - image) if inverse else image
    low, high = (int(v) for v in np.percentile(stored, (1, 99)))
    ds.WindowCenter, ds.WindowWidth = str((low + high) // 2), str(max(2, high - low))
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


def _invented_people(ds: Dataset, person: Person) -> None:
    """Everything about people: what de-identification has to remove."""
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = person.name, person.patient_id, "NOWHERE"
    ds.OtherPatientIDs = f"OLD-{person.patient_id[::-1]}"
    ds.PatientBirthDate, ds.PatientSex = person.birth_date.strftime("%Y%m%d"), person.sex
    if person.says_age:
        ds.PatientAge = f"{person.age:03d}Y"
    family, given = person.name.split("^")
    ds.PatientAddress = f"{person.number + 1} {family} Street, Nowhere"
    ds.PatientTelephoneNumbers = f"+000 555 {person.number:06d}"
    ds.PatientComments = f"{given} {family} asked for a copy of the images"
    ds.InstitutionName, ds.InstitutionAddress, ds.StationName = INSTITUTION, ADDRESS, f"ROOM{person.number % 3 + 1}"
    ds.ReferringPhysicianName = PHYSICIANS[person.number % len(PHYSICIANS)]
    ds.OperatorsName = "Dummy^Technician"
    request = Dataset()
    request.RequestedProcedureDescription = f"Knee for {given} {family}"
    request.ScheduledProcedureStepID = f"STEP{person.number:06d}"
    ds.RequestAttributesSequence = [request]
    block = ds.private_block(0x0011, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", f"{given} {family} {person.patient_id}")
    block.add_new(0x02, "OB", person.name.encode())


def _device(ds: Dataset, device: int, side: str) -> None:
    ds.Modality = ("DX", "CR")[device]
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURERS[device], ("Ray 1", "Plate 2")[device]
    ds.DeviceSerialNumber, ds.SoftwareVersions = f"SN-{device:04d}-0000", "1.0"
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "KNEE", "AP", ["L", "F"]
    ds.StudyDescription, ds.SeriesDescription = "Knee", f"Knee AP {side}"
    if device == 0:  # Digital X-Ray says more than Computed Radiography does
        ds.PresentationIntentType, ds.ImageLaterality, ds.DetectorType = "FOR PRESENTATION", side, "DIRECT"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1
        ds.AcquisitionContextSequence = []
        ds.AnatomicRegionSequence = [_code("72696002", "SCT", "Knee region structure")]
        ds.ViewCodeSequence = [_code("399348003", "SCT", "antero-posterior")]
        ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    else:
        ds.Laterality, ds.PlateType = side, "PHOSPHOR"
    ds.KVP, ds.Exposure = "60", "5"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _uid(*parts: str | int) -> UID:
    """A UUID-derived UID (DICOM PS3.5 B.2) that depends on nothing but its parts."""
    text = "\x1f".join(map(str, ("synthcohort phantom", *parts)))
    return UID(f"2.25.{int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), 'big')}")


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _as_read(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
