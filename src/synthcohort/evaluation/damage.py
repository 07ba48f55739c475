"""Family image_damage: are synthetic images blurred, noisy, clipped, striped, blocky or unlike any real image?

Two questions, each with its interval. How large is the *share of damaged images* beyond that of real ones? And does
the whole cohort *lean* towards a kind of damage, as when a generator blurs every image a little? Both against real
images of the same mix of classes, which the reader of damage was not fitted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import ImageDamageThresholds, Policy
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.damage_reader import MARKS, UNLIKE, DamageReader, Looker, Looks
from synthcohort.evaluation.entries import entry, interval_words, numbers
from synthcohort.evaluation.faults import KINDS
from synthcohort.evaluation.inputs import Inputs, patients, sample_images, sample_patients
from synthcohort.evaluation.part_config import LEAST_REFERENCES, LEAST_TO_FIT, DamageConfig
from synthcohort.evaluation.verdicts import family
from synthcohort.metrics.damage import STATISTICS
from synthcohort.metrics.intervals import group_index
from synthcohort.metrics.shift import Estimate, share_of, superiority

FAIL_LEVEL = 0.005  # one-sided, shared by all figures of the family: false alarms on real images
PASS_LEVEL = 0.025  # one-sided, of each figure: all have to lie within
RARE = 0.002  # share of real images beyond the limit of each mark
MAX_BROKEN = 0.01  # share of constant or out-of-range images, beyond real ones: nobody doubts that they are damaged
MOST_WEIGHT = 5.0  # of one real image, where its class is rare among the real ones
NEEDED = ("blur", "noise")  # a check that would not notice these can't pass anything
WORDS = {**{name: kind.word for name, kind in KINDS.items()}, UNLIKE: "unlike real images"}


@dataclass(frozen=True)
class Marked:
    """Images with their marks: what every figure of this family is computed from."""

    marks: np.ndarray  # [N, len(MARKS)]
    broken: np.ndarray  # [N] bool
    owners: np.ndarray  # [N] patients as numbers
    classes: np.ndarray  # [N], -1 without one
    statistics: np.ndarray  # [N, S]

    def __len__(self) -> int:
        return len(self.marks)

    def among(self, chosen: np.ndarray) -> "Marked":
        parts = (self.marks, self.broken, self.owners, self.classes, self.statistics)
        return Marked(*(part[chosen] for part in parts))


@dataclass(frozen=True)
class Judged:
    """The figures of a verdict."""

    share: Estimate  # damaged synthetic images
    real_share: Estimate  # damaged real images of the same classes, by limits set on others
    broken: Estimate  # constant or out-of-range synthetic images beyond real ones
    shifts: dict[str, Estimate]  # of each mark: probability of superiority over real images
    num: int

    @property
    def excess(self) -> Estimate:
        return self.share - self.real_share


def class_weights(reference: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Weight of each reference image so that classes have the shares they have among the synthetic images."""
    weights = np.ones(len(reference))
    for value in np.unique(reference):
        members = reference == value
        wanted = float((synthetic == value).mean()) if len(synthetic) else 0.0
        weights[members] = wanted / members.mean()
    if not weights.sum() > 0:  # no class in common
        return np.ones(len(reference))
    return np.minimum(weights, MOST_WEIGHT)


def damaged(reference: Marked, weights: np.ndarray, others: Sequence[Marked]) -> list[np.ndarray]:
    """How far each image counts as damaged: 0, 0.5 or 1 by the limits of either half of the reference's patients.

    First the reference, each half by the other's limits, so that it meets its limits as the others do.
    """
    half = group_index(reference.owners) % 2
    own, found = np.zeros(len(reference)), [np.zeros(len(other)) for other in others]
    for side in (0, 1):
        limits = _limits(reference.marks[half == side], weights[half == side])
        own[half != side] = _beyond(reference, limits)[half != side]
        for total, other in zip(found, others, strict=True):
            total += _beyond(other, limits) / 2
    return [own, *found]


