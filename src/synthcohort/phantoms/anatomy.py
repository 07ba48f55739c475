"""The shape of a knee: what stays the same in every image of a patient, and what osteoarthritis does to it.

Bone coordinates are millimeters in the image plane: x grows to the lateral side (fibula), y grows downwards (distal),
the origin is the middle of the tibial plateau.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthcohort.core.seeds import rng as named_rng
from synthcohort.core.seeds import seed_from

Laterality = Literal["L", "R"]
Compartment = Literal["medial", "lateral"]
NUM_GRADES = 5

# By severity 0-4: share of the joint space lost in the affected compartment and in the other one, length of the spurs
# (mm), thickening and whitening of the bone under the cartilage (0-1). After Kellgren and Lawrence 1957: grade 2 is the
# first with definite osteophytes, grade 3 the first with definite narrowing, grade 4 nearly loses the joint space.
SPACE_LOST = (0.0, 0.09, 0.21, 0.48, 0.82)
SPACE_LOST_ELSEWHERE = (0.0, 0.02, 0.04, 0.08, 0.15)
SPUR_MM = (0.0, 0.6, 1.9, 3.3, 5.0)
SCLEROSIS = (0.0, 0.08, 0.25, 0.6, 1.0)


@dataclass(frozen=True)
class Anatomy:
    """One patient's bones; lengths in mm."""

    half_width: float = 41.0  # femur at the epicondyles
    tibia_ratio: float = 0.95  # tibial plateau against it
    flare: float = 0.30  # how much the femur narrows upwards, and the tibia downwards
    joint_space_medial: float = 5.6
    joint_space_lateral: float = 6.2
    plateau_tilt: float = 0.0  # mm per mm
    plateau_dish: float = 1.2
    spine_height: float = 7.0
    spine_gap: float = 9.0
    notch_height: float = 6.5
    notch_half_width: float = 9.5
    condyle_curvature: float = 0.005  # 1/mm
    patella_x: float = 2.0
    patella_y: float = -35.0
    patella_radius: float = 20.0
    fibula_x: float = 37.0
    fibula_y: float = 19.0
    fibula_radius: float = 8.5
    soft_half_width: float = 62.0
    bone_density: float = 1.0
    cortex_mm: float = 1.3
    trabecular_contrast: float = 1.0
    scar_y: float = 15.0  # closed growth plate of the tibia; the femur's lies at twice the height
    texture_seed: int = 0


