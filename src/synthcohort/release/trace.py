"""One image traced: every link of the chain from the source's digest to its pixels, as the bundle records them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_array, digest_file, read_artifact
from synthcohort.formats import png_export
from synthcohort.release import provenance
from synthcohort.release.images import read_rows
from synthcohort.release.manifest import MANIFEST, read_checksums, read_manifest


@dataclass(frozen=True)
class Traced:
    """An image with what the bundle says of it."""

    image_id: str
    row: Mapping[str, str]
    chain: tuple[Mapping[str, Any], ...]
    files: Mapping[str, str]  # path -> digest in the manifest
    problems: tuple[str, ...]

    @property
    def request(self) -> dict[str, Any]:
        """What generation needs to draw the image again, in the words of a cohort's provenance."""
        content = {"chain": list(self.chain)}
        asked = provenance.link(content, "seeds").get("request") or {}
        return {
            **asked,
            "model_digest": provenance.link(content, "model").get("digest"),
            "config": provenance.link(content, "configuration").get("config"),
        }

    def to_mapping(self) -> dict[str, Any]:
        """What the command prints."""
        own = {name: value for name, value in self.row.items() if value}
        last = {"link": "image", "words": "This image.", "image_id": self.image_id, "files": dict(self.files), **own}
        return {"image": self.image_id, "ok": not self.problems, "problems": list(self.problems),
                "chain": [*self.chain, last]}  # fmt: skip


def trace(bundle: Path, image: str) -> Traced:
    """The chain of one image, by its name or a path of one of its files; checks its files and its pixels.

    Raises InputError when the bundle has no such image.
    """
    bundle = Path(bundle)
    if not (bundle / MANIFEST).is_file():
        raise InputError(Problem(f"bundle {bundle}", "is no bundle", "a folder made by synthcohort release"))
    name = Path(image).name
    for suffix in (".dcm", ".png", ".nii.gz"):
        name = name.removesuffix(suffix)
    row = next((found for found in read_rows(bundle) if found["image_id"] == name), None)
    if row is None:
        raise InputError(Problem(f"image {name}", "is not in the bundle", "a name of metadata.csv"))
    chain = read_artifact(bundle / "provenance.json", provenance.FORMAT, provenance.VERSION)["chain"]
    paths = [row[kind] for kind in ("dicom", "png", "classes", "nifti", "parquet") if row.get(kind)]
    listed, problems = _listed(bundle, paths)
    problems += [f"{path} was changed" for path in listed if digest_file(bundle / path) != f"sha256:{listed[path]}"]
    pixels = None if problems else pixels_of(bundle, row)
    if pixels is not None and digest_array(pixels) != row["pixels_digest"]:
        problems.append("the pixels do not give the digest of metadata.csv")
    return Traced(name, row, tuple(chain), listed, tuple(problems))


def _listed(bundle: Path, paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """The digests that the checksums give for these files, and which of them are missing."""
    folders = {entry["path"]: entry["list"] for entry in read_manifest(bundle)["folders"]}
    found: dict[str, str] = {}
    problems = []
    for path in paths:
        folder = path.rpartition("/")[0]
        digests = read_checksums(bundle / folders[folder], folder) if folder in folders else {}
        if path in digests and (bundle / path).is_file():
            found[path] = digests[path]
        else:
            problems.append(f"{path} is missing or not listed")
    return found, problems


def pixels_of(bundle: Path, row: Mapping[str, str]) -> np.ndarray | None:
    """The image's pixels from the bundle, in the cohort's own type; None where only volumes or tables hold it.

    Raises ArtifactError when a file cannot be read.
    """
    try:
        if row.get("dicom"):
            return np.asarray(pydicom.dcmread(bundle / row["dicom"]).pixel_array)
        path = row.get("png") or row.get("classes")
        return png_export.decode(bundle / path, int(row["png_offset"] or 0)) if path else None
    except Exception as error:  # a damaged file may fail anywhere in the readers
        raise ArtifactError(Problem(f"image {row['image_id']}", f"cannot be read ({type(error).__name__})")) from None
