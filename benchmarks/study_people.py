"""Cohorts of phantom knees and a study of them, for the runs that need a real server: browser, load, leaks."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng
from synthcohort.phantoms.anatomy import draw_anatomy, draw_knee
from synthcohort.phantoms.knee import knee


def phantom_cohort(path: Path, origin: str, count: int, size: int) -> Cohort:
    """Grades by turns; the "synthetic" ones are other phantoms, a little smoother, as a generator's images are."""
    if (path / "cohort.json").is_file():
        return Cohort.open(path)
    writer = CohortWriter(path, origin, origin, [LabelColumn("kl_grade", "ordinal", (0, 1, 2, 3, 4))], {}, "phantoms")
    for i in range(count):
        grade = i % 5
        body = draw_anatomy(rng("study phantom", origin, i))
        side = "L" if i % 2 else "R"
        image, truth = knee(
            draw_knee(body, grade, side, rng("study side", origin, i)), size, rng("study view", origin, i)
        )
        if origin == "synthetic":
            image = np.rint(ndimage.gaussian_filter(image.astype(float), 0.7)).astype(np.uint16)
        words = f"Anteroposterior radiograph of a {'left' if side == 'L' else 'right'} knee, grade {grade}"
        record = {"image_id": f"{origin}-{i:04d}", "kl_grade": int(truth["severity"]), "caption": words}
        if origin == "real":
            record |= {"patient_id": f"p{i:04d}", "group_id": f"p{i:04d}", "split": "test"}
        writer.add(image, {**record, "bits_stored": 12, "laterality": side})
    return writer.finish(screened=True)
