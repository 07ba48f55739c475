"""Rendering: a knee to a 12-bit anteroposterior radiograph, by a small model of X-ray absorption.

Bones are signed distance fields with a dense shell (cortex) around a spongy core (trabeculae); what the detector sees
is the path length through each. Everything is numpy over one image: a few milliseconds at 128 pixels.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage

from synthcohort.core.seeds import rng as named_rng
from synthcohort.phantoms.anatomy import Knee, condyles, plateau, spines

FIELD_MM = 98.0  # what the shorter side of an image shows
BITS_STORED = 12
_TEXTURE_CELL_MM = 0.5
_TEXTURE_CELLS = 208


@dataclass(frozen=True)
class Positioning:
    """What differs from one image of a knee to the next: how it lay and how it was exposed."""

    rotation_deg: float = 0.0
    shift_x_mm: float = 0.0
    shift_y_mm: float = 0.0
    magnification: float = 1.0
    beam_mm: float = 2.5  # distance between the front and back rim of the plateau, from the angle of the beam
    low: float = 350.0  # detector values of air and of the densest bone
    high: float = 3500.0
    gamma: float = 1.0
    heel: float = 0.0  # the tube's intensity falls off along one axis
    noise: float = 40.0  # standard deviation in detector values at 1 mm pixels
    collimated_mm: float = 0.0  # a shutter's shadow at one side


def draw_positioning(rng: np.random.Generator) -> Positioning:
    """How one image was taken."""
    return Positioning(
        rotation_deg=float(rng.normal(0.0, 2.2)),
        shift_x_mm=float(rng.normal(0.0, 2.0)),
        shift_y_mm=float(rng.normal(1.0, 2.2)),
        magnification=float(rng.normal(1.0, 0.02)),
        beam_mm=float(rng.uniform(1.2, 4.2)),
        low=float(rng.uniform(150.0, 700.0)),
        high=float(rng.uniform(2700.0, 3900.0)),
        gamma=float(rng.uniform(0.8, 1.3)),
        heel=float(rng.normal(0.0, 0.05)),
        noise=float(rng.uniform(20.0, 55.0)),
        collimated_mm=float(rng.uniform(3.0, 9.0)) if rng.random() < 0.07 else 0.0,
    )


def knee(params: Knee, size: int | tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """One radiograph of this knee, uint16 with 12 bits, and its exact truth; `rng` draws positioning and noise.

    The patient's right is on the viewer's left, so a right knee shows its fibula on the left.
    """
    return render(params, size, draw_positioning(rng), rng)


def render(
    params: Knee, size: int | tuple[int, int], positioning: Positioning, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """The radiograph for a given positioning; without `rng` it has no noise."""
    rows, columns = (size, size) if isinstance(size, int) else size
    spacing = FIELD_MM / min(rows, columns)
    x, y = _bone_coordinates(params, positioning, rows, columns, spacing)
    absorbed = _absorption(params, positioning, x, y, spacing)
    image = _expose(absorbed, positioning, spacing, rng)
    medial, lateral = params.joint_space
    truth = {
        "severity": params.severity,
        "laterality": params.laterality,
        "affected": params.affected,
        "joint_space_medial_mm": medial,
        "joint_space_lateral_mm": lateral,
        "joint_space_mm": min(medial, lateral),
        "osteophyte_mm": max(params.spurs),
        "sclerosis": params.sclerosis,
        "pixel_spacing_mm": spacing,
        **{key: value for key, value in asdict(positioning).items() if key in ("rotation_deg", "magnification")},
    }
    return image, truth


def _bone_coordinates(
    params: Knee, positioning: Positioning, rows: int, columns: int, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bone coordinates of every pixel's center, each [rows, columns] float32."""
    u = (np.arange(columns, dtype=np.float32) + 0.5) * spacing - columns * spacing / 2 - positioning.shift_x_mm
    v = (np.arange(rows, dtype=np.float32) + 0.5) * spacing - 0.55 * rows * spacing - positioning.shift_y_mm
    angle = np.deg2rad(positioning.rotation_deg)
    c, s = np.float32(np.cos(angle) / positioning.magnification), np.float32(np.sin(angle) / positioning.magnification)
    x = c * u[None, :] + s * v[:, None]
    y = c * v[:, None] - s * u[None, :]
    return (-x if params.laterality == "R" else x), y


