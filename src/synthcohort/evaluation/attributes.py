"""Attribute inference: whoever has a patient's image, does the synthetic cohort tell an attribute that it did not show?

The attacker finds the synthetic images nearest to the patient's image and reads the attribute (sex, age band, label, …)
from their records. That works a little for everybody, since attributes show in images: that is what a faithful cohort
teaches. A leak is what works *better for training patients* than for control patients. Descriptive: it gates nothing.
Source of the comparison: Giomi et al. 2023 (anonymeter), inference risk against control.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.evaluation.entries import entry, interval_words
from synthcohort.evaluation.inputs import Inputs, patients, sample_images, sample_patients
from synthcohort.evaluation.membership import unseen
from synthcohort.evaluation.part_config import AttributesConfig
from synthcohort.metrics.intervals import Score, clopper_pearson, group_index

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig
    from synthcohort.evaluation.encoding import Eyes

COLUMNS = ("sex", "age", "ethnicity", "laterality", "site", "manufacturer", "view")
BAND_YEARS = 20
LEAST_IMAGES = 50  # with the attribute known, of training, control and synthetic each
LEAST_PATIENTS = 10
CHUNK = 512


@dataclass(frozen=True)
class Guessed:
    """Whether the attribute was guessed right, of training and of control patients' images."""

    members: np.ndarray  # [M] bool
    others: np.ndarray  # [O] bool
    member_patients: Sequence[str]
    other_patients: Sequence[str]
    member_values: np.ndarray
    other_values: np.ndarray


def attributes(
    inputs: Inputs,
    eyes: "Eyes",
    config: "EvaluateConfig",
    policy: Policy,
    cache: Path,
    seed: int,
    settings: AttributesConfig | None = None,
) -> dict[str, Any]:
    """The part of the scorecard: for each attribute on both sides, members' accuracy beyond the control's."""
    settings = settings or AttributesConfig()
    if not inputs.split_known:
        return _result([], {}, "nobody knows which real patients were in no training, so there is no control")
    train, control = (inputs.real.select(split=role) for role in ("train", "control"))
    train = train.select(indices=sample_patients(patients(train), settings.max_members, seed, "attributes"))
    made = sample_images(inputs.synthetic, config.max_images, seed, "synthetic")
    control, _ = unseen(control, set(made.column("pixels_digest")))
    columns = {name: [readable(view, name) for view in (train, control, made)] for name in known_columns(inputs)}
    columns = {name: sides for name, sides in columns.items() if _enough(sides)}
    if not columns:
        return _result([], {}, f"no attribute is recorded for {LEAST_IMAGES} training, control and synthetic images")
    nearest = nearest_synthetic(inputs.real, (train, control), made, cache)
    scores, figures = [], {}
    for name, (member, other, synthetic) in columns.items():
        sides = []
        for values, distances, view in zip((member, other), nearest, (train, control), strict=True):
            asked = np.flatnonzero(values != "")
            guesses = vote(distances[asked], synthetic, settings.neighbors)
            owners = patients(view)
            sides.append((guesses == values[asked], [owners[i] for i in asked], values[asked]))
        guessed = Guessed(sides[0][0], sides[1][0], sides[0][1], sides[1][1], sides[0][2], sides[1][2])
        if min(len(set(owners)) for owners in (guessed.member_patients, guessed.other_patients)) < LEAST_PATIENTS:
            continue
        figures[name] = difference(guessed)
        scores.append(_entry(name, guessed, figures[name]))
    return _result(scores, figures, None if scores else "too few patients have an attribute recorded")


def _result(scores: list[dict[str, Any]], figures: dict[str, Any], reason: str | None) -> dict[str, Any]:
    said: dict[str, Any] = dict(figures)
    if reason:
        said = {"verdict": "inconclusive", "reason": reason}
    return {"scores": scores, "families": {}, "figures": {"attributes": said}}


def known_columns(inputs: Inputs) -> list[str]:
    """Columns that both cohorts have: the usual ones and every nominal or ordinal label."""
    labels = [name for name, label in inputs.real.labels.items() if label.kind != "continuous"]
    both = set(inputs.real.records.column_names) & set(inputs.synthetic.records.column_names)
    return [name for name in (*COLUMNS, *labels) if name in both]


