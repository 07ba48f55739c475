"""What is compared with what: both cohorts opened and checked, every obstacle said before anything is computed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.seeds import rng
from synthcohort.imaging.geometry import placement

LEAST_IMAGES = 12  # of train, test and synthetic each: with fewer no figure means anything


@dataclass(frozen=True)
class Inputs:
    """Two cohorts that can be compared, and the label their classes are read from."""

    real: Cohort
    synthetic: Cohort
    label: LabelColumn | None  # None: there are no classes, and `no_label` says why
    notes: tuple[str, ...]  # what a reader of the figures must know
    real_path: Path  # as given: `real` and `synthetic` may be copies brought to one size
    synthetic_path: Path
    trained_on: tuple[str, ...] = ("train",)  # roles that the generator may have learned from
    no_label: str = ""

    @property
    def split_known(self) -> bool:
        """Whether some real patients are known not to have been learned from: without them no figure has a control."""
        return "control" not in self.trained_on

    @property
    def values(self) -> tuple[Any, ...]:
        """The label's values; none without a label."""
        return self.label.values if self.label else ()

    def classes(self, view: Cohort) -> np.ndarray:
        """Position of each image's label among the label's values, -1 where it has none: [N] int64."""
        if self.label is None:
            return np.full(len(view), -1, np.int64)
        place = {value: number for number, value in enumerate(self.label.values)}
        return np.array([place.get(value, -1) for value in view.column(self.label.name)], np.int64)


def patients(view: Cohort) -> list[str]:
    """What each image depends on: its group (lesion, smear), else its patient, else itself alone."""
    columns = (view.column("group_id"), view.column("patient_id"), view.image_ids)
    return [
        f"group {group}" if group is not None else f"patient {patient}" if patient is not None else f"image {image}"
        for group, patient, image in zip(*columns, strict=True)
    ]


def open_inputs(
    real_path: Path,
    synthetic_path: Path,
    label: str | None,
    scratch: Path,
    trained_on: tuple[str, ...] = ("train",),
) -> Inputs:
    """Opens both cohorts; raises InputError with everything that stands in the way of comparing them.

    `trained_on`: the roles whose images the generator may have learned from; all of them where nobody knows.
    """
    if Path(real_path).resolve() == Path(synthetic_path).resolve():
        raise InputError(
            Problem(
                "--real and --synthetic",
                f"the same folder {real_path}",
                "two cohorts",
                "name the real and the synthetic one",
            )
        )
    real, synthetic = Cohort.open(real_path), Cohort.open(synthetic_path)
    problems = [
        Problem(f"cohort {cohort.path}", f"is {cohort.origin}", wanted, f"name a {wanted} cohort with --{wanted}")
        for cohort, wanted in ((real, "real"), (synthetic, "synthetic"))
        if cohort.origin != wanted
    ]
    if problems:
        raise InputError(*problems)
    _refuse_identical(real, synthetic)
    _refuse_small(real, synthetic)
    _refuse_shared_patients(real)
    column, no_label = _label(real, synthetic, label)
    notes = _notes(real, no_label, trained_on)
    real, synthetic, changed = _alike(real, synthetic, scratch)
    return Inputs(
        real, synthetic, column, (*notes, *changed), Path(real_path), Path(synthetic_path), trained_on, no_label
    )


def _refuse_identical(real: Cohort, synthetic: Cohort) -> None:
    """Real images given as synthetic by mistake; held-out ones alone are let through, as a null experiment."""
    images = set(synthetic.column("pixels_digest"))
    roles = dict(zip(real.column("pixels_digest"), real.column("split"), strict=True))
    if images and all(image in roles for image in images) and {roles[image] for image in images} & {"train", "test"}:
        raise InputError(
            Problem(
                f"cohort {synthetic.path}",
                "every image is, pixel by pixel, an image of the real cohort",
                "synthetic images",
                "check that the right folder was given",
            )
        )