def _absorption(params: Knee, positioning: Positioning, x: np.ndarray, y: np.ndarray, spacing: float) -> np.ndarray:
    """What each ray loses, about 0 in air to 2 in the densest bone."""
    a = params.anatomy
    grid = np.linspace(-80.0, 80.0, 1601, dtype=np.float32)
    y_plateau = _lookup(x, grid, plateau(params, grid))
    y_tibia = y_plateau - _lookup(x, grid, spines(params, grid))
    y_femur = _lookup(x, grid, condyles(params, grid))
    edge = a.half_width * a.tibia_ratio
    side = np.abs(x)

    # Femur: between its sides and above the condyles, corners rounded.
    up = np.clip((-y - 20.0) / 38.0, 0.0, 1.0)
    flare = a.half_width * (1.0 - a.flare * up * up * (3.0 - 2.0 * up))
    flare -= 0.004 * np.clip(-y - 4.0, -30.0, 14.0) ** 2 * (y > -18.0)  # the epicondyles stand out
    femur = _smooth_min(flare - side, (y_femur - y) * np.float32(0.94), 7.0)
    # Tibia: below the plateau, waisted towards the shaft; its lateral side overhangs more.
    down = np.clip((y - 3.0) / 46.0, 0.0, 1.0)
    waist = edge * (1.0 - (a.flare + 0.08 + 0.03 * np.sign(x)) * down * down * (3.0 - 2.0 * down))
    tibia = _smooth_min((waist - side) * np.float32(0.9), y - y_tibia, 6.0)
    # Spurs at the four margins of the joint.
    for index, length in enumerate(params.spurs):
        if length > 0.2:
            sign = -1.0 if index % 2 == 0 else 1.0
            margin = sign * (a.half_width - 1.5) if index < 2 else sign * (edge - 0.5)
            at = float(np.interp(margin, grid, condyles(params, grid) if index < 2 else plateau(params, grid)))
            at += -2.4 - 0.5 * length if index < 2 else 1.6 + 0.25 * length
            spur = _ellipse(x - margin - sign * 0.1 * length, y - at, 0.9 * length + 1.0, 0.4 * length + 1.8)
            if index < 2:
                femur = -_smooth_min(-femur, -spur, 3.0)
            else:
                tibia = -_smooth_min(-tibia, -spur, 3.0)
    patella = _ellipse(x - a.patella_x, y - a.patella_y, a.patella_radius, a.patella_radius * 1.06)
    head = _ellipse(x - a.fibula_x, y - a.fibula_y, a.fibula_radius, a.fibula_radius * 1.25)
    shaft = np.minimum(0.62 * a.fibula_radius - np.abs(x - a.fibula_x + 0.04 * (y - a.fibula_y)), y - a.fibula_y)
    fibula = -_smooth_min(-head, -shaft, 4.0)

    spongy, streaks = _texture(a.texture_seed, x, y)
    # A coarse pixel averages over several trabeculae.
    grain = np.float32(a.trabecular_contrast * min(1.0, 0.8 / spacing)) * (0.06 * spongy + 0.085 * streaks)
    density = np.float32(a.bone_density)
    width = max(spacing, 0.35)

    soft = np.sqrt(np.clip(1.0 - (x / a.soft_half_width) ** 2, 0.0, 1.0)) * 0.62
    soft += 0.10 * _inside(np.minimum(side - a.half_width * 0.6, a.soft_half_width - 6.0 - side), 12.0)
    total = soft
    for bone, amount, depth in ((femur, 0.58, 12.0), (tibia, 0.55, 10.0), (fibula, 0.17, 6.0)):
        inside = _inside(bone, width)
        core = _chord(bone, depth)
        shell = core - _chord(bone - a.cortex_mm, depth)
        total += density * (amount * core * (1.0 + grain) + 0.60 * amount / 0.58 * shell) * inside
    total += 0.20 * density * _chord(patella, 12.0) * (1.0 + 2.0 * grain) + 0.05 * _line(patella - 0.8, 0.9)

    total += _details(params, positioning, x, y, y_tibia, y_plateau, femur, tibia, y_femur, spacing)
    return total


def _details(
    params: Knee, positioning: Positioning, x: np.ndarray, y: np.ndarray, y_tibia: np.ndarray, y_plateau: np.ndarray,
    femur: np.ndarray, tibia: np.ndarray, y_femur: np.ndarray, spacing: float,
) -> np.ndarray:
    """The lines a reader looks for: subchondral plates, the plateau's far rim, notch walls, growth plate scars."""
    a = params.anatomy
    side = np.abs(x)
    in_tibia, in_femur = _inside(tibia, spacing), _inside(femur, spacing)
    # Subchondral plates; sclerosis thickens and whitens the affected side.
    sign = -1.0 if params.affected == "medial" else 1.0
    where = np.exp(-(((sign * x - 24.0) / 13.0) ** 2)) * np.float32(params.sclerosis)
    below, above = y - y_tibia, y_femur - y
    bearing = 1.0 / (1.0 + np.exp(-(side - 9.0) / 2.0))
    lines = in_tibia * bearing * (0.30 + 0.20 * where) * _line(below - 1.0, 0.9 + 0.9 * where)
    lines += in_femur * (0.16 + 0.14 * where) * _line(above - 0.7, 0.8 + 0.7 * where)
    lines += 0.30 * where * in_tibia * np.exp(-np.clip(below, 0.0, 60.0) / 5.5)
    lines += 0.16 * where * in_femur * np.exp(-np.clip(above, 0.0, 60.0) / 4.5)
    # The far rim of the plateau, and the spines' own edge.
    rim = positioning.beam_mm + 0.02 * (side - 20.0)
    lines += 0.12 * in_tibia * bearing * _line(y - y_plateau - rim, 0.9)
    lines += 0.2 * in_tibia * (1.0 - bearing) * _line(below - 0.6, 0.9)
    # Walls and roof of the notch, seen through the femur.
    wall = _line(side - a.notch_half_width * (0.92 + 0.004 * (y + 20.0)), 1.0)
    fade = np.clip((-y - 8.0) / 6.0, 0.0, 1.0) * np.clip((y + 40.0) / 14.0, 0.0, 1.0)
    lines += 0.13 * wall * fade * in_femur
    # Closed growth plates.
    wave = 1.2 * np.cos(x / 9.0)
    lines += 0.075 * _line(y - a.scar_y - wave + 0.004 * x * x, 1.0) * in_tibia
    lines += 0.09 * _line(y + 2.0 * a.scar_y - 2.0 * wave, 1.1) * in_femur * _inside(side - 11.0, 6.0)
    return lines


