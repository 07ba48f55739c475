"""The images of a bundle, one at a time: every format asked for, and a row of metadata.csv for each."""

import csv
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import Refused
from synthcohort.core.files import digest_array
from synthcohort.core.progress import progress
from synthcohort.formats import dicom_export, nifti_export, parquet_export, png_export
from synthcohort.formats.dicom_export import Equipment, SlicePlace, SyntheticImage
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.credentials import Credentials
from synthcohort.release.manifest import Writer

METADATA = "metadata.csv"
# What a row of metadata.csv says of an image besides its files and labels. Everything else a record may hold (patients,
# sites, scanners, source digests) stays behind.
RELEASED_COLUMNS = (
    "modality", "body_part", "laterality", "view", "sex", "age", "caption", "rows", "columns", "channels",
    "bits_stored", "pixel_spacing_mm", "window_center", "window_width", "seed", "pixels_digest",
)  # fmt: skip
PART_BYTES = 2**26  # of images in one parquet file
FOLDERS = {"dicom": "images/dicom", "png": "images/png", "nifti": "images/nifti", "parquet": "images/parquet"}


def write_images(
    writer: Writer, cohort: Cohort, config: ReleaseConfig, credentials: Credentials | None = None
) -> Iterator[tuple[SyntheticImage, Mapping[str, Any]]]:
    """Writes every image and its row; yields each with its row once written. One image, or volume, in memory at a time.

    Raises Refused when an image's pixels do not give the digest of its record.
    """
    export = Exporter(writer, cohort, config, credentials)
    header = [
        "image_id", *config.formats, *(["sop_instance_uid"] if "dicom" in config.formats else []), "volume", "frame",
        *cohort.labels, *RELEASED_COLUMNS, "png_offset",
    ]  # fmt: skip
    with (
        open(writer.folder / METADATA, "w", encoding="utf-8", newline="") as file,
        progress(len(cohort), "release") as advance,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for image in images_of(cohort):
            row = {**export.write(image)}
            table.writerow([cell(row.get(name)) for name in header])
            yield image, row
            advance()
        export.finish()
    writer.add_written(METADATA)


def images_of(cohort: Cohort) -> Iterator[SyntheticImage]:
    """The images in the order of their ids; one whose pixels do not give its digest stops the release."""
    places = places_of(cohort)
    for i in range(len(cohort)):
        record, pixels = cohort.record(i), cohort.image(i)
        if digest_array(pixels) != record["pixels_digest"]:
            raise Refused(f"The pixels of image {record['image_id']} do not give the digest of its record.")
        labels = {name: record[name] for name in cohort.labels}
        yield SyntheticImage(pixels, record, labels, cohort.digest, places.get(record["image_id"]))


def places_of(cohort: Cohort) -> dict[str, SlicePlace]:
    """Which slice of which synthetic volume an image is. Volumes are numbered, never named after a source's series."""
    places = {}
    for number, volume in enumerate(cohort.volumes):
        affine = None if volume["affine_lps"] is None else np.array(volume["affine_lps"], np.float64)
        for position, name in enumerate(volume["image_ids"]):
            places[name] = SlicePlace(f"volume-{number:05d}", position, affine)
    return places


class Exporter:
    """Writes one image after the other in the formats asked for."""

    def __init__(self, writer: Writer, cohort: Cohort, config: ReleaseConfig, credentials: Credentials | None):
        self.writer, self.cohort, self.config, self.credentials = writer, cohort, config, credentials
        self.equipment = Equipment(metadata.version("synthcohort"), f"Synthetic cohort {cohort.digest}")
        self.named = next((label for label in cohort.labels.values() if label.kind in ("nominal", "ordinal")), None)
        self._part: list[dict[str, Any]] = []
        self._part_bytes = self._parts = 0

    def write(self, image: SyntheticImage) -> dict[str, Any]:
        """Writes an image; returns its row of metadata.csv."""
        name, formats = image.image_id, self.config.formats
        row: dict[str, Any] = {**image.record, **image.labels, "png_offset": png_export.offset_of(image.pixels)}
        row["volume"] = image.place.volume if image.place else None
        row["frame"] = image.place.number if image.place else None
        if "dicom" in formats:
            data = dicom_export.encode(image, self.equipment, self.config.simulated)
            row["dicom"] = self.writer.add_image(FOLDERS["dicom"], f"{name}.dcm", data)
            row["sop_instance_uid"] = dicom_export.uid(image, "instance")
        if {"png", "classes", "parquet"} & set(formats):
            png = png_export.encode(image.pixels, name)
            file = self.credentials.sign(png, f"{name}.png") if self.credentials else png
            if "png" in formats:
                row["png"] = self.writer.add_image(FOLDERS["png"], f"{name}.png", file)
            if "classes" in formats:
                row["classes"] = self.writer.add_image(self._class(image), f"{name}.png", file)
            if "parquet" in formats:
                row["parquet"] = self._add_row(image, png, row)
        if "nifti" in formats:
            row["nifti"] = self._nifti(image)
        return row

    def finish(self) -> None:
        """Writes what is not full yet."""
        self._write_part()

    def _class(self, image: SyntheticImage) -> str:
        """A folder for each value of the first label, as loaders of class folders expect."""
        value = "unlabeled" if self.named is None else f"{self.named.name}-{image.labels[self.named.name]}"
        return f"images/classes/{re.sub(r'[^A-Za-z0-9_.-]+', '_', value).strip('._') or 'unlabeled'}"

    def _add_row(self, image: SyntheticImage, png: bytes, row: Mapping[str, Any]) -> str:
        if self._part_bytes >= PART_BYTES:
            self._write_part()
        own = {"image_id": image.image_id, "image": {"bytes": png, "path": f"{image.image_id}.png"}}
        self._part.append({**own, **image.labels, "png_offset": row["png_offset"], "caption": row.get("caption")})
        self._part_bytes += len(png)
        return f"{FOLDERS['parquet']}/{self._parts // 1000:06d}/part-{self._parts:06d}.parquet"

    def _write_part(self) -> None:
        if self._part:
            data = parquet_export.encode(self._part, list(self.cohort.labels.values()))
            self.writer.add_image(FOLDERS["parquet"], f"part-{self._parts:06d}.parquet", data)
            self._part, self._part_bytes, self._parts = [], 0, self._parts + 1

    def _nifti(self, image: SyntheticImage) -> str | None:
        """An image of its own as a file, a volume with its first slice; the other slices name the same file."""
        if image.place is None:
            spacing = image.record.get("pixel_spacing_mm")
            known = (float(spacing[0]), float(spacing[1])) if spacing and min(spacing[:2]) > 0 else None
            data = nifti_export.encode(image.pixels[None], None, known)
            return self.writer.add_image(FOLDERS["nifti"], f"{image.image_id}.nii.gz", data)
        number = int(image.place.volume.rpartition("-")[2])
        name = f"{FOLDERS['nifti']}/volumes-{number // 1000:06d}"
        if image.place.number == 0:
            pixels, affine = self.cohort.volume(number)
            return self.writer.add_image(name, f"{image.place.volume}.nii.gz", nifti_export.encode(pixels, affine))
        return None


def cell(value: Any) -> str:
    """A cell that a spreadsheet reads as it stands."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(cell, value))
    return repr(value) if isinstance(value, float) else str(value)


def read_rows(bundle: Path) -> Iterator[dict[str, str]]:
    """The rows of metadata.csv, one at a time."""
    with open(bundle / METADATA, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
