from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng

SIZE = 32
GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))


def toy_image(grade: int, generator: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """A bright bar whose width tells the grade, at a random height, on noise."""
    image = generator.normal(60, 6, (size, size))
    middle = int(generator.integers(size // 3, 2 * size // 3))
    half = 2 + 3 * grade
    image[max(0, middle - half) : middle + half, size // 8 : -size // 8] += 90 + generator.normal(0, 10)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def toy_cohort(
    path: Path,
    origin: str = "real",
    num: int = 120,
    seed: int = 0,
    size: int = SIZE,
    grades=None,
    labels=(GRADE,),
    patients: bool = True,
    roles=("train", "train", "train", "validation", "control", "test", "test"),
    draw=toy_image,
    **info,
) -> Cohort:
    """A cohort of bars: two images a patient, roles by patient."""
    writer = CohortWriter(path, f"toy {origin}", origin, labels, {"made": "by a test"}, "f")
    for i in range(num):
        generator = rng("toy", origin, seed, i)
        grade = int(i % 3) if grades is None else int(grades[i])
        patient = i // 2
        record = {"image_id": f"{origin[0]}{seed}-{i:04d}", "grade": grade, "bits_stored": 8}
        if origin == "real":
            record |= {"split": roles[patient % len(roles)], "patient_id": f"p{patient:03d}" if patients else None}
        else:
            record["seed"] = i
        known = {label.name for label in labels}
        writer.add(draw(grade, generator, size), {k: v for k, v in record.items() if k != "grade" or "grade" in known})
    return writer.finish(**info)


@pytest.fixture(scope="session")
def toys():
    """Builds cohorts; toys.cohort(path, origin, …)."""
    return SimpleNamespace(cohort=toy_cohort, image=toy_image, grade=GRADE)


@pytest.fixture
def cohorts(tmp_path):
    """A real and a synthetic cohort of the same distribution."""
    return toy_cohort(tmp_path / "real"), toy_cohort(tmp_path / "synthetic", "synthetic", num=60, screened=True)