def readable(view: Cohort, name: str) -> np.ndarray:
    """A column as words, "" where it is absent; ages in bands of 20 years: [N] object."""
    values = view.column(name)
    if name == "age":
        start = [None if v is None or not np.isfinite(v) else int(v // BAND_YEARS) * BAND_YEARS for v in values]
        return np.array(["" if s is None else f"{s} to {s + BAND_YEARS - 1}" for s in start], object)
    return np.array(["" if value is None else str(value) for value in values], object)


def _enough(sides: Sequence[np.ndarray]) -> bool:
    """Enough known values on all sides, and at least two of them to tell apart."""
    known = [side[side != ""] for side in sides]
    return all(len(side) >= LEAST_IMAGES for side in known) and min(len(set(side)) for side in known) > 1


def nearest_synthetic(real: Cohort, views: Sequence[Cohort], made: Cohort, cache: Path) -> list[np.ndarray]:
    """Similarity of every image of the views to every synthetic image, in natural-image features: [N, S] each."""
    from synthcohort.evaluation.spaces import packaged, range_of

    values = range_of(real)
    synthetic = packaged(made, values, cache)[:, 0]
    center = synthetic.mean(axis=0)
    target = _unit(synthetic - center)
    return [_unit(packaged(view, values, cache)[:, 0] - center) @ target.T for view in views]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def vote(similarity: np.ndarray, values: np.ndarray, neighbors: int) -> np.ndarray:
    """The value that the nearest synthetic images with a known value have most often; the nearest one breaks ties."""
    known = np.flatnonzero(values != "")
    names, codes = np.unique(values[known].astype(str), return_inverse=True)
    k = min(neighbors, len(known))
    guesses = []
    for start in range(0, len(similarity), CHUNK):
        block = similarity[start : start + CHUNK][:, known]
        order = np.argsort(-block, axis=1, kind="stable")[:, :k]
        votes = np.zeros((len(block), len(names)))
        for place in range(k):  # a vote weighs a little less the further away it is, so that ties are broken
            votes[np.arange(len(block)), codes[order[:, place]]] += 1 - 1e-3 * place
        guesses.append(names[votes.argmax(axis=1)])
    return np.concatenate(guesses).astype(object) if guesses else np.zeros(0, object)


def difference(guessed: Guessed) -> dict[str, Any]:
    """Accuracy of members less that of others, value by value of the attribute, with an interval by patient.

    Within each value, so that another mix of values is no leak; values are weighted as members and others together
    allow (m n / (m + n)). The error is that of patients' sums, and no smaller than that of one patient more on either
    side of each rate.
    """
    shared = [v for v in np.unique(guessed.member_values.astype(str)) if (guessed.other_values == v).any()]
    weights = np.array(
        [_harmonic((guessed.member_values == v).sum(), (guessed.other_values == v).sum()) for v in shared]
    )
    weights /= weights.sum()
    rates, variance = np.zeros(2), 0.0
    least = min(len(set(guessed.member_patients)), len(set(guessed.other_patients)))
    sides = (
        (guessed.members, guessed.member_values, guessed.member_patients),
        (guessed.others, guessed.other_values, guessed.other_patients),
    )
    for side, (right, values, owners) in enumerate(sides):
        parts = np.zeros(len(right))
        for value, weight in zip(shared, weights, strict=True):
            rows = values == value
            rate = float(right[rows].mean())
            rates[side] += weight * rate
            parts[rows] = weight / rows.sum() * (right[rows] - rate)
        sums = np.bincount(group_index(owners), parts)
        spread = len(sums) / (len(sums) - 1) * float((sums**2).sum())
        shrunk = (rates[side] * len(sums) + 1) / (len(sums) + 2)
        variance += max(spread, shrunk * (1 - shrunk) / len(right))
    half = float(stats.t.ppf(0.975, least - 1)) * float(np.sqrt(variance))
    advantage = float(rates[0] - rates[1])
    majority = max(float((guessed.other_values == v).mean()) for v in shared)
    return {
        "members": float(rates[0]), "control": float(rates[1]), "always_the_commonest": majority,
        "advantage": advantage, "low": max(-1.0, advantage - half), "high": min(1.0, advantage + half),
        "smallest_advantage_seen": float((stats.norm.ppf(0.975) + stats.norm.ppf(0.95)) * np.sqrt(variance)),
    }  # fmt: skip


def _harmonic(first: int, second: int) -> float:
    return first * second / (first + second)


def _entry(name: str, guessed: Guessed, figures: dict[str, Any]) -> dict[str, Any]:
    advantage = Score(figures["advantage"], figures["low"], figures["high"])
    right = Score(figures["control"], *clopper_pearson(figures["control"] * len(guessed.others), len(guessed.others)))
    said = (
        f"right for {figures['members']:.1%} of {len(guessed.members)} training images and for "
        f"{interval_words(right)} of {len(guessed.others)} control images; an advantage of "
        f"{figures['smallest_advantage_seen']:.1%} would have been seen"
    )
    return entry(
        "attribute_advantage", title=f"Guessing {name} better for training than for control patients",
        group="privacy", subset=name, score=advantage, floor=Score(0.0), better="lower",
        n_real=len(guessed.members) + len(guessed.others), split="control",
        good="Good is 0: the synthetic images tell no more of training patients than of strangers.",
        computed_on=f"vote of the nearest synthetic images in natural-image features: {said}",
    )  # fmt: skip
