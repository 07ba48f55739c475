"""Synthetic volumes and images as NIfTI-1 files, marked for machines: a comment extension says that they are synthetic.

Axes follow NIfTI: i to the patient's right, j to the front, k to the head, so that a volume's affine for DICOM's axes
(left, back, head) has its first two rows negated. Nothing in a file depends on a clock: the gzip header holds no time.
"""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np

MARK = "SYNTHETIC=YES. Computed by a generative model. Shows no patient. Not for diagnosis."
COMMENT = 6  # code of a plain-text extension. Source: NIfTI-1 extension codes, NIFTI_ECODE_COMMENT


def encode(volume: np.ndarray, affine_lps: np.ndarray | None, spacing_mm: tuple[float, float] | None = None) -> bytes:
    """[slices, rows, columns] uint8, uint16 or int16, or [slices, rows, columns, 3] uint8 -> the bytes of a .nii.gz.

    `affine_lps` maps (slice, row, column, 1) to millimeters; without one the axes are scaled by `spacing_mm` (rows,
    columns) where known, and the file says that it has no place in a patient (sform and qform codes 0).
    """
    if volume.ndim == 4:
        pixels = np.ascontiguousarray(np.transpose(volume, (2, 1, 0, 3)))
        data = pixels.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    else:
        data = np.transpose(volume, (2, 1, 0))
    if affine_lps is not None:
        affine = np.asarray(affine_lps, np.float64)[:, [2, 1, 0, 3]] * np.array([[-1], [-1], [1], [1]])
    else:
        rows, columns = spacing_mm or (1.0, 1.0)
        affine = np.diag([columns, rows, 1.0, 1.0])
    image = nibabel.Nifti1Image(data, affine)
    known = affine_lps is not None
    image.set_sform(affine, code=1 if known else 0)
    image.set_qform(affine if known else None, code=1 if known else 0)
    image.header.set_xyzt_units("mm" if known or spacing_mm else "unknown")
    image.header["descrip"] = b"SYNTHETIC, shows no patient"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(COMMENT, MARK.encode()))
    if not known and spacing_mm:
        image.header.set_zooms((spacing_mm[1], spacing_mm[0], 1.0))
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as file:
        file.write(image.to_bytes())
    return buffer.getvalue()


def marking_problems(path: Path) -> list[str]:
    """What a synthetic NIfTI file lacks of its marking; empty when all is there."""
    try:
        extensions = nibabel.Nifti1Image.from_filename(path).header.extensions
        found = any(
            item.get_code() == COMMENT and b"SYNTHETIC=YES" in _bytes(item.get_content()) for item in extensions
        )
    except Exception as error:  # a damaged file may fail anywhere in the reader
        return [f"cannot be read as NIfTI ({type(error).__name__})"]
    return [] if found else ["carries no comment that says that it is synthetic"]


def _bytes(content: object) -> bytes:
    return content if isinstance(content, bytes) else str(content).encode()
