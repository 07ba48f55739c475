"""Privacy: how many synthetic images copy a training image, beside what control patients' real images reach.

The detector is learning.search; its threshold comes from strangers, validation patients before all. Control patients
were in no training, so whatever share of their images lies above the threshold is chance; where they are few, the
strangers of the threshold stand beside them. The audit measures its own sensitivity on copies planted from the same
training images, and says which leaks it would have caught.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_array, kept_folder
from synthcohort.core.policy import CopiesThresholds
from synthcohort.core.seeds import rng
from synthcohort.evaluation.copy_power import hits_needed, power_curve, smallest_rate_caught_by
from synthcohort.evaluation.entries import CONFIDENCE, entry, numbers
from synthcohort.evaluation.inputs import patients
from synthcohort.evaluation.planted import KINDS
from synthcohort.evaluation.steps import code_digest
from synthcohort.imaging.intensity import value_range_of
from synthcohort.learning.search import LOG_ODDS, CopyHits, CopyIndex, build_index
from synthcohort.metrics.intervals import Score, bootstrap, bootstrap_interval, clopper_pearson, fisher_greater

PLANTED = 24  # planted copies of each kind
SURE = 30.0  # a sure hit has this many times the odds of the threshold
LEAST_SENSITIVITY = 0.8  # a detector that misses more of the planted copies can't say that there are none


@dataclass(frozen=True)
class Sure:
    """A second, higher threshold: a few strangers may stand under two ids or resemble each other, hardly any so much.

    Copies lie far above the first threshold, so that the second costs little power and spares much chance.
    """

    threshold: float
    strangers_above: int  # of the strangers that set the first threshold
    sensitivity: float  # share of the planted copies that lie above it


@dataclass(frozen=True)
class Audit:
    """What the copy verdict rests on: similarities to the nearest training image, and the detector's own figures."""

    synthetic: np.ndarray  # [N]
    control: np.ndarray  # [M]
    threshold: float
    planted: Mapping[str, tuple[int, int]]  # kind -> (found, planted)
    calibrated: bool = True  # whether the threshold was measured on images of strangers
    strangers: tuple[int, int] = (0, 0)  # (above the threshold, all) of the images the threshold was measured on
    sure: Sure | None = None

    @property
    def sensitivity(self) -> Score:
        """Share of the planted copies that lie above the threshold."""
        found, total = (sum(counts) for counts in zip(*self.planted.values(), strict=True))
        return Score(found / total, *clopper_pearson(found, total, CONFIDENCE))


