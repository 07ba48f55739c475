"""Which images, in which order, for whom: balanced over classes, one image per patient, the same seed the same sample.

Words: a *pick* is one image taken into the study; an *entry* is one place in a reader's order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.seeds import rng
from synthcohort.study.design import Design, Phase


@dataclass(frozen=True)
class Pick:
    """One image: row of its cohort, origin (`real`, `synthetic` or `degraded`), value of the label as text."""

    cohort: str
    row: int
    origin: str
    label: str


@dataclass(frozen=True)
class PhasePicks:
    """What the readers of one phase see; `pairs` holds places in `cases` of (real, synthetic)."""

    training: tuple[Pick, ...]
    cases: tuple[Pick, ...]


@dataclass(frozen=True)
class Entry:
    """One place in an order: `first` and perhaps `second` (on the right) are places in the phase's picks."""

    first: int
    second: int | None
    training: bool
    repeat: bool


class Pools:
    """The images that may still be taken, by origin and class, each patient once."""

    def __init__(self, real: Cohort | None, synthetic: Cohort, design: Design):
        self._views = {"synthetic": synthetic} | ({"real": real} if real is not None else {})
        self._seed = design.seed
        self._left: dict[tuple[str, str, str], list[int]] = {}
        self._taken: dict[str, set[str]] = {"real": set(), "synthetic": set()}

    def classes(self, label: str) -> list[str]:
        """Values of the label that every cohort has, in the label's order; [""] where nothing is balanced."""
        if not label:
            return [""]
        found = []
        for view in self._views.values():
            if label not in view.labels:
                raise InputError(
                    Problem(f"cohort {view.path}", f"has no label {label!r}", ", ".join(view.labels) or "none")
                )
            if not view.labels[label].values:
                raise InputError(Problem(f"label {label}", "is continuous", "an ordinal or nominal label"))
            found.append({str(v) for v in view.column(label) if v is not None})
        ordered = [str(v) for v in next(iter(self._views.values())).labels[label].values]
        return [value for value in ordered if all(value in values for values in found)]

    def take(self, origin: str, label: str, value: str, purpose: str) -> int | None:
        """A row not taken before, of a patient not taken before; None when there is none left."""
        view, key = self._views[origin], (origin, label, value)
        if key not in self._left:
            values = view.column(label) if label else [""] * len(view)
            rows = [i for i, found in enumerate(values) if found is not None and str(found) == value]
            derived = view.column("derived_from_real")
            rows = [i for i in rows if not (origin == "synthetic" and derived[i])]
            self._left[key] = [rows[i] for i in rng("study sample", self._seed, purpose, *key).permutation(len(rows))]
        patients, images, taken = view.column("patient_id"), view.image_ids, self._taken[origin]
        while self._left[key]:
            row = self._left[key].pop()
            person = patients[row] if origin == "real" and patients[row] else images[row]
            if person not in taken:
                taken.add(person)
                return row
        return None


def sample(
    phase: Phase, pools: Pools, seed: int, number: int, kept: tuple[Pick, ...] | None = None
) -> PhasePicks:  # fmt: skip
    """The picks of a phase, with `kept` as its cases where they are those of another.

    Real and synthetic cases have the same number in every class, as far as numbers divide.

    Raises InputError naming the classes that have too few images (each patient counts once).
    """
    classes = pools.classes(phase.label)
    if not classes:
        raise InputError(Problem(f"label {phase.label}", "has no value that both cohorts have"))
    order = [classes[i] for i in rng("study classes", seed, number).permutation(len(classes))]
    lacking: dict[tuple[str, str], int] = {}

    def draw(origin: str, count: int, purpose: str) -> list[Pick]:
        source, picks = "synthetic" if origin == "synthetic" else "real", []
        for place in range(count):
            value = order[place % len(order)]
            row = pools.take(source, phase.label, value, purpose)
            if row is None:
                lacking[source, value] = lacking.get((source, value), 0) + 1
            else:
                picks.append(Pick(source, row, origin, value))
        return picks

    num_pairs = min(phase.real, phase.synthetic)
    counts = (num_pairs, num_pairs) if phase.kind == "pairs" else (phase.real, phase.synthetic)
    cases = list(kept or ())
    if kept is None:
        cases = [*draw("real", counts[0], "cases"), *draw("synthetic", counts[1], "cases")]
        cases += draw("degraded", phase.degraded, "cases")
    split = phase.training // 2 if min(counts) else (phase.training if counts[0] else 0)
    if phase.kind == "pairs":
        training = [*draw("real", phase.training, "training"), *draw("synthetic", phase.training, "training")]
    else:
        training = [*draw("real", split, "training"), *draw("synthetic", phase.training - split, "training")]
    if lacking:
        name = phase.label or "all"
        found = ", ".join(f"{count} more {origin} of {name} {value}" for (origin, value), count in lacking.items())
        raise InputError(
            Problem(f"phase {number + 1}", f"needs {found}", remedy="fewer cases, another label, or more images")
        )
    return PhasePicks(tuple(training), tuple(cases))


def order_for(phase: Phase, picks: PhasePicks, seed: int, number: int, person: str) -> list[Entry]:
    """One reader's entries: training cases, then all cases in an order of their own, repeats far from the first time.

    Places count over training cases first, then cases.
    """
    draw = rng("study order", seed, number, person)
    many = len(picks.training)
    if phase.kind == "pairs":
        half = many // 2
        pairs = [(i, half + i, True) for i in range(half)]
        count = len(picks.cases) // 2
        cases = [(many + i, many + count + i, False) for i in draw.permutation(count)]
        return [
            Entry(*((real, other) if draw.random() < 0.5 else (other, real)), training=first, repeat=False)
            for real, other, first in [*pairs, *cases]
        ]
    training = [Entry(int(i), None, True, False) for i in draw.permutation(many)]
    cases_in_order = [Entry(many + int(i), None, False, False) for i in draw.permutation(len(picks.cases))]
    return training + with_repeats(cases_in_order, repeatable(picks, many), phase.repeats, draw)


def repeatable(picks: PhasePicks, many: int) -> set[int]:
    """Places that may be shown twice: degraded images would be recognized."""
    return {many + i for i, pick in enumerate(picks.cases) if pick.origin != "degraded"}


def with_repeats(order: Sequence[Entry], may: set[int], count: int, draw: np.random.Generator) -> list[Entry]:
    """The order with `count` cases of its first part again in its last: at least a third of all cases in between."""
    if not count:
        return list(order)
    third = max(1, len(order) // 3)
    early = [entry for entry in order if entry.first in may][: max(third, count)]
    chosen = [early[i] for i in draw.permutation(len(early))[:count]]
    tail = [*order[2 * third :], *(Entry(entry.first, None, False, True) for entry in chosen)]
    mixed = [tail[i] for i in draw.permutation(len(tail))]
    return [*order[: 2 * third], *mixed]
