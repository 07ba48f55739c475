"""Family subgroups: is a group of patients left out, or drawn worse than the others?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy, SubgroupsThresholds
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.damage import WORDS, DamageConfig, Marked, material
from synthcohort.evaluation.damage_reader import MARKS
from synthcohort.evaluation.entries import entry, numbers
from synthcohort.evaluation.group_columns import Columns, SubgroupsConfig, usable_columns
from synthcohort.evaluation.group_figures import FAR, SAME, CellFigures, Side, cells_of, measure
from synthcohort.evaluation.inputs import Inputs, patients, sample_images
from synthcohort.evaluation.verdicts import family
from synthcohort.metrics.intervals import Score, group_index
from synthcohort.metrics.shift import Estimate

FAIL_LEVEL = 0.005  # one-sided, shared by all cells and figures
PASS_LEVEL = 0.025  # one-sided, of each figure
GAP_WORDS = {**WORDS, FAR: "farther from real images", SAME: "more alike among themselves"}


def verdict(
    figures: Sequence[CellFigures], thresholds: SubgroupsThresholds, max_damaged_share: float, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """A group that is surely missing or surely drawn worse fails; all groups surely within the limits pass.

    Labels read worse can fail the family; that they are read well need not be sure, for readers are often weak. Groups
    of fewer images than the policy asks for are listed as not judged.
    """
    fraction, max_gap = thresholds.min_group_fraction, thresholds.max_gap
    tests = sum(1 + len(item.gaps) + (item.damaged is not None) + (item.reading is not None) for item in figures)
    level = FAIL_LEVEL / max(1, tests)
    missing, worse, open_, small = [], [], [], []
    for item in figures:
        bad, unsure = _outcome(item, level, max_gap, float(np.log(thresholds.min_ratio)), max_damaged_share)
        if item.share.high(level) < fraction * item.expected:
            missing.append(_missing_words(item))
        elif not item.share.low(PASS_LEVEL) > fraction * item.expected:
            unsure.append("whether it is there at all")
        if bad:
            worse.append(f"{item.cell.name} ({'; '.join(bad)})")
        elif not item.gaps and not unsure and item.cell.number is None:
            small.append(item.cell.name)
        elif unsure and item.cell.number is None:
            open_.append(f"{item.cell.name} ({', '.join(unsure)})")
    content = {
        "cells": [_content(item) for item in figures],
        "min_group_fraction": fraction,
        "max_gap": max_gap,
        "min_ratio": thresholds.min_ratio,
        "not_judged": [*notes, *small],
    }
    if small:
        notes = [*notes, f"{', '.join(small)}, of fewer than {thresholds.min_group_images} images on one side"]
    aside = f"; not judged: {'; '.join(notes)}" if notes else ""
    if missing or worse:
        words = [f"left out or nearly so: {'; '.join(missing)}"] if missing else []
        words += [f"drawn worse than the others: {'; '.join(worse)}"] if worse else []
        return family("fail", f"{'. '.join(words)}{aside}", content)
    if open_:
        return family("inconclusive", f"too few images to tell for {'; '.join(open_)}{aside}", content)
    groups = [item.cell for item in figures if item.cell.number is None and item.gaps]
    if not groups:
        return family("inconclusive", f"no group has enough images to tell how it is drawn{aside}", content)
    names, num = sorted({cell.column for cell in groups}), len(groups)
    reason = f"none of {num} groups by {', '.join(names)} is left out or drawn worse than the others"
    return family("pass", f"{reason}; {_would_fail(figures, level, max_gap)}{aside}", content)


def _outcome(
    item: CellFigures, level: float, max_gap: float, least_log: float, max_damaged: float
) -> tuple[list[str], list[str]]:
    """In words: in what the cell is surely worse, and what stays open."""
    bad, unsure = [], []
    for name, gap in item.gaps.items():
        if gap.low(level) > max_gap:
            bad.append(f"{GAP_WORDS[name]}: {gap.value:+.2f} in probability")
        elif not gap.high(PASS_LEVEL) <= max_gap:
            unsure.append(GAP_WORDS[name])
    if item.damaged is not None:
        excess = item.damaged[0] - item.damaged[1]
        if excess.low(level) > max_damaged and not bad and item.gaps and _leads(item):
            bad.append(f"{100 * item.damaged[0].value:.0f} % damaged, of real ones {100 * item.damaged[1].value:.0f} %")
    if item.reading is not None:
        ratio = float(np.exp(item.reading.value))
        if item.reading.high(level) < least_log:
            bad.append(f"its labels are read {ratio:.2f} times as well as the others'")
    return bad, unsure


def _leads(item: CellFigures) -> bool:
    """Whether the cell leans more towards some damage than the others: else all images are damaged alike."""
    return any(gap.low(PASS_LEVEL) > 0 for name, gap in item.gaps.items() if name in MARKS)


def _missing_words(item: CellFigures) -> str:
    return f"{item.cell.name} ({100 * item.share.value:.1f} % of the images, {100 * item.expected:.1f} % expected)"


def _would_fail(figures: Sequence[CellFigures], level: float, max_gap: float) -> str:
    """The gap that would have failed in the group that is known least."""
    errors = [gap.error for item in figures for gap in item.gaps.values() if item.cell.number is None]
    least = max_gap + Estimate(0.0, max(errors, default=0.0)).high(level)
    return f"a gap of {least:.2f} in probability would have failed in any of them"


def _content(item: CellFigures) -> dict[str, Any]:
    return {
        "cell": item.cell.name,
        "n_real": item.num_real,
        "n_synthetic": item.num_synthetic,
        "share": numbers(item.share.score(0, 1)),
        "expected_share": item.expected,
        "gaps": {name: numbers(gap.score(-1, 1)) for name, gap in item.gaps.items()},
        "label_reading_log_ratio": None if item.reading is None else numbers(item.reading.score()),
    }


def subgroups(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: SubgroupsConfig | None = None, damage: DamageConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: scores by group and the family subgroups."""
    settings, thresholds = settings or SubgroupsConfig(), policy.thresholds.subgroups
    least = thresholds.min_group_images
    train = inputs.real.select(split="train")
    columns = usable_columns(train, inputs.synthetic, settings, least)
    if not columns.values:
        reason = f"no group of patients can be judged: {'; '.join(columns.absent)}"
        return {"scores": [], "families": {"subgroups": family("inconclusive", reason, {})}}
    made = material(inputs, damage or DamageConfig(), cache, seed)
    if made is None:
        reason = "too few real training images to learn damage from"
        return {"scores": [], "families": {"subgroups": family("inconclusive", reason, {})}}
    synthetic_view = sample_images(inputs.synthetic, config.max_images, seed, "synthetic")
    roles = inputs.real.column("split")
    unseen = inputs.real.select(indices=[i for i, role in enumerate(roles) if role in ("validation", "test")])
    seen, synthetic = (
        Side(made.mark(view), columns.codes(view), *seen_by(eyes, inputs, view)) for view in (unseen, synthetic_view)
    )
    sound = Side(made.reference, columns.codes(made.reference_view))
    composition = _composed(inputs, train, columns)
    label = inputs.label.name if inputs.label else ""
    cells = cells_of(columns, composition, label, inputs.values, least)
    figures = measure(cells, composition, sound, seen, synthetic, least, settings.target)
    judged = verdict(figures, thresholds, policy.thresholds.image_damage.max_damaged_share, columns.absent)
    return {"scores": _entries(figures), "families": {"subgroups": judged}}


