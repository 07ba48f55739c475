from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng


def person(number: int, size: int = 48) -> np.ndarray:
    """An image whose coarse anatomy everybody shares, with fine texture of its own."""
    y, x = np.mgrid[:size, :size] / size
    anatomy = 110 + 60 * np.cos(2 * np.pi * (x - 0.5)) * np.cos(np.pi * (y - 0.5))
    texture = ndimage.gaussian_filter(rng("person", number).normal(size=(size, size)), 1.2 * size / 48)
    return np.clip(np.rint(anatomy + 22 * texture / texture.std()), 0, 255).astype(np.uint8)


def people(path, count: int, roles=("train",), images: int = 1, size: int = 48) -> Cohort:
    """A cohort of people with `images` images each; their label is whether the number is odd."""
    writer = CohortWriter(path, "people", "real", (LabelColumn("odd", "nominal", ("no", "yes")),), {}, "f")
    for number in range(count * images):
        owner = number // images
        writer.add(
            person(number, size),
            {"image_id": f"i{number:04d}", "patient_id": f"p{owner:04d}", "split": roles[owner % len(roles)],
             "odd": "yes" if owner % 2 else "no", "bits_stored": 8},
        )  # fmt: skip
    return writer.finish()


@pytest.fixture(scope="session")
def made():
    return SimpleNamespace(person=person, people=people)
