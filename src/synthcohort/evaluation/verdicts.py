"""Verdicts of the gating families: pass, fail or inconclusive, with the reason in words and the figures behind it.

A family fails when the interval of its figure lies beyond the policy's threshold, passes when it lies within, and is
inconclusive when the threshold lies inside the interval. Real images offered as synthetic lie far within.
"""

from collections.abc import Mapping
from typing import Any, Literal

from synthcohort.core.policy import FAMILIES, CoverageThresholds, LabelTruthThresholds
from synthcohort.evaluation.entries import interval_words, numbers
from synthcohort.metrics.intervals import Score, clopper_pearson

Verdict = Literal["pass", "fail", "inconclusive"]
NOT_BUILT = "not built yet"


def family(verdict: Verdict, reason: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {"verdict": verdict, "reason": reason, "figures": dict(figures)}


def not_built() -> dict[str, Any]:
    return family("inconclusive", NOT_BUILT, {})


def at_least(score: Score, threshold: float) -> Verdict:
    """Whether a figure is surely at least the threshold, surely below, or neither."""
    if score.value is None or score.low is None or score.high is None:
        return "inconclusive"
    return "pass" if score.low >= threshold else "fail" if score.high < threshold else "inconclusive"


def missing_classes(
    real: Mapping[str, int], synthetic: Mapping[str, int], fraction: float, confidence: float
) -> dict[str, dict[str, float]]:
    """Classes whose synthetic share is surely below `fraction` of their real share; each is tested at `confidence`."""
    total_real, total = sum(real.values()), sum(synthetic.values())
    missing = {}
    for name, count in real.items():
        if not count or not total:
            continue
        share = count / total_real
        high = clopper_pearson(synthetic.get(name, 0), total, confidence)[1]
        if high < fraction * share:
            missing[name] = {"real_share": share, "synthetic_share": synthetic.get(name, 0) / total, "at_most": high}
    return missing


def scarce_classes(real: Mapping[str, int], synthetic: Mapping[str, int], fraction: float) -> list[str]:
    """Classes whose synthetic share is below `fraction` of their real share, surely or not.

    Those of which fewer than three images could be expected are let be: chance alone leaves them out.
    """
    total_real, total = sum(real.values()), sum(synthetic.values())
    if not total_real or not total:
        return []
    expected = {name: total * count / total_real for name, count in real.items()}
    return [name for name, wanted in expected.items() if wanted >= 3 and synthetic.get(name, 0) < fraction * wanted]


def coverage(
    ratio: Score,
    by_class: Mapping[str, Score],
    real: Mapping[str, int],
    synthetic: Mapping[str, int],
    thresholds: CoverageThresholds,
) -> dict[str, Any]:
    """Variety reached against as many real training images: of all patients, of each class, and no class left out.

    A class can fail the family but not pass it: rare classes have too few test images for that. Where one has hardly
    any synthetic images, too few to say surely that it was left out, the family does not pass either.
    """
    present = sum(count > 0 for count in real.values())
    missing = missing_classes(real, synthetic, thresholds.min_class_fraction, 1 - 0.05 / max(1, present))
    figures = {
        "ratio": numbers(ratio),
        "by_class": {name: numbers(score) for name, score in by_class.items()},
        "threshold": thresholds.min_ratio,
        "missing_classes": missing,
        "real_classes": dict(real),
        "synthetic_classes": dict(synthetic),
    }
    reached = (
        f"{interval_words(ratio)} of the variety that as many real training images reach, in features that know the "
        f"label; the policy asks for {thresholds.min_ratio:g}"
    )
    if missing:
        return family("fail", f"left out or nearly so: {', '.join(missing)}; reached: {reached}", figures)
    verdict = at_least(ratio, thresholds.min_ratio)
    poor = {name: score for name, score in by_class.items() if at_least(score, thresholds.min_ratio) == "fail"}
    if poor and verdict != "fail":
        words = ", ".join(f"{name} {interval_words(score)}" for name, score in poor.items())
        return family("fail", f"too little variety within {words}; of all: {reached}", figures)
    if verdict == "inconclusive":
        return family(verdict, f"too few images to decide: reached {reached}", figures)
    scarce = scarce_classes(real, synthetic, thresholds.min_class_fraction)
    if verdict == "pass" and scarce:
        words = f"too few images to tell whether these were left out: {', '.join(scarce)}; of all: reached {reached}"
        return family("inconclusive", words, figures)
    return family(verdict, f"reached {reached}", figures)


def label_truth(
    real: Score, synthetic: Score, ratio: Score, num_classes: int, thresholds: LabelTruthThresholds
) -> dict[str, Any]:
    """The reader's skill on synthetic images over its skill on real test images; a reader without skill can't judge."""
    figures = {
        name: numbers(score)
        for name, score in (("skill_on_real", real), ("skill_on_synthetic", synthetic), ("ratio", ratio))
    } | {"threshold": thresholds.min_ratio, "classes_compared": num_classes}
    if num_classes < 2:
        return family("inconclusive", "fewer than two classes have enough images on both sides", figures)
    if at_least(real, thresholds.min_reader_skill) != "pass":
        reason = (
            f"the reader's skill on real test images is {interval_words(real)}, not surely above "
            f"{thresholds.min_reader_skill:g}, so it can't judge"
        )
        return family("inconclusive", reason, figures)
    words = f"the reader's skill on synthetic images is {interval_words(ratio)} of its skill on real ones"
    verdict = at_least(ratio, thresholds.min_ratio)
    reason = f"{words}; the policy asks for {thresholds.min_ratio:g}"
    return family(verdict, f"too few images to decide: {reason}" if verdict == "inconclusive" else reason, figures)


def complete(families: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """All families in the policy's order; those that nobody computed are inconclusive."""
    return {name: dict(families.get(name) or not_built()) for name in FAMILIES}


def overall(families: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The verdict of the whole: fail when a family fails, else inconclusive when one is, else pass."""
    failed = [name for name, item in families.items() if item["verdict"] == "fail"]
    inconclusive = [name for name, item in families.items() if item["verdict"] == "inconclusive"]
    verdict = "fail" if failed else "inconclusive" if inconclusive else "pass"
    return {"verdict": verdict, "failed": failed, "inconclusive": inconclusive}
