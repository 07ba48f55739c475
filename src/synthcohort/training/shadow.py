"""Shadows: generators that are trained as another one is, on other patients, so that an audit can compare with them.

Words: a *shadow* learns from half of the patients of the roles train and control together. Shadows 2k and 2k + 1 are a
*pair*: what one half is to the first, the other is to the second. Over a pair each patient is seen by one shadow and
not by the other, whatever the role, so that an attack built on shadows treats those whom the audited generator learned
from and those it did not exactly alike (docs/decisions/0032-shadow-models.md).

A shadow saw control patients: nothing may be generated from it, and no other training may begin with it.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import write_artifact
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import rng
from synthcohort.training.joint import ImageType

FORMAT, VERSION = "shadow", 1
ROLES = ("train", "control")  # whose patients are halved


def shadow_types(types: Sequence[ImageType], number: int) -> list[ImageType]:
    """The image types with the images of shadow `number` for training; those for validation stay.

    A patient in several cohorts stands on one side in all of them. Raises InputError when there are no control images,
    or when a half leaves a cohort without images.
    """
    pools = [_pool(view) for kind in types for view in kind.train]
    problems: list[Problem | str] = []
    if not any("control" in pool.column("split") for pool in pools):
        remedy = "ingest it with a control share"
        problems.append(Problem("setting train.shadow", "no image has the role 'control'", "control patients", remedy))
    chosen = half(_all_owners(pools), number)
    sides = [pool.select(indices=[i for i, name in enumerate(owners(pool)) if name in chosen]) for pool in pools]
    problems += [
        Problem(f"cohort {side.path}", f"shadow {number} gets none of its images", "more patients") for side in sides
        if not len(side)
    ]  # fmt: skip
    if problems:
        raise InputError(*problems)
    left = iter(sides)
    return [replace(kind, train=tuple(next(left) for _ in kind.train)) for kind in types]


def half(names: Iterable[str], number: int) -> frozenset[str]:
    """The patients of a shadow: a random half of all, and for the other shadow of its pair the rest."""
    known = sorted(set(names))
    order = rng("shadow pair", number // 2).permutation(len(known))
    middle = (len(known) + 1) // 2
    return frozenset(known[i] for i in (order[:middle] if number % 2 == 0 else order[middle:]))


def owners(view: Cohort) -> list[str]:
    """What each image belongs to: its group, else its patient, else itself alone."""
    columns = (view.column("group_id"), view.column("patient_id"), view.image_ids)
    return [
        f"group {group}" if group is not None
        else f"patient {patient}" if patient is not None
        else f"image {view.digest} {image}"
        for group, patient, image in zip(*columns, strict=True)
    ]  # fmt: skip


def _pool(view: Cohort) -> Cohort:
    cohort = Cohort.open(view.path)
    return cohort.select(indices=[i for i, role in enumerate(cohort.column("split")) if role in ROLES])


def _all_owners(views: Iterable[Cohort]) -> list[str]:
    return [name for view in views for name in owners(view)]


def say_shadow(run: RunFolder, types: Sequence[ImageType], number: int | None) -> None:
    """Writes shadow.json (which images the shadow sees) and counts into run.json, and warns; nothing for no shadow."""
    if number is None:
        return
    views = [view for kind in types for view in kind.train]
    pools = [_pool(view) for view in views]
    facts = {
        "number": number,
        "images": sum(map(len, views)), "of_images": sum(map(len, pools)),
        "patients": len(set(_all_owners(views))), "of_patients": len(set(_all_owners(pools))),
    }  # fmt: skip
    seen = [{"cohort": view.digest, "image_ids": sorted(view.image_ids)} for view in views]
    write_artifact(run.path / "shadow.json", FORMAT, VERSION, {"number": number, "sensitive": True, "seen": seen})
    run.update(shadow=facts)
    share = f"{facts['images']} of {facts['of_images']} images of training and control patients"
    print(f"warning: shadow {number} learns from {share}: it is for an audit alone", file=sys.stderr, flush=True)


def shadow_facts(run: RunFolder) -> dict[str, Any]:
    """The counts for model.json; empty for a run that is no shadow."""
    return {"shadow": run.info["shadow"]} if run.info.get("shadow") else {}


def refuse_shadow_start(start: Path | None, facts: dict[str, Any]) -> None:
    """Raises InputError when the run to start from is a shadow: its weights remember control patients."""
    if facts.get("shadow"):
        found = f"is shadow {facts['shadow']['number']} of an audit: its weights saw control patients"
        raise InputError(Problem(f"--from {start}", found, "a run without train.shadow"))