@dataclass(frozen=True)
class Knee:
    """One knee of a patient at one severity: everything that the rendering does not draw anew for each image."""

    anatomy: Anatomy
    severity: int
    laterality: Laterality = "R"
    affected: Compartment = "medial"
    space_lost: tuple[float, float] = (0.0, 0.0)  # medial, lateral, mm
    spurs: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # femur medial, lateral; tibia medial, lateral, mm
    sclerosis: float = 0.0

    @property
    def joint_space(self) -> tuple[float, float]:
        """Medial and lateral joint space in mm: exact, measured on the bone contours of this knee."""
        x = np.linspace(14.0, 30.0, 641)
        return tuple(float(np.min(plateau(self, s * x) - condyles(self, s * x))) for s in (-1, 1))  # type: ignore[return-value]


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient's bones, drawn around an adult's."""

    def around(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.standard_normal(), -2.2, 2.2))

    half_width = around(40.5, 2.2)
    space = around(5.7, 0.45)
    tibia_ratio = around(0.95, 0.018)
    return Anatomy(
        half_width=half_width,
        tibia_ratio=tibia_ratio,
        flare=around(0.30, 0.035),
        joint_space_medial=space,
        joint_space_lateral=space + around(0.6, 0.35),
        plateau_tilt=around(0.0, 0.018),
        plateau_dish=around(1.2, 0.4),
        spine_height=around(6.6, 0.9),
        spine_gap=around(9.0, 1.0),
        notch_height=around(6.5, 1.0),
        notch_half_width=around(9.5, 0.8),
        condyle_curvature=around(0.005, 0.001),
        patella_x=around(2.0, 3.0),
        patella_y=around(-35.0, 4.0),
        patella_radius=around(20.0, 1.6),
        fibula_x=half_width * tibia_ratio + around(-1.5, 2.2),
        fibula_y=around(19.0, 2.5),
        fibula_radius=around(8.5, 0.8),
        soft_half_width=around(62.0, 7.0),
        bone_density=around(1.0, 0.09),
        cortex_mm=around(1.3, 0.2),
        trabecular_contrast=max(0.3, around(1.0, 0.28)),
        scar_y=around(15.0, 1.6),
        texture_seed=int(rng.integers(2**62)),
    )


def draw_knee(anatomy: Anatomy, severity: int, laterality: Laterality, rng: np.random.Generator) -> Knee:
    """This patient's left or right knee at severity 0-4: where the joint space goes and where spurs grow."""
    if severity not in range(NUM_GRADES):
        raise ValueError(f"severity {severity}; allowed: 0 to {NUM_GRADES - 1}")
    affected: Compartment = "medial" if rng.random() < 0.75 else "lateral"
    jitter = rng.uniform(0.9, 1.1, 2)
    near, far = SPACE_LOST[severity] * jitter[0], SPACE_LOST_ELSEWHERE[severity] * jitter[1]
    medial, lateral = (near, far) if affected == "medial" else (far, near)
    # Spurs grow most where the space is lost; no margin of a diseased knee is without.
    weights = np.array([1.0, 0.6, 1.1, 0.7]) if affected == "medial" else np.array([0.6, 1.0, 0.7, 1.1])
    spurs = SPUR_MM[severity] * weights * rng.uniform(0.8, 1.2, 4)
    return Knee(
        anatomy,
        severity,
        laterality,
        affected,
        (float(medial * anatomy.joint_space_medial), float(lateral * anatomy.joint_space_lateral)),
        tuple(float(s) for s in spurs),  # type: ignore[arg-type]
        float(SCLEROSIS[severity] * rng.uniform(0.85, 1.15)),
    )


def patient_knee(seed: int, severity: int, laterality: Laterality = "R") -> Knee:
    """A knee by number: the same seed is the same patient, at any severity and on either side."""
    anatomy = draw_anatomy(named_rng("phantom anatomy", seed))
    return draw_knee(anatomy, severity, laterality, named_rng("phantom knee", seed_from(seed), laterality))


def plateau(knee: Knee, x: np.ndarray) -> np.ndarray:
    """Height y of the tibia's upper contour without its spines: two shallow dishes and a rise between them."""
    a = knee.anatomy
    rise = 2.2 * np.exp(-((x / 11.0) ** 2))
    dish = a.plateau_dish * np.exp(-(((np.abs(x) - 22.0) / 11.0) ** 2))
    fall = 0.0035 * np.maximum(np.abs(x) - 28.0, 0.0) ** 2
    return a.plateau_tilt * x + dish - rise + fall


def spines(knee: Knee, x: np.ndarray) -> np.ndarray:
    """How far the two intercondylar spines stand above the plateau."""
    a = knee.anatomy
    medial = np.exp(-(((x + a.spine_gap / 2) / 3.4) ** 2))
    lateral = 0.82 * np.exp(-(((x - a.spine_gap / 2) / 3.0) ** 2))
    return (a.spine_height - 2.2) * np.maximum(medial, lateral)


def condyles(knee: Knee, x: np.ndarray) -> np.ndarray:
    """Height y of the femur's lower contour: the plateau's, lifted by the joint space, the notch and the curvature."""
    a = knee.anatomy
    medial = a.joint_space_medial - knee.space_lost[0]
    lateral = a.joint_space_lateral - knee.space_lost[1]
    side = 1.0 / (1.0 + np.exp(-x / 2.5))
    space = medial * (1.0 - side) + lateral * side
    notch = a.notch_height * np.exp(-((np.abs(x) / a.notch_half_width) ** 2.2))
    curve = a.condyle_curvature * (np.abs(x) - 22.0) ** 2
    return plateau(knee, x) - space - notch - curve