def _limits(marks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The smallest value of each mark that at most a share RARE of the weight exceeds."""
    limits = np.full(marks.shape[1], np.inf)
    for column in range(marks.shape[1]) if len(marks) else ():
        order = np.argsort(-marks[:, column], kind="stable")
        above = np.cumsum(weights[order]) - weights[order]
        limits[column] = marks[order[int(np.flatnonzero(above <= RARE * weights.sum())[-1])], column]
    return limits


def _beyond(images: Marked, limits: np.ndarray) -> np.ndarray:
    return (images.broken | (images.marks > limits).any(axis=1)).astype(np.float64)


def judge(reference: Marked, synthetic: Marked) -> Judged:
    """All figures of a verdict, from marks alone: fast enough to be taken again for hundreds of resamples."""
    weights = class_weights(reference.classes, synthetic.classes)
    own, found = damaged(reference, weights, [synthetic])
    shifts = {name: lean(reference, synthetic, column, weights) for column, name in enumerate(MARKS)}
    shares = share_of(found, synthetic.owners), share_of(own, reference.owners, weights)
    broken = share_of(synthetic.broken, synthetic.owners) - share_of(reference.broken, reference.owners)
    return Judged(*shares, broken, shifts, len(synthetic))


def lean(reference: Marked, synthetic: Marked, column: int, weights: np.ndarray) -> Estimate:
    """Probability that a synthetic image has the higher mark."""
    return superiority(
        reference=reference.marks[:, column],
        sample=synthetic.marks[:, column],
        reference_owners=reference.owners,
        sample_owners=synthetic.owners,
        reference_weights=weights,
    )


def verdict(
    judged: Judged, thresholds: ImageDamageThresholds, deviation: str = "", unseen: Sequence[str] = ()
) -> dict[str, Any]:
    """`deviation`: in words, the statistic that differs most; `unseen`: kinds of damage that nobody would notice."""
    most, max_shift = thresholds.max_damaged_share, thresholds.max_shift
    level = FAIL_LEVEL / (2 + len(judged.shifts))
    figures: dict[str, Any] = {
        "damaged_share": numbers(judged.share.score(0, 1)),
        "damaged_share_real": numbers(judged.real_share.score(0, 1)),
        "excess": numbers(judged.excess.score(-1, 1)),
        "broken_excess": numbers(judged.broken.score(-1, 1)),
        "shift": {name: numbers(value.score(0, 1)) for name, value in judged.shifts.items()},
        "max_damaged_share": most,
        "max_shift": max_shift,
        "would_fail_from_share": least_noticed(judged, most),
    }
    leaning = {name: value for name, value in judged.shifts.items() if value.low(level) > 0.5 + max_shift}
    excess = judged.excess
    words = (
        f"{100 * judged.share.value:.1f} % of the synthetic images are damaged, of real ones "
        f"{100 * judged.real_share.value:.1f} %; the policy allows {100 * most:g} % more"
    )
    because = f"; most of all, {deviation}" if deviation else ""
    if judged.broken.low(level) > MAX_BROKEN:
        share = interval_words(judged.broken.score(-1, 1))
        return family("fail", f"images of one value or outside the value range: {share} more than real ones", figures)
    if leaning:
        worst = sorted(leaning, key=lambda name: (name == UNLIKE, -leaning[name].value))
        how = "; ".join(f"{WORDS[name]}: {interval_words(leaning[name].score(0, 1))}" for name in worst[:3])
        reason = f"the images are {WORDS[worst[0]]} as a whole (chance of more than a real image; 0.5 is none: {how})"
        return family("fail", f"{reason}{because}; {words}", figures)
    if excess.low(level) > most:
        return family("fail", f"{words}{because}", figures)
    if judged.num < LEAST_REFERENCES:
        return family("inconclusive", f"only {judged.num} synthetic images", figures)
    within = excess.high(PASS_LEVEL) <= most and all(
        value.high(PASS_LEVEL) <= 0.5 + max_shift for value in judged.shifts.values()
    )
    if not within:
        open_ = [n for n, value in judged.shifts.items() if not value.high(PASS_LEVEL) <= 0.5 + max_shift]
        what = f"; it may be that images are {', '.join(WORDS[name] for name in open_)}" if open_ else ""
        return family("inconclusive", f"not surely within the limits: {words}{what}{because}", figures)
    missed = [KINDS[name].unit.format(KINDS[name].shown) for name in unseen]
    if any(name in NEEDED for name in unseen):
        return family("inconclusive", f"on these images the check would miss {', '.join(missed)}", figures)
    power = f"damage of {100 * figures['would_fail_from_share']:.0f} % would have failed"
    aside = f"; not seen on such images: {', '.join(missed)}" if missed else ""
    return family("pass", f"{words}; {power}{aside}", figures)


def least_noticed(judged: Judged, most: float) -> float:
    """The smallest share of clearly damaged images, beyond the real share, that would have failed the family."""
    level = FAIL_LEVEL / (2 + len(judged.shifts))
    for share in np.arange(most, 1.0, 0.005):
        total = min(1.0, judged.real_share.value + share)
        error = np.sqrt(total * (1 - total) / max(judged.num, 1))
        if Estimate(float(share), float(np.hypot(error, judged.real_share.error))).low(level) > most:
            return float(share)
    return 1.0


def most_deviating(reference: Marked, synthetic: Marked) -> str:
    """In words: the statistic that differs most from real images, and in which direction."""
    weights = class_weights(reference.classes, synthetic.classes)
    values = []
    for column in range(len(STATISTICS)):
        found = superiority(
            reference=reference.statistics[:, column],
            sample=synthetic.statistics[:, column],
            reference_owners=reference.owners,
            sample_owners=synthetic.owners,
            reference_weights=weights,
        )
        values.append(found.value)
    far = np.abs(np.array(values) - 0.5)
    if not np.isfinite(far).any() or np.nanmax(far) < 0.1:
        return ""
    column = int(np.nanargmax(far))
    direction = "higher" if values[column] > 0.5 else "lower"
    chance = max(values[column], 1 - values[column])
    return f"{list(STATISTICS.values())[column]} is {direction} than in a real image with probability {chance:.2f}"


@dataclass(frozen=True)
class Material:
    """The fitted reader and the real images that others are compared with; made once, used by two families."""

    inputs: Inputs
    looker: Looker
    reader: DamageReader
    reference_view: Cohort

    @cached_property
    def reference(self) -> Marked:
        return self.mark(self.reference_view)

    def mark(self, view: Cohort) -> Marked:
        return self.marked(view, self.looker.look(view))

    def marked(self, view: Cohort, looks: Looks) -> Marked:
        owners = group_index(patients(view)) if len(view) else np.zeros(0, np.int64)
        return Marked(self.reader.marks(looks), looks.broken, owners, self.inputs.classes(view), looks.statistics)


def material(inputs: Inputs, settings: DamageConfig, cache: Path, seed: int) -> Material | None:
    """Half of the training patients at most teach the reader; the others and validation are compared with.

    None: too few images for either.
    """
    train = inputs.real.select(split="train")
    owners = patients(train)
    if len(train) < 2 * LEAST_TO_FIT:
        return None
    chosen = sample_patients(owners, min(settings.images, len(train) // 2), seed, "damage")
    learned = {owners[i] for i in chosen}
    roles, everyone = inputs.real.column("split"), patients(inputs.real)
    rows = [
        i
        for i, (role, owner) in enumerate(zip(roles, everyone, strict=True))
        if role in ("train", "validation") and owner not in learned
    ]
    other = sample_patients([everyone[i] for i in rows], settings.references, seed, "damage reference")
    if len(other) < LEAST_REFERENCES:
        return None
    looker = Looker(inputs.real, cache)
    reader = looker.fit(train.select(indices=chosen), seed)
    return Material(inputs, looker, reader, inputs.real.select(indices=[rows[i] for i in other]))


def noticed(
    made: Material, view: Cohort, thresholds: ImageDamageThresholds, seed: int
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What would be found if real test images were damaged slightly; and the kinds of which all would be missed."""
    found, unseen = {}, []
    clean = made.mark(view)
    for name, kind in KINDS.items():
        statistics = made.looker.spoilt(view, name, seed + 1, kind.shown)
        spoilt = made.marked(view, Looks(statistics, np.zeros(len(statistics), bool)))
        weights = class_weights(made.reference.classes, clean.classes)
        _, before, after = damaged(made.reference, weights, [clean, spoilt])
        outcome = verdict(judge(made.reference, spoilt), thresholds)["verdict"]
        found[name] = {
            "damage": kind.unit.format(kind.shown),
            "found": float(after.mean()),
            "found_unspoilt": float(before.mean()),
            "verdict_if_all_were": outcome,
        }
        if outcome != "fail":
            unseen.append(name)
    return found, unseen


def image_damage(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: DamageConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: scores and the family image_damage."""
    settings = settings or DamageConfig()
    thresholds = policy.thresholds.image_damage
    made = material(inputs, settings, cache, seed)
    if made is None:
        least = 2 * LEAST_TO_FIT
        reason = f"too few real training images to learn from and compare with (needed: {least}, of several patients)"
        return {"scores": [], "families": {"image_damage": family("inconclusive", reason, {})}}
    view = sample_images(inputs.synthetic, config.max_images, seed, "synthetic")
    synthetic = made.mark(view)
    judged = judge(made.reference, synthetic)
    test = sample_images(inputs.real.select(split="test"), settings.planted, seed, "planted damage")
    power, unseen = noticed(made, test, thresholds, seed)
    judgement = verdict(judged, thresholds, most_deviating(made.reference, synthetic), unseen)
    judgement["figures"] |= {"noticed": power, "broken": int(synthetic.broken.sum())}
    beside = {"floor": judge(made.reference, made.mark(inputs.real.select(split="test")))}
    control = inputs.real.select(split="control") if inputs.split_known else None
    if control is not None and len(control) >= LEAST_REFERENCES:
        beside["control"] = judge(made.reference, made.mark(control))
    scores = _entries(inputs, judged, beside, synthetic, made.reference, config)
    return {"scores": scores, "families": {"image_damage": judgement}}


def _entries(
    inputs: Inputs,
    judged: Judged,
    beside: Mapping[str, Judged],
    synthetic: Marked,
    reference: Marked,
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    words = (
        f"statistics of single images, read by logistic regressions fitted on spoilt copies of real training images; "
        f"against {len(reference)} other real images of the same mix of classes"
    )
    shared: dict[str, Any] = {"group": "fidelity", "family": "image_damage", "better": "lower", "computed_on": words}
    made = [
        entry(
            "damaged_share", title="Share of damaged images", score=judged.share.score(0, 1),
            good="Good is close to the floor: no more images are blurred, noisy or broken than among real ones.",
            n_real=len(reference), n_synthetic=len(synthetic),
            floor=beside["floor"].share.score(0, 1),
            control=beside["control"].share.score(0, 1) if "control" in beside else None, **shared,
        )
    ]  # fmt: skip
    for name, value in judged.shifts.items():
        made.append(
            entry(
                f"damage_shift_{name}", title=f"Images {WORDS[name]} as a whole", score=value.score(0, 1),
                good="Good is close to 0.5: a synthetic image looks more damaged than a real one half of the time.",
                n_real=len(reference), n_synthetic=len(synthetic),
                floor=beside["floor"].shifts[name].score(0, 1),
                control=beside["control"].shifts[name].score(0, 1) if "control" in beside else None, **shared,
            )
        )  # fmt: skip
    sides = (reference, synthetic)
    found = damaged(reference, class_weights(reference.classes, synthetic.classes), [synthetic])
    for number, value in enumerate(inputs.values):
        rows = [np.flatnonzero(side.classes == number) for side in sides]
        if min(map(len, rows)) >= config.min_class_images:
            shares = [share_of(f[r], s.owners[r]).score(0, 1) for f, r, s in zip(found, rows, sides, strict=True)]
            assert inputs.label is not None
            made.append(
                entry(
                    "damaged_share", title="Share of damaged images", subset=f"{inputs.label.name}={value}",
                    score=shares[1], floor=shares[0], n_real=len(rows[0]), n_synthetic=len(rows[1]),
                    good="Good is close to the floor: no more images are damaged than among real ones of the class.",
                    **shared,
                )
            )  # fmt: skip
    return made