def _label(real: Cohort, synthetic: Cohort, wanted: str | None) -> tuple[LabelColumn | None, str]:
    """The label column that classes are read from, or None and the reason why there is none.

    A column that was asked for has to fit; InputError says what does not. Synthetic images may lack some values.
    """
    usable = {name: label for name, label in real.labels.items() if label.kind in ("nominal", "ordinal")}
    if wanted is not None and wanted not in usable:
        allowed = ", ".join(usable) or "none: the real cohort has no nominal or ordinal label column"
        raise InputError(Problem("setting evaluate.label", repr(wanted), allowed))
    if not usable:
        return None, "the real cohort has no nominal or ordinal label column"
    label = usable[wanted] if wanted is not None else next(iter(usable.values()))
    if not _same_values(label, synthetic.labels.get(label.name)):
        other = synthetic.labels.get(label.name)
        found = "no such column" if other is None else f"{other.kind} with values {', '.join(map(str, other.values))}"
        if wanted is None and other is None:
            return None, f"the synthetic cohort has no column {label.name}"
        raise InputError(
            Problem(
                f"label {label.name} of cohort {synthetic.path}",
                found,
                f"{label.kind} with values among {', '.join(map(str, label.values))}, as in the real cohort",
                "choose another label with --set evaluate.label=NAME",
            )
        )
    for role in ("train", "test"):
        values = {value for value in real.select(split=role).column(label.name) if value is not None}
        if len(values) < 2:
            found = f"{len(values)} class of {label.name} among the images of role {role!r}"
            if wanted is not None:
                raise InputError(Problem(f"cohort {real.path}", found, "2 or more", "choose another label or split"))
            return None, f"the real cohort has {found}"
    return label, ""


def _same_values(label: LabelColumn, other: LabelColumn | None) -> bool:
    return other is not None and other.kind == label.kind and set(other.values) <= set(label.values)


def _refuse_small(real: Cohort, synthetic: Cohort) -> None:
    problems = []
    roles = Counter(real.column("split"))
    for role in ("train", "test"):
        if roles[role] < LEAST_IMAGES:
            found = f"{roles[role]} images of role {role!r}" if roles[role] else f"no images of role {role!r}"
            remedy = (
                "ingest it with a split" if not roles[role] else "use a larger cohort, or larger shares of the split"
            )
            problems.append(Problem(f"cohort {real.path}", found, f"{LEAST_IMAGES} or more", remedy))
    if len(synthetic) < LEAST_IMAGES:
        found = f"{len(synthetic)} images"
        problems.append(Problem(f"cohort {synthetic.path}", found, f"{LEAST_IMAGES} or more", "generate more images"))
    if problems:
        raise InputError(*problems)


def _refuse_shared_patients(real: Cohort) -> None:
    """A patient in two roles would make the floor, the control and every interval untrue."""
    seen: dict[str, str] = {}
    shared: set[tuple[str, str]] = set()
    for patient, role in zip(real.column("patient_id"), real.column("split"), strict=True):
        if patient is not None and role is not None and seen.setdefault(patient, role) != role:
            shared.add((patient, role))
    if shared:
        found = f"{len({patient for patient, _ in shared})} patients have images in more than one role"
        raise InputError(Problem(f"cohort {real.path}", found, "one role for each patient", "ingest it again"))


def _notes(real: Cohort, no_label: str, trained_on: Sequence[str]) -> list[str]:
    notes = []
    if no_label:
        notes.append(f"Nothing is compared by class: {no_label}.")
    absent = sum(owner.startswith("image ") for owner in patients(real))
    if absent:
        notes.append(
            f"{absent} real images have no patient id and count as patients of their own: "
            "if patients have several images, the intervals are too narrow and the splits may share patients."
        )
    if "control" in trained_on:
        notes.append(
            "Nobody said which real images the generator learned from, so all of them count as possible training "
            "images: the floor of the privacy figures is real images against those of other patients."
        )
    elif "control" not in set(real.column("split")):
        notes.append("The real cohort has no control patients, so the privacy figures have no floor.")
    return notes


def _shapes(cohort: Cohort) -> Counter[tuple[int, int]]:
    return Counter(zip(cohort.column("rows"), cohort.column("columns"), strict=True))


def _usual_shape(cohort: Cohort) -> tuple[int, int]:
    """The most frequent shape; of several, the smallest."""
    shapes = _shapes(cohort)
    return min(shapes, key=lambda shape: (-shapes[shape], shape[0] * shape[1], shape))