class CopySearch:
    """The copy detector over the images learned from; what it made is kept in `cache` by content and code.

    `trained_on`: roles whose images the generator may have learned from. Where control patients are among them, they
    are searched for among the images of other patients.
    """

    def __init__(self, real: Cohort, cache: Path, rate: float, trained_on: Sequence[str] = ("train",)):
        self.real, self.cache = real, Path(cache)
        self.train, validation = learned_from(real, trained_on), real.select(split="validation")
        self.control_is_known = "control" not in trained_on
        if "validation" in trained_on:
            validation = validation.select(indices=[])
        pixels = [self.train.pixels_digest, validation.pixels_digest]
        self.key = digest_json({"pixels": pixels, "rate": rate, "code": code_digest()}).partition(":")[2][:24]
        self.index = kept_folder(
            self.cache / f"copy_index-{self.key}",
            CopyIndex.open,
            lambda folder: build_index(self.train, folder, validation=validation, rate=rate),
        )

    @property
    def threshold(self) -> float:
        return self.index.threshold

    @property
    def strangers(self) -> tuple[int, int]:
        """How many of the strangers' images that set the threshold lie above it, and how many there are."""
        calibration = self.index.info["calibration"]
        return int(calibration["strangers_above"] or 0), int(calibration["strangers"])

    def control_hits(self, control: Cohort) -> CopyHits:
        """What control patients' images find: among the images of other patients, where they may be learned from."""
        if self.control_is_known:
            return self.hits(control)
        names = {name: number for number, name in enumerate(dict.fromkeys(patients(self.train)))}
        groups, own = (np.array([names[name] for name in patients(view)]) for view in (self.train, control))
        return self.hits(control, groups, own)

    def hits(self, view: Cohort, groups: np.ndarray | None = None, own: np.ndarray | None = None) -> CopyHits:
        """The nearest training image of each image of a view; with `groups` and `own`, of another patient."""
        content = {"index": self.key, "pixels": view.pixels_digest}
        if groups is not None and own is not None:
            content |= {"groups": digest_json([groups.tolist(), own.tolist()])}
        key = digest_json(content).partition(":")[2][:24]

        def found() -> np.ndarray:
            hits = self.index.query(view, groups, own)
            return np.stack([hits.similarity.astype(np.float64), hits.nearest.astype(np.float64)])

        path = self.cache / f"copy_hits-{key}.npy"
        kept = kept_array(path, found, lambda kept: kept.shape == (2, len(view)))
        return CopyHits(kept[0].astype(np.float32), kept[1].astype(np.int64))

    def planted(self, seed: int) -> dict[str, tuple[int, int]]:
        """How many planted copies of each kind lie above the threshold: {kind: (found, planted)}."""
        return self.found_of(self.planted_similarity(seed))

    def found_of(self, planted: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
        """Of similarities by kind, how many lie above the threshold, and how many there are."""
        return {kind: (int((values > self.threshold).sum()), len(values)) for kind, values in planted.items()}

    def sure(self, planted: Mapping[str, np.ndarray]) -> Sure:
        """The higher threshold; of the strangers' similarities only the largest and the count above the first are kept,
        so that they count as above the second together or not at all."""
        threshold = sure_threshold(self.threshold)
        largest = self.index.info["calibration"]["largest"]
        above = self.strangers[0] if largest is not None and largest > threshold else 0
        found = np.concatenate(list(planted.values())) > threshold
        return Sure(threshold, above, float(found.mean()))

    def planted_similarity(self, seed: int) -> dict[str, np.ndarray]:
        """Similarities of copies planted in each way: {kind: [P]}."""
        values = value_range_of(self.train.image(0).dtype, self.train.column("bits_stored"))
        validation = self.real.select(split="validation")
        strangers = validation if len(validation) else self.train
        images = []
        for kind, change in KINDS.items():
            generator = rng("planted", seed, kind)
            chosen = generator.permutation(len(self.train))[:PLANTED]
            others = generator.integers(0, len(strangers), len(chosen))
            images += [
                change(self.train.image(int(i)), strangers.image(int(j)), values, generator)
                for i, j in zip(chosen, others, strict=True)
            ]
        found = self.index.query(images, description="planted copies").similarity
        return dict(zip(KINDS, np.split(found, len(KINDS)), strict=True))


def learned_from(real: Cohort, trained_on: Sequence[str]) -> Cohort:
    """The images of these roles, in the cohort's order."""
    return real.select(indices=[i for i, role in enumerate(real.column("split")) if role in trained_on])


def copies(
    real: Cohort,
    synthetic: Cohort,
    thresholds: CopiesThresholds,
    cache: Path,
    seed: int,
    trained_on: Sequence[str] = ("train",),
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores and the family `copies`: {verdict, reason, figures}. Nothing in them tells which images are near."""
    search = CopySearch(real, cache, thresholds.false_positive_rate, trained_on)
    control = real.select(split="control")
    hits = search.hits(synthetic)
    audit = audited(search, hits.similarity, search.control_hits(control).similarity, seed)
    family = judge(audit, thresholds)
    flagged = hits.similarity > audit.threshold
    owners = patients(search.train)
    family["figures"] |= {
        "copied_patients": len({owners[i] for i in hits.nearest[flagged]}),
        "training_images": len(search.train),
        "calibration": search.index.info["calibration"],
    }
    return _entries(audit, patients(control), synthetic, seed), family


def audited(search: CopySearch, synthetic: np.ndarray, control: np.ndarray, seed: int) -> Audit:
    """What the verdict rests on: these similarities, and the detector's own figures at both thresholds."""
    planted = search.planted_similarity(seed)
    found, sure = search.found_of(planted), search.sure(planted)
    return Audit(synthetic, control, search.threshold, found, search.index.calibrated, search.strangers, sure)


def sure_threshold(threshold: float) -> float:
    """The similarity whose odds are `SURE` times those of the threshold."""
    return float(np.tanh(np.arctanh(threshold) + np.log(SURE) / LOG_ODDS))


@dataclass(frozen=True)
class Test:
    """One comparison of synthetic images' hits with strangers': control patients and those that set the threshold."""

    found: int
    images: int
    strangers_found: int
    strangers_images: int
    control_rate: float
    sensitivity: float
    significance: float

    @property
    def p_value(self) -> float:
        return fisher_greater(
            successes=self.found,
            trials=self.images,
            control_successes=self.strangers_found,
            control_trials=self.strangers_images,
        )

    @property
    def needed(self) -> int | None:
        """The fewest hits that decide."""
        return hits_needed(self.images, self.strangers_found, self.strangers_images, self.significance)

    @property
    def fails(self) -> bool:
        """More hits than chance explains, and a larger rate than control patients' alone."""
        return self.needed is not None and self.found >= self.needed and self.found / self.images > self.control_rate

    @property
    def power(self) -> tuple[int, int, int, float, float]:
        """What `copy_power` asks for."""
        return self.images, self.strangers_found, self.strangers_images, self.sensitivity, self.significance


def tests_of(audit: Audit, significance: float) -> list[Test]:
    """The comparison at the threshold and, where there is one, at the sure one, each at the full significance.

    Hits of strangers are so few that either falls far short of it: docs/experiments/2026-11-25-copy-detector.md.
    """
    levels = [(audit.threshold, audit.strangers[0], audit.sensitivity.value or 0.0)]
    if audit.sure is not None:
        levels.append((audit.sure.threshold, audit.sure.strangers_above, audit.sure.sensitivity))
    n, m = len(audit.synthetic), len(audit.control)
    tests = []
    for threshold, strangers, sensitivity in levels:
        chance = int((audit.control > threshold).sum())
        found = int((audit.synthetic > threshold).sum())
        tests.append(
            Test(
                found,
                n,
                chance + strangers,
                m + audit.strangers[1],
                chance / m,
                sensitivity,
                significance,
            )
        )
    return tests


def judge(audit: Audit, thresholds: CopiesThresholds) -> dict[str, Any]:
    """The verdict on copies.

    `fail`: more synthetic images than strangers' (of control patients, and those that set the threshold) lie above the
    threshold or above the sure one, more than control patients' alone, and chance explains it less often than
    `significance` (Fisher, one-sided). `pass`: not so, and the upper end of the copy
    rate's interval, corrected for copies that the detector misses, is at most `detectable_rate`. Otherwise
    `inconclusive`.
    """
    n, m = len(audit.synthetic), len(audit.control)
    found, chance = int((audit.synthetic > audit.threshold).sum()), int((audit.control > audit.threshold).sum())
    figures: dict[str, Any] = {
        "threshold": audit.threshold, "synthetic_images": n, "copies": found,
        "control_images": m, "control_hits": chance,
        "planted": {kind: {"found": hit, "planted": total} for kind, (hit, total) in audit.planted.items()},
        "significance": thresholds.significance, "detectable_rate": thresholds.detectable_rate,
    }  # fmt: skip
    sensitivity = audit.sensitivity
    figures["sensitivity"] = numbers(sensitivity)

    def verdict(word: str, reason: str) -> dict[str, Any]:
        return {"verdict": word, "reason": reason, "figures": figures}

    if not m:
        return verdict("inconclusive", "the real cohort has no control patients, so there is no floor to compare with")
    if not audit.calibrated:
        reason = "there are too few validation patients' images to say how alike strangers are"
        return verdict("inconclusive", reason)
    if m < thresholds.min_control_images:
        least = thresholds.min_control_images
        return verdict("inconclusive", f"only {m} images of control patients; the policy asks for {least} or more")
    low, high = clopper_pearson(found, n, CONFIDENCE)
    missed = min(1.0, high / max(sensitivity.low or 0.0, 1e-9))
    tests = tests_of(audit, thresholds.significance)
    figures |= {
        "strangers_images": tests[0].strangers_images,
        "strangers_hits": tests[0].strangers_found,
        "hits_needed": tests[0].needed,
        "sure": None if audit.sure is None else {
            "threshold": audit.sure.threshold, "copies": tests[1].found, "strangers_hits": tests[1].strangers_found,
            "hits_needed": tests[1].needed, "sensitivity": audit.sure.sensitivity, "p_value": tests[1].p_value,
        },
        "rate": {"value": found / n, "low": low, "high": high},
        "rate_at_most": missed,
        "control_rate": dict(zip(("low", "high"), clopper_pearson(chance, m, CONFIDENCE), strict=True))
        | {"value": chance / m},
        "p_value": min(test.p_value for test in tests),
        "smallest_rate_caught": smallest_rate_caught_by([test.power for test in tests]),
        "power": power_curve([test.power for test in tests]),
    }  # fmt: skip
    counted = (
        f"{found} of {n} synthetic images are as near to a training image as a copy, "
        f"{chance} of {m} real images of control patients"
    )
    if any(test.fails for test in tests):
        return verdict("fail", f"{counted}; chance explains this in {figures['p_value']:.2g} of cases")
    if (sensitivity.value or 0.0) < LEAST_SENSITIVITY:
        return verdict(
            "inconclusive", f"the detector finds only {sensitivity.value:.0%} of copies planted in these images"
        )
    asked = f"at most {missed:.2%} may be copies; the policy asks for {thresholds.detectable_rate:.2%} or less"
    if missed > thresholds.detectable_rate:
        return verdict("inconclusive", f"{counted}: too few images, or too many hits, to decide: {asked}")
    return verdict("pass", f"{counted}; {asked}")


def _entries(audit: Audit, control_owners: list[str], synthetic: Cohort, seed: int) -> list[dict[str, Any]]:
    def rate(similarity: np.ndarray) -> Score | None:
        if not len(similarity):
            return None
        found = int((similarity > audit.threshold).sum())
        return Score(found / len(similarity), *clopper_pearson(found, len(similarity), CONFIDENCE))

    def upper(similarity: np.ndarray, owners: list[str]) -> Score | None:
        if len(similarity) < 20:
            return None
        draws = bootstrap(lambda chosen: float(np.quantile(similarity[chosen], 0.99)), owners, 200, seed)
        return bootstrap_interval(float(np.quantile(similarity, 0.99)), draws)

    images = [f"{number}" for number in range(len(synthetic))]
    shared: dict[str, Any] = {
        "group": "privacy", "family": "copies", "n_real": len(audit.control), "n_synthetic": len(audit.synthetic),
        "split": "control",
    }  # fmt: skip
    against = "each image against all training images, mirrored, turned, cropped and registered"
    return [
        entry(
            "copy_rate", title="Images that copy a training image", score=rate(audit.synthetic) or Score(None),
            control=rate(audit.control), better="lower",
            good="Good is what control patients reach: nobody learned from them, so their rate is chance.",
            computed_on=f"{against}; control: real images of patients in no training", **shared,
        ),
        entry(
            "nearest_similarity", title="Similarity to the nearest training image, 99th percentile",
            score=upper(audit.synthetic, images) or Score(None), control=upper(audit.control, control_owners),
            better="lower", good="Good is what control patients reach, or less.",
            computed_on=f"{against}; log odds of a copy, fitted to copies planted in the training images, from -1 to 1",
            **shared,
        ),
        entry(
            "copy_sensitivity", title="Planted copies that the detector finds", score=audit.sensitivity,
            better="higher", good="Good is close to 1: the audit would have seen copies, had there been any.",
            computed_on="training images mirrored, turned, cropped, brightened, noised, blended or several of these",
            **(shared | {"n_real": sum(total for _, total in audit.planted.values()), "split": "train"}),
        ),
    ]  # fmt: skip
