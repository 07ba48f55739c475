"""A cohort as a torch data set, for users who train on it."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthcohort.core.cohort import Cohort
from synthcohort.imaging.intensity import to_unit, value_range_of

COLUMNS = ("image_id", "patient_id", "sex", "age", "caption")


class CohortDataset(Dataset[dict[str, Any]]):
    """Map-style data set: `image` float32 [C, H, W] in [-1, 1], `image_id` and the other columns.

    An absent number is NaN, an absent word is "", an absent class is -1, so that torch's default collate works.
    Nominal labels are given as their index in `cohort.labels[name].values`.
    """

    def __init__(self, cohort: Cohort):
        self.cohort = cohort
        self._records = cohort.records.select(
            [*COLUMNS, "bits_stored", "window_center", "window_width", *cohort.labels]
        ).to_pylist()

    def __len__(self) -> int:
        return len(self.cohort)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = self.cohort.image(index)
        record = self._records[index]
        image = to_unit(pixels, value_range_of(pixels.dtype, record["bits_stored"]))
        planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
        item: dict[str, Any] = {"image": torch.from_numpy(np.ascontiguousarray(planes))}
        for name in COLUMNS:
            value = record[name]
            item[name] = value if value is not None else float("nan") if name == "age" else ""
        for label in self.cohort.labels.values():
            value = record[label.name]
            if label.kind == "continuous":
                item[label.name] = float("nan") if value is None else float(value)
            else:
                item[label.name] = -1 if value is None else label.values.index(value)
        return item