def _composed(inputs: Inputs, view: Cohort, columns: Columns) -> Side:
    """Only groups and classes: real images that shares are compared with."""
    num = len(view)
    owners = group_index(patients(view))
    empty = np.zeros((num, 0))
    return Side(Marked(empty, np.zeros(num, bool), owners, inputs.classes(view), empty), columns.codes(view))


def seen_by(eyes: Any, inputs: Inputs, view: Cohort) -> tuple[np.ndarray, np.ndarray | None]:
    """Features, and whether the grader reads the label that the image carries."""
    features = eyes.see("self_trained", view).features
    if inputs.label is None:
        return features, None
    classes = inputs.classes(view)
    return features, np.where(classes >= 0, (eyes.read_labels(view) == classes).astype(np.float64), np.nan)


def _entries(figures: Sequence[CellFigures]) -> list[dict[str, Any]]:
    result = []
    for item in figures:
        shared: dict[str, Any] = {
            "group": "fairness", "family": "subgroups", "subset": item.cell.name, "n_real": item.num_real,
            "n_synthetic": item.num_synthetic,
        }  # fmt: skip
        result.append(
            entry(
                "group_share", title="Share of the group", score=item.share.score(0, 1), floor=Score(item.expected),
                better="none", computed_on="records; floor: the share expected from real images of the same classes, "
                "or the target", good="Good is close to the floor: the group is neither left out nor overdrawn.",
                **shared,
            )
        )  # fmt: skip
        if item.damaged is not None:
            result.append(
                entry(
                    "damaged_share", title="Share of damaged images", score=item.damaged[0].score(0, 1),
                    floor=item.damaged[1].score(0, 1), better="lower", computed_on="statistics of single images",
                    good="Good is close to the floor: no more images are damaged than among real ones of the group.",
                    **shared,
                )
            )  # fmt: skip
        if item.read is not None:
            result.append(
                entry(
                    "label_read", title="Labels read as they say", score=item.read[0].score(0, 1),
                    floor=item.read[1].score(0, 1), better="higher",
                    computed_on="a classifier fitted on real training images; floor: real test and validation images",
                    good="Good is close to the floor: the group shows its labels as real images of it do.", **shared,
                )
            )  # fmt: skip
        for name, gap in item.gaps.items():
            if item.cell.number is None:
                result.append(
                    entry(
                        f"group_gap_{name}", title=f"Gap to other groups: {GAP_WORDS[name]}", score=gap.score(-1, 1),
                        better="lower", computed_on="difference of probabilities, synthetic against real images, "
                        "within the group and outside it",
                        good="Good is 0 or less: the group is drawn no worse than the others.", **shared,
                    )
                )  # fmt: skip
    return result
