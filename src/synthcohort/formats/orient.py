"""From a volume and its affine to slices as a radiologist sees them, and where each lies in the patient.

Words: a *voxel* index counts along the axes as they are stored; *RAS* are millimetres to the patient's right, front
and head (NIfTI), *LPS* to the left, back and head (DICOM).

Every slice is shown in radiological convention: axial with the patient's right on the image's left and the front up,
coronal with the right on the left and the head up, sagittal with the front on the left and the head up. Slices are
numbered from feet to head, from back to front, from left to right. An oblique volume keeps its own grid: its axes are
only exchanged and turned around to come as near to this as they can, and nothing is interpolated.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import io_orientation

from synthcohort.formats.image import Place, Unreadable

SAME_SIZE = 1.01  # voxel edges whose ratio is below count as equal
LEAST_MM, MOST_MM = 1e-6, 1e6  # what a voxel's edge may measure
SHEAR = 1e-3  # cosine of the angle between two axes above which they are not perpendicular
# Plane: the RAS axes that lead from slice to slice, down the rows, and along the columns.
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
_THROUGH = {axes[0]: plane for plane, axes in PLANES.items()}


@dataclass(frozen=True)
class Slicing:
    """How a volume is cut. `affine` maps (slice, row, column, 1) to LPS millimetres."""

    plane: str
    shape: tuple[int, int, int]  # slices, rows, columns
    axes: tuple[int, int, int]  # the stored axes they lie along
    turned: tuple[bool, bool, bool]  # those that run against the stored order
    affine: np.ndarray  # [4, 4] float64

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns."""
        _, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(rows), float(columns)

    @property
    def sheared(self) -> bool:
        """Whether its axes are not perpendicular, so that DICOM's attributes cannot say where its pixels lie."""
        unit = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return bool(np.abs(unit.T @ unit - np.eye(3)).max() > SHEAR)

    def cut(self, volume: np.ndarray, number: int) -> np.ndarray:
        """Slice `number` of a volume [x, y, z(, channels)] in stored order, as a view [rows, columns(, channels)]."""
        rest = tuple(range(3, volume.ndim))
        canonical = volume.transpose(*self.axes, *rest)
        canonical = canonical[tuple(slice(None, None, -1) if turned else slice(None) for turned in self.turned)]
        return np.asarray(canonical[number])

    def place(self, number: int) -> Place | None:
        """Where slice `number` lies; None for a sheared volume."""
        if self.sheared:
            return None
        thickness, *_ = np.linalg.norm(self.affine[:3, :3], axis=0)
        _, down, along = (self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)).T
        x, y, z = (self.affine @ (number, 0, 0, 1))[:3] + 0.0  # no negative zeros
        (a, b, c), (d, e, f) = (tuple(float(v) + 0.0 for v in cosines) for cosines in (along, down))
        return Place((float(x), float(y), float(z)), (a, b, c, d, e, f), float(thickness))


def slicing(shape: tuple[int, int, int], affine: np.ndarray) -> Slicing:
    """Cuts across the longest edge of a voxel, so that the slices have the finest pixels; axial when edges are equal.

    `affine` [4, 4] maps voxel indices to RAS millimetres. Raises Unreadable when it cannot be undone.
    """
    affine = np.asarray(affine, dtype=np.float64)
    plausible = bool((np.abs(affine) < MOST_MM).all())
    sizes = np.linalg.norm(affine[:3, :3], axis=0) if plausible else np.zeros(3)
    if sizes.min() < LEAST_MM or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise Unreadable("damaged: its affine maps the volume onto a plane or holds no plausible numbers")
    orientation = io_orientation(affine)
    stored = {int(axis): i for i, (axis, _) in enumerate(orientation)}  # RAS axis -> stored axis
    plane = _THROUGH[_through(shape, sizes, stored)]
    axes = tuple(stored[axis] for axis in PLANES[plane])
    # Slices go up the RAS axis; rows and columns go down it: to the back or feet, and to the left or back.
    wanted = (1, -1, -1)
    turned = tuple(bool(orientation[i, 1] != sign) for i, sign in zip(axes, wanted, strict=True))
    matrix = np.eye(4)
    origin = affine[:3, 3].copy()
    for column, (i, flip) in enumerate(zip(axes, turned, strict=True)):
        matrix[:3, column] = -affine[:3, i] if flip else affine[:3, i]
        if flip:
            origin += affine[:3, i] * (shape[i] - 1)
    matrix[:3, 3] = origin
    matrix[:2] *= -1  # RAS to LPS
    a, b, c = axes
    return Slicing(plane, (shape[a], shape[b], shape[c]), (a, b, c), (turned[0], turned[1], turned[2]), matrix)


def _through(shape: tuple[int, int, int], sizes: np.ndarray, stored: dict[int, int]) -> int:
    """The RAS axis from slice to slice."""
    single = [axis for axis in (2, 1, 0) if shape[stored[axis]] == 1]
    if len(single) == 1:
        return single[0]
    longest = max(sizes)
    return next(axis for axis in (2, 1, 0) if sizes[stored[axis]] * SAME_SIZE >= longest)