def _expose(absorbed: np.ndarray, p: Positioning, spacing: float, rng: np.random.Generator | None) -> np.ndarray:
    """Absorption to detector values: tube, shutter, film curve, blur and noise."""
    rows, columns = absorbed.shape
    ramp = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None, :]
    signal = np.clip((absorbed * (1.0 + np.float32(p.heel) * ramp) - 0.3) / 1.2, 0.0, 1.2) ** np.float32(p.gamma)
    values = p.low + (p.high - p.low) * signal
    if p.collimated_mm:
        shadow = _inside((1.0 - np.abs(ramp)) * (columns * spacing / 2) - p.collimated_mm, spacing)
        values = values * (0.25 + 0.75 * np.broadcast_to(shadow, values.shape))
    values = ndimage.gaussian_filter(values, max(0.32, 0.35 / spacing), truncate=3.0)
    if rng is not None:
        quanta = rng.standard_normal((rows, columns), dtype=np.float32)
        # Denser parts let fewer quanta through; coarser pixels collect more of them.
        values = values + quanta * (p.noise / max(spacing, 0.4)) * (0.7 + 0.6 * np.clip(signal, 0.0, 1.0))
    return np.clip(np.rint(values), 0, 2**BITS_STORED - 1).astype(np.uint16)


@lru_cache(maxsize=8)
def _texture_fields(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two unit-variance noise fields in bone coordinates: isotropic sponge, and streaks along the load."""
    rng = named_rng("phantom texture", seed)
    white = rng.standard_normal((2, _TEXTURE_CELLS, _TEXTURE_CELLS), dtype=np.float32)
    sponge = ndimage.gaussian_filter(white[0], 0.9, mode="wrap", truncate=3.0)
    sponge -= ndimage.uniform_filter(white[0], 13, mode="wrap")
    streaks = ndimage.gaussian_filter(white[1], (3.4, 0.8), mode="wrap", truncate=3.0)
    streaks -= ndimage.uniform_filter(white[1], (21, 9), mode="wrap")
    return sponge / sponge.std(), streaks / streaks.std()


def _texture(seed: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two noise fields at these points, by bilinear interpolation; they repeat like tiles."""
    i, j = y / _TEXTURE_CELL_MM, x / _TEXTURE_CELL_MM
    i0, j0 = np.floor(i), np.floor(j)
    fi, fj = i - i0, j - j0
    top, left = i0.astype(np.intp) % _TEXTURE_CELLS, j0.astype(np.intp) % _TEXTURE_CELLS
    below, right = (top + 1) % _TEXTURE_CELLS, (left + 1) % _TEXTURE_CELLS
    corners = (
        (top * _TEXTURE_CELLS + left, (1 - fi) * (1 - fj)),
        (top * _TEXTURE_CELLS + right, (1 - fi) * fj),
        (below * _TEXTURE_CELLS + left, fi * (1 - fj)),
        (below * _TEXTURE_CELLS + right, fi * fj),
    )
    sponge, streaks = (sum(weight * field.ravel()[at] for at, weight in corners) for field in _texture_fields(seed))
    return np.asarray(sponge), np.asarray(streaks)


def _lookup(x: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.interp(x, grid, values).astype(np.float32)


def _ellipse(x: np.ndarray, y: np.ndarray, radius_x: float, radius_y: float) -> np.ndarray:
    """Approximate distance to an ellipse's edge in mm, positive inside."""
    return (1.0 - np.sqrt((x / radius_x) ** 2 + (y / radius_y) ** 2)) * np.float32(min(radius_x, radius_y))


def _smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The smaller of two distances, with the corner rounded over about k mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0.0, 1.0)
    return b + (a - b) * h - k * h * (1.0 - h)


def _inside(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside, 0 outside, a ramp of `width` mm at the edge."""
    return np.clip(0.5 + distance / np.float32(width), 0.0, 1.0)


def _line(distance: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """A soft line where the distance is zero."""
    return np.exp(-((distance / width) ** 2))


def _chord(distance: np.ndarray, radius: float) -> np.ndarray:
    """Path length through a body with rounded edges, 1 from `radius` mm inside on."""
    d = np.clip(distance, 0.0, radius)
    return np.sqrt(d * (2.0 * radius - d)) / np.float32(radius)
