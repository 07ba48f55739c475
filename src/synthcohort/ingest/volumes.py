"""Series to volumes: slices are ordered by where they lie in the patient, and whatever is irregular is found and said.

Slices are ordered by their height, which is their position projected on the normal, never by Slice Location or Instance
Number. Millimeters; axes to the patient's left, back and head (LPS). Source: DICOM PS3.3 C.7.6.2.1.1.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.formats.image import ReadOptions
from synthcohort.ingest.stacks import Part, SliceRecord, has_place, positions, split_repeats, stacks

# What is tolerated; headers round positions to between 0.001 and 0.01 mm. Reasons: docs/decisions/0019-volumes.md.
SPACING_SHARE, SPACING_MM = 0.01, 0.01  # a distance may differ from the spacing by the larger of share and length
TILT_DEG = 0.1  # between the stacking direction and the normal
PLANE_COSINE = 0.8  # a normal nearer than 37 degrees to an axis of the body names the plane
LEAST_SLICES = 3

Kind = str  # a key of FINDINGS
FINDINGS: dict[Kind, str] = {  # what is found, and what its count counts
    "no place": "slices without a usable position and orientation",
    "mixed shapes": "shapes in the series, which was split by them",
    "mixed pixel spacings": "pixel spacings in the series, which was split by them",
    "mixed orientations": "orientations in the series, which was split by them",
    "repeated positions": "times that each position occurs: echoes, b-values or time points, one volume each",
    "ambiguous repetitions": "positions whose repetitions nothing tells apart, or that lack some",
    "duplicate slices": "slices set aside because another lies at the same position",
    "missing slices": "slices absent from gaps that are whole multiples of the spacing",
    "uneven spacing": "distances between neighbors that are no multiple of the spacing",
    "shifted slices": "slices moved within their plane, off the line on which the others are stacked",
    "gantry tilt": "1: the slices are stacked along a line that is not their normal",
    "not a volume": "slices, which are too few to be a volume",
}
_IRREGULAR = frozenset(
    ("no place", "ambiguous repetitions", "missing slices", "uneven spacing", "shifted slices", "not a volume")
)


@dataclass(frozen=True)
class Finding:
    """Something a user should know of a volume: `kind` and what `count` counts stand in FINDINGS; mm and degrees."""

    kind: Kind
    count: int
    detail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """Slices of one series in order of height. `regular` volumes lie on a lattice and have an affine."""

    series_id: str
    indices: tuple[int, ...]
    shape: tuple[int, int]
    plane: str  # axial, coronal, sagittal, oblique or unknown
    findings: tuple[Finding, ...] = ()
    set_aside: tuple[int, ...] = ()  # duplicates
    spacing_mm: float | None = None  # between slices along the normal: DICOM's Spacing Between Slices
    pixel_spacing_mm: tuple[float, float] | None = None
    orientation: tuple[float, ...] | None = None  # as in Place, the median of the slices, made unit and orthogonal
    origin_mm: tuple[float, ...] | None = None  # center of the first pixel of the first slice
    step_mm: tuple[float, ...] | None = None  # from a slice to the next; off the normal when tilted
    tilt_deg: float = 0.0
    axes: str = ""  # where columns, rows and slices run to, nearest axis: L R, P A, H F; LPH in the usual axial series
    handedness: str = ""  # of (column, row, slice): right, or the volume would be a mirror image; empty when unknown

    @property
    def regular(self) -> bool:
        return not any(finding.kind in _IRREGULAR for finding in self.findings)


def assemble(slices: Sequence[SliceRecord]) -> list[Volume]:
    """Volumes of all series; every slice is in exactly one, among its `indices` or those `set_aside`.

    The result depends on what the slices are, not on the order in which they are given.
    """
    series: dict[str, list[SliceRecord]] = defaultdict(list)
    for item in slices:
        series[item.series_id].append(item)
    return [volume for name in sorted(series) for volume in _series(series[name])]


def _series(slices: Sequence[SliceRecord]) -> list[Volume]:
    apart, mixed = stacks([item for item in slices if has_place(item)])
    findings = [Finding(f"mixed {kind}", number) for kind, number in mixed.items()]
    volumes = [_volume(part, [*findings, *_said(part)]) for stack in apart for part in split_repeats(stack)]
    volumes.sort(key=lambda volume: (-len(volume.indices), volume.orientation, volume.origin_mm, volume.shape))
    lost = sorted((item for item in slices if not has_place(item)), key=lambda item: item.index)
    if lost:
        indices = tuple(item.index for item in lost)
        finding = Finding("no place", len(lost))
        volumes.append(Volume(lost[0].series_id, indices, lost[0].shape, "unknown", (finding,)))
    return volumes


def _said(part: Part) -> list[Finding]:
    found = []
    if part.repetitions > 1:
        found.append(Finding("repeated positions", part.repetitions))
    if part.ambiguous:
        found.append(Finding("ambiguous repetitions", part.ambiguous))
    if part.duplicates:
        found.append(Finding("duplicate slices", len(part.duplicates), part.pixels))
    return found


def _volume(part: Part, findings: Sequence[Finding]) -> Volume:
    slices, first, frame = part.slices, part.slices[0], part.frame
    points = positions(slices) @ frame.T  # along rows, along columns, height
    found, spacing, step = list(findings), None, None
    tilt = 0.0
    # A tilt and a wrong gap show from three slices on; of fewer nothing can be said.
    if len(slices) < LEAST_SLICES or part.one_level:
        found.append(Finding("not a volume", len(slices)))
    if len(slices) > 1 and not part.one_level:
        spacing = spacing_of(np.diff(points[:, 2]))
        lean, shifted = _lean(points, spacing)
        if len(slices) >= LEAST_SLICES:
            tilt = float(np.degrees(np.arctan(np.linalg.norm(lean))))
            found += _gap_findings(points[:, 2], spacing)
            found += shifted
            if tilt > TILT_DEG and np.linalg.norm(lean) * np.ptp(points[:, 2]) > SPACING_MM:
                found.append(Finding("gantry tilt", 1, {"angle_deg": _short(tilt)}))
        step = np.array([*lean, 1.0]) * spacing
        if not any(finding.kind in _IRREGULAR for finding in found):
            step = (points[-1] - points[0]) / (len(points) - 1)
        step = step @ frame
    return Volume(
        series_id=first.series_id,
        indices=tuple(item.index for item in slices),
        shape=first.shape,
        plane=plane_name(tuple(frame[:2].ravel())),
        findings=tuple(found),
        set_aside=tuple(item.index for item in part.duplicates),
        spacing_mm=spacing,
        pixel_spacing_mm=first.pixel_spacing_mm,
        orientation=tuple(map(float, frame[:2].ravel())),
        origin_mm=tuple(map(float, points[0] @ frame)),
        step_mm=None if step is None else tuple(map(float, step)),
        tilt_deg=tilt,
        axes="".join(_letter(direction) for direction in (frame[0], frame[1], frame[2] if step is None else step)),
        handedness="" if step is None else ("right" if frame[2] @ step > 0 else "left"),
    )


def spacing_of(gaps: np.ndarray) -> float:
    """The distance of neighbors, from positive `gaps` in mm: their median, unless slices are missing.

    The commonest gap (of equals the smallest) is the spacing when half of the gaps are like it or all are whole
    multiples of it, so that a gap where slices are missing does not count as one more width.
    """
    ordered = np.sort(gaps)
    width = _tolerance(ordered)
    like = np.searchsorted(ordered, ordered + width, "right") - np.searchsorted(ordered, ordered - width, "left")
    common = ordered[int(np.argmax(like))]
    steps = np.maximum(np.rint(gaps / common), 1)
    whole = np.abs(gaps - steps * common) <= _tolerance(common, steps)
    if whole.all():
        return float(np.median(gaps / steps))
    near = whole & (steps == 1)
    return float(np.median(gaps[near] if 2 * near.sum() >= len(gaps) else gaps))


def _tolerance(spacing: Any, steps: np.ndarray | float = 1) -> Any:
    """mm by which a gap of so many steps may be off. Positions are rounded once, however far apart they are."""
    # Never more than a quarter of the spacing: of slices 0.01 mm apart all gaps would be alike.
    return np.minimum(np.maximum(SPACING_SHARE * spacing * steps, SPACING_MM), spacing / 4)


def _gap_findings(heights: np.ndarray, spacing: float) -> list[Finding]:
    """Missing slices and uneven distances. Details in mm; `after` counts slices from the first."""
    gaps = np.diff(heights)
    steps = np.maximum(np.rint(gaps / spacing), 1)
    off = np.abs(gaps - steps * spacing)
    uneven = off > _tolerance(spacing, steps)
    jumps = (steps > 1) & ~uneven
    found = []
    if jumps.any():
        detail = {
            "gaps": int(jumps.sum()),
            "largest_gap_mm": _short(gaps[jumps].max()),
            "first_gap_after": int(np.argmax(jumps)),
        }
        found.append(Finding("missing slices", int((steps[jumps] - 1).sum()), detail))
    if uneven.any():
        detail = {
            "least_mm": _short(gaps.min()),
            "most_mm": _short(gaps.max()),
            "median_mm": _short(np.median(gaps)),
            "first_after": int(np.argmax(uneven)),
        }
        found.append(Finding("uneven spacing", int(uneven.sum()), detail))
    return found


def _lean(points: np.ndarray, spacing: float) -> tuple[np.ndarray, list[Finding]]:
    """How far slices move along rows and columns per mm of height, and slices that leave that line.

    Medians find the line in spite of slices that are off; a least-squares fit to the others makes it exact.
    """
    height, across = points[:, 2] - points[0, 2], points[:, :2]
    lean = np.median(np.diff(across, axis=0) / np.diff(height)[:, None], axis=0)

    def off_line() -> np.ndarray:
        rest = across - height[:, None] * lean
        off: np.ndarray = np.linalg.norm(rest - np.median(rest, axis=0), axis=1)
        return off

    # Rounded positions make the median of steps coarse: what it sees as off must be off by more.
    inside = off_line() <= _tolerance(spacing) + SPACING_MM
    if inside.sum() > 1:
        h = height[inside] - height[inside].mean()
        lean = h @ (across[inside] - across[inside].mean(axis=0)) / (h @ h)
    off = off_line()
    beyond = off > _tolerance(spacing)
    found = [Finding("shifted slices", int(beyond.sum()), {"most_mm": _short(off.max())})] if beyond.any() else []
    return lean, found


def plane_name(orientation: Sequence[float]) -> str:
    """axial, coronal or sagittal when the normal is within 37 degrees of the body's axis, else oblique.

    Rotation within the plane changes nothing, and a gantry's tilt leaves axial slices axial.
    """
    normal = np.cross(orientation[:3], orientation[3:6])
    normal = np.abs(normal / np.linalg.norm(normal))
    axis = int(np.argmax(normal))
    return ("sagittal", "coronal", "axial")[axis] if normal[axis] > PLANE_COSINE else "oblique"


def _letter(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("LR", "PA", "HF")[axis][int(direction[axis] < 0)]


def _short(value: float) -> float:
    return round(float(value), 4)


def pick(volume: Volume, rule: str) -> tuple[int, ...]:
    """Indices of the slices that enter a cohort of 2D images: `all`, `middle`, or `every:N` from the middle one."""
    if not re.fullmatch(r"all|middle|every:[1-9]\d{0,5}", rule):
        raise ConfigError(Problem("rule for slices", repr(rule), "all, middle, every:N with N from 1 up"))
    return tuple(volume.indices[i] for i in ReadOptions(slices=rule).pick(len(volume.indices)))


def affine_lps(volume: Volume) -> np.ndarray:
    """[4, 4]: (slice, row, column, 1) to mm. Raises InputError when the volume lies on no lattice.

    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, with the slices' axis added.
    """
    broken = [finding.kind for finding in volume.findings if finding.kind in _IRREGULAR]
    if volume.pixel_spacing_mm is None:
        broken.append("no pixel spacing")
    if broken:
        remedy = "take its slices one by one, or mend the series"
        raise InputError(Problem("volume", f"has no affine: {', '.join(broken)}", "a regular volume", remedy))
    assert volume.orientation is not None
    assert volume.step_mm is not None
    assert volume.origin_mm is not None
    assert volume.pixel_spacing_mm is not None
    affine = np.eye(4)
    affine[:3, 0] = volume.step_mm
    affine[:3, 1] = np.multiply(volume.orientation[3:], volume.pixel_spacing_mm[0])
    affine[:3, 2] = np.multiply(volume.orientation[:3], volume.pixel_spacing_mm[1])
    affine[:3, 3] = volume.origin_mm
    return affine


def volume_report(volumes: Sequence[Volume]) -> dict[str, Any]:
    """What was assembled, JSON-able: counts, in how many volumes each finding occurs, and every volume in turn."""
    kinds = Counter(kind for volume in volumes for kind in {finding.kind for finding in volume.findings})
    return {
        "series": len({volume.series_id for volume in volumes}),
        "volumes": len(volumes),
        "regular": sum(volume.regular for volume in volumes),
        "slices": sum(len(volume.indices) for volume in volumes),
        "set_aside": sum(len(volume.set_aside) for volume in volumes),
        "findings": {kind: kinds[kind] for kind in FINDINGS if kinds[kind]},
        "each": [_summary(volume) for volume in volumes],
    }


def _summary(volume: Volume) -> dict[str, Any]:
    return {
        "series_id": volume.series_id,
        "slices": len(volume.indices),
        "set_aside": len(volume.set_aside),
        "regular": volume.regular,
        "plane": volume.plane,
        "axes": volume.axes,
        "handedness": volume.handedness or None,
        "rows": volume.shape[0],
        "columns": volume.shape[1],
        "spacing_mm": None if volume.spacing_mm is None else _short(volume.spacing_mm),
        "pixel_spacing_mm": list(volume.pixel_spacing_mm) if volume.pixel_spacing_mm else None,
        "tilt_deg": _short(volume.tilt_deg),
        "findings": [{"kind": f.kind, "count": f.count, **f.detail} for f in volume.findings],
    }