def _alike(real: Cohort, synthetic: Cohort, scratch: Path) -> tuple[Cohort, Cohort, list[str]]:
    """Brings both to one number of channels and to the smaller of their usual shapes; refuses other pixel types."""
    depths = [{cohort.image(i).dtype.name for i in (0, len(cohort) - 1)} for cohort in (real, synthetic)]
    if depths[0] != depths[1] or len(depths[0]) != 1:
        words = [" and ".join(sorted(side)) for side in depths]
        found = f"real {words[0]}, synthetic {words[1]}"
        raise InputError(
            Problem("pixel type", found, "the same in both cohorts", "ingest or generate one of them anew")
        )
    gray = _gray_on_both(real, synthetic)
    shape = min((_usual_shape(cohort) for cohort in (real, synthetic)), key=lambda shape: (shape[0] * shape[1], shape))
    notes, both = [], []
    for cohort in (real, synthetic):
        others = sum(number for found, number in _shapes(cohort).items() if found != shape)
        if others:
            rows, columns = shape
            notes.append(f"{others} {cohort.origin} images were brought to {rows} × {columns} pixels to be compared.")
        recolored = sum(channels != (1 if gray else 3) for channels in cohort.column("channels"))
        if recolored:
            how = (
                "gray in three channels, and were brought to one"
                if gray
                else "gray, and were brought to three channels"
            )
            notes.append(f"{recolored} {cohort.origin} images are {how}.")
        both.append(_brought(cohort, shape, gray, scratch) if others or recolored else cohort)
    return both[0], both[1], notes


def _gray_on_both(real: Cohort, synthetic: Cohort) -> bool:
    """Whether all images are gray: of one channel, or of three equal ones where the others have one.

    InputError when one side is gray and the other in color.
    """
    sides = [set(cohort.column("channels")) for cohort in (real, synthetic)]
    if sides[0] == sides[1] and len(sides[0]) == 1:
        return sides[0] == {1}
    colored = [
        cohort.origin
        for cohort in (real, synthetic)
        if any(_is_colored(cohort.image(i)) for i, n in enumerate(cohort.column("channels")) if n == 3)
    ]
    if len(colored) == 1:
        found = f"{colored[0]} images in color, the others gray"
        raise InputError(Problem("channels", found, "both gray or both in color", "generate one of them anew"))
    return not colored


def _is_colored(image: np.ndarray) -> bool:
    return bool((image != image[..., :1]).any())


def _brought(cohort: Cohort, shape: tuple[int, int], gray: bool, scratch: Path) -> Cohort:
    """A copy of the cohort in which every image has this shape and is gray or in color, kept in the scratch folder."""
    key = digest_json({"digest": cohort.digest, "shape": shape, "gray": gray}).partition(":")[2][:24]
    path = scratch / f"resized-{key}"
    if not (path / "cohort.json").is_file():
        writer = CohortWriter(
            path, cohort.name, cohort.origin, tuple(cohort.labels.values()), cohort.info["provenance"], key
        )
        for index in range(len(cohort)):
            record = cohort.record(index)
            if record["image_id"] in writer.done:
                continue
            image = cohort.image(index)
            if gray and image.ndim == 3:
                image = np.ascontiguousarray(image[..., 0])
            elif not gray and image.ndim == 2:
                image = np.repeat(image[..., None], 3, axis=2)
            placed = placement(image.shape[:2], shape).apply(image)
            writer.add(placed, record)
        writer.finish()
    brought = Cohort.open(path)
    info = {**brought.info, **{name: value for name, value in cohort.info.items() if name != "files"}}
    return Cohort(path, info, brought.records)


def sample_images(view: Cohort, count: int, *purpose: str | int) -> Cohort:
    """`count` random images of a view, in the order of the view."""
    if len(view) <= count:
        return view
    chosen = rng("evaluate", *purpose).choice(len(view), count, replace=False)
    return view.select(indices=np.sort(chosen))


def sample_patients(owners: Sequence[str], count: int, *purpose: str | int) -> np.ndarray:
    """Positions of `count` images that belong to as few patients as come up at random; the last one may be cut.

    A sample of whole patients depends on itself as the test patients' images do, so that the floor is like for like.
    """
    names = sorted(set(owners))
    rank = dict(
        zip((names[i] for i in rng("evaluate", *purpose).permutation(len(names))), range(len(names)), strict=True)
    )
    order = sorted(range(len(owners)), key=lambda i: (rank[owners[i]], i))
    return np.sort(np.array(order[:count], np.int64))


def composition(inputs: Inputs, view: Cohort) -> dict[str, int]:
    """How many images each class has; empty without classes."""
    counts = np.bincount(inputs.classes(view) + 1, minlength=len(inputs.values) + 1)
    return {str(value): int(counts[number + 1]) for number, value in enumerate(inputs.values)}


def cohort_facts(cohort: Cohort) -> dict[str, Any]:
    """Number of images and patients by role, for scores.json."""
    roles: dict[str, list[str]] = {}
    for patient, role in zip(patients(cohort), cohort.column("split"), strict=True):
        roles.setdefault(role or "none", []).append(patient)
    return {
        "images": {role: len(owners) for role, owners in sorted(roles.items())},
        "patients": {role: len(set(owners)) for role, owners in sorted(roles.items())},
    }
