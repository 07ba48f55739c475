"""The owner's private folder: what shows real images. It never leaves; nothing of it enters report.html or a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_artifact, write_atomic
from synthcohort.learning.search import CopyHits
from synthcohort.pages.grids import class_sheets, sheet
from synthcohort.pages.owner import Pair, render_owner

PAIRS = 24
TILE = 128
MEANING = (
    "the log odds that a pair is a copy and not two strangers, brought to the range from −1 to 1; "
    "at 0 both are equally likely"
)


def write_owner(
    folder: Path,
    train: Cohort,
    synthetic: Cohort,
    hits: CopyHits,
    threshold: float,
    control: Mapping[str, Any] | None = None,
) -> None:
    """Writes owner/near.json, which names the images above the threshold for release and refill, and
    owner/report.html: the synthetic images most like a training image, each beside it, and sheets of both.

    `hits` belong to the images of `synthetic` and point into `train`.
    """
    order = np.argsort(-hits.similarity, kind="stable")[:PAIRS]
    made, real = synthetic.image_ids, train.image_ids
    pairs = [
        Pair(
            synthetic=sheet([synthetic.image(int(i))], tile=TILE),
            real=sheet([train.image(int(hits.nearest[i]))], tile=TILE),
            synthetic_id=made[int(i)],
            real_id=real[int(hits.nearest[i])],
            similarity=float(hits.similarity[i]),
            flagged=bool(hits.similarity[i] > threshold),
        )
        for i in order
    ]
    beside = class_sheets(train)
    sheets = {name: (beside[name].png, made.png) for name, made in class_sheets(synthetic).items() if name in beside}
    page = render_owner(synthetic.name, pairs, threshold=threshold, control=control, meaning=MEANING, sheets=sheets)
    write_atomic(folder / "report.html", page)
    near = [
        {"image_id": made[int(i)], "similarity": float(hits.similarity[i])}
        for i in np.argsort(-hits.similarity, kind="stable")
        if hits.similarity[i] > threshold
    ]
    write_artifact(folder / "near.json", "near", 1, {"synthetic_digest": synthetic.digest, "images": near})
