"""Stress: does a classifier learn "synthetic" instead of the disease, and where does a user's classifier break?

The shortcut probe fills one rare class with synthetic images only. If synthetic images carry a mark of their own, a
learner takes the mark for the disease: it misses real patients of the class, and calls synthetic images of other
classes sick. The sweeps put one kind of stress after another on real and on synthetic images and compare where they
break.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import Policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.faults import Fault, blurred, noised
from synthcohort.evaluation.inputs import Inputs, patients, sample_images
from synthcohort.evaluation.learners import Arm, Probes, Task, open_task, probes_of
from synthcohort.evaluation.part_config import StressConfig
from synthcohort.evaluation.user_classifier import Judge, open_classifier, predicted
from synthcohort.imaging.intensity import to_unit
from synthcohort.metrics.intervals import Score, group_index
from synthcohort.metrics.shift import Estimate, mean_of, share_of

PROBE_RUNS = 5
LEAST_RARE = 20  # real training images of the rare class, and synthetic ones
LEAST_TEST = 10
FAIL_LEVEL = 0.025  # one-sided: a level of stress is one too many when accuracy has surely fallen


@dataclass(frozen=True)
class Sweep:
    """One kind of stress in growing levels; the first level changes nothing."""

    title: str
    fault: Fault
    levels: tuple[float, ...]
    unit: str


def exposed(image: np.ndarray, stops: float, generator: np.random.Generator) -> np.ndarray:
    """Brighter by a number of stops (doublings), cut at the top; negative: darker."""
    return np.asarray(np.clip(image * np.float32(2.0**stops), 0, 1))


SWEEPS: dict[str, Sweep] = {
    "overexposure": Sweep("Overexposure", exposed, (0, 0.25, 0.5, 1, 1.5, 2), "stops"),
    "underexposure": Sweep("Underexposure", exposed, (0, -0.25, -0.5, -1, -1.5, -2), "stops"),
    "noise": Sweep("Noise", noised, (0, 0.01, 0.02, 0.05, 0.1, 0.2), "of the value range"),
    "blur": Sweep("Blur", blurred, (0, 0.5, 1, 1.5, 2, 3), "pixels"),
}


def sweep(
    judge: Judge, images: np.ndarray, truth: np.ndarray, owners: np.ndarray, chosen: Sweep, seed: int
) -> list[Estimate]:
    """Share of images read right at each level."""
    result = []
    for number, level in enumerate(chosen.levels):
        generator = rng("stress", seed, chosen.title, number)
        spoilt = images if level == 0 else np.stack([chosen.fault(image, level, generator) for image in images])
        result.append(share_of(predicted(judge, np.clip(spoilt, 0, 1)) == truth, owners))
    return result


def breaking_point(levels: Sequence[float], found: Sequence[Estimate], max_drop: float) -> float | None:
    """Where accuracy has surely fallen by more than `max_drop` for good, between two levels; None: it does not break.

    The crossing is interpolated between the last level that holds and the first from which on all are broken.
    """
    limit = found[0].value - max_drop
    broken = [value.high(FAIL_LEVEL) < limit for value in found]
    for number in range(1, len(levels)):
        if all(broken[number:]):
            before, after = found[number - 1].value, found[number].value
            share = 0.5 if before <= after else float(np.clip((before - limit) / (before - after), 0, 1))
            return float(levels[number - 1] + share * (levels[number] - levels[number - 1]))
    return None


def stress(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: StressConfig | None = None, classifier: Judge | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: shortcut probe and sweeps; they gate nothing.

    `classifier`: a function in place of the settings' file; without both the grader of the label is put under stress.
    """
    settings = settings or StressConfig()
    if inputs.label is None:
        return {"scores": [], "families": {}}
    task = open_task(inputs.real, inputs.synthetic, inputs.label.name)
    scores = shortcut(task, eyes, config, settings, seed)
    source: Any = classifier or settings.classifier
    judge = open_classifier(source, len(inputs.values)) if source else _grader(eyes)
    name = "the user's classifier" if source else "the classifier of the label, fitted on real training images,"
    sides = {which: _side(view, task, settings, seed) for which, view in _views(task).items()}
    points: dict[str, Any] = {}
    for key, chosen in SWEEPS.items():
        found = {which: sweep(judge, *side, chosen, seed) for which, side in sides.items()}
        points[key] = _point(chosen, found, settings)
        scores += _sweep_entries(key, chosen, found, points[key], sides, name)
    scores += _severity_entries(judge, sides, task, name)
    return {"scores": scores, "families": {}, "figures": {"breaking_points": points}}


def _views(task: Task) -> dict[str, Cohort]:
    return {"real": task.test, "synthetic": task.synthetic}


def _side(view: Cohort, task: Task, settings: StressConfig, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images in [0, 1], their classes and patients."""
    few = sample_images(view, settings.images, seed, "stress")
    stored = np.stack([few.image(i) for i in range(len(few))])
    return (to_unit(stored, task.values) + 1) / 2, task.classes(few), group_index(patients(few))


def _grader(eyes: Any) -> Judge:
    grader = replace(eyes.grader(), value_range=None)

    def judge(images: np.ndarray) -> np.ndarray:
        x = 2 * images - 1  # a classifier reads floats as they are, in [-1, 1]
        stored = list(x[:, 0]) if x.shape[1] == 1 else list(x.transpose(0, 2, 3, 1))
        return np.asarray(grader.probabilities(stored))

    return judge


def _point(chosen: Sweep, found: dict[str, list[Estimate]], settings: StressConfig) -> dict[str, Any]:
    return {
        "unit": chosen.unit,
        "levels": list(chosen.levels),
        **{
            which: {
                "accuracy": [value.value for value in values],
                "breaks_at": breaking_point(chosen.levels, values, settings.max_drop),
            }
            for which, values in found.items()
        },
    }


def _sweep_entries(
    key: str, chosen: Sweep, found: dict[str, list[Estimate]], point: dict[str, Any], sides: dict[str, Any], name: str
) -> list[dict[str, Any]]:
    def words(which: str) -> str:
        at = point[which]["breaks_at"]
        return "does not break" if at is None else f"breaks at {at:.2f} {chosen.unit}"

    shared: dict[str, Any] = {
        "group": "stress", "better": "none", "n_real": len(sides["real"][1]), "n_synthetic": len(sides["synthetic"][1]),
        "computed_on": f"{name} {words('synthetic')} on synthetic images and {words('real')} on real test images",
    }  # fmt: skip
    return [
        entry(
            f"stress_{key}", title=f"{chosen.title}: labels read right", subset=f"{level:g} {chosen.unit}",
            score=made.score(0, 1), floor=real.score(0, 1),
            good="Good is close to the floor at every level: synthetic images tell where the classifier breaks on "
            "real ones.", **shared,
        )
        for level, made, real in zip(chosen.levels, found["synthetic"], found["real"], strict=True)
    ]  # fmt: skip


def _severity_entries(judge: Judge, sides: dict[str, Any], task: Task, name: str) -> list[dict[str, Any]]:
    """How well each grade is read, from mild to severe."""
    said = {which: predicted(judge, side[0]) for which, side in sides.items()}
    result = []
    for number, value in enumerate(task.label.values):
        rows = {which: np.flatnonzero(side[1] == number) for which, side in sides.items()}
        if min(map(len, rows.values())) < LEAST_TEST:
            continue
        shares = {
            which: share_of(said[which][row] == number, sides[which][2][row]).score(0, 1) for which, row in rows.items()
        }
        result.append(
            entry(
                "stress_severity", title="Read right at each value of the label", group="stress",
                subset=f"{task.label.name}={value}", score=shares["synthetic"], floor=shares["real"], better="none",
                n_real=len(rows["real"]), n_synthetic=len(rows["synthetic"]), computed_on=f"{name} on real test images "
                "and on synthetic ones",
                good="Good is close to the floor: severity is as hard to see as in real patients.",
            )
        )  # fmt: skip
    return result


def shortcut(task: Task, eyes: Any, config: EvaluateConfig, settings: StressConfig, seed: int) -> list[dict[str, Any]]:
    """The probe: the rare class from synthetic images only, all others from real ones."""
    encoder = "packaged" if "packaged" in config.encoders else "self_trained"
    real, made = task.classes(task.train), task.classes(task.synthetic)
    truth = task.classes(task.test)
    rare = _rare(task, settings, real, made, truth)
    if rare is None:
        return []
    views = {"train": task.train, "synthetic": task.synthetic, "test": task.test}
    probes = probes_of(task, {name: eyes.see(encoder, view).features for name, view in views.items()})
    return shortcut_entries(probes, truth, group_index(patients(task.test)), rare, task, seed)


def _rare(task: Task, settings: StressConfig, real: np.ndarray, made: np.ndarray, truth: np.ndarray) -> int | None:
    """The class asked for, else the rarest with enough real training, real test and synthetic images."""
    num = len(task.label.values)
    counts = np.stack([np.bincount(side, minlength=num) for side in (real, made, truth)])
    enough = (counts[0] >= LEAST_RARE) & (counts[1] >= LEAST_RARE) & (counts[2] >= LEAST_TEST)
    if settings.rare is not None:
        wanted = task.label.values.index(task.label.parse(settings.rare))
        return wanted if enough[wanted] else None
    found = np.flatnonzero(enough)
    return int(found[np.argmin(counts[0][found])]) if len(found) and num > 1 else None


def shortcut_entries(
    probes: Probes, truth: np.ndarray, owners: np.ndarray, rare: int, task: Task, seed: int
) -> list[dict[str, Any]]:
    """Recall of the rare class on real test images, and how often synthetic images of other classes are called it."""
    others = np.flatnonzero(probes.real_classes != rare)
    real, made = np.flatnonzero(probes.real_classes == rare), np.flatnonzero(probes.synthetic_classes == rare)
    count = min(len(real), len(made))
    held_out = np.flatnonzero(probes.synthetic_classes != rare)
    recalls, called, called_real = [], [], []
    for run in range(PROBE_RUNS):
        generator = rng("shortcut", seed, run)
        few = [generator.choice(rows, count, replace=False) for rows in (real, made)]
        arms = Arm(np.concatenate([others, few[0]]), few[1][:0]), Arm(others, few[1])
        said = [probes.says(arm).argmax(axis=1) == rare for arm in arms]
        recalls.append([s[truth == rare] for s in said])
        called_real.append(said[1][truth != rare])
        asked = _asking(probes, held_out)
        called.append(asked.says(arms[1]).argmax(axis=1) == rare)
    means = np.mean(recalls, axis=0)
    rare_owners, other_owners = owners[truth == rare], owners[truth != rare]
    lost = mean_of(means[0] - means[1], rare_owners)
    false = mean_of(np.mean(called, axis=0), np.arange(len(held_out))) - mean_of(
        np.mean(called_real, axis=0), other_owners
    )
    subset = f"{task.label.name}={task.label.values[rare]}"
    words = (
        f"probes of fixed features; {subset} learned from {count} synthetic images only, all other classes from "
        f"{len(others)} real ones; beside them the same with {count} real images of the class"
    )
    shared: dict[str, Any] = {
        "group": "stress", "subset": subset, "better": "lower", "n_real": len(truth), "n_synthetic": count,
        "computed_on": words,
    }  # fmt: skip
    return [
        entry(
            "shortcut_recall_lost", title="Recall lost where one class is synthetic", score=lost.score(-1, 1),
            floor=Score(0.0),
            good="Good is 0: learned from synthetic images alone, the class is recognized in real patients.", **shared,
        ),
        entry(
            "shortcut_called", title="Synthetic images of other classes called so, beyond real ones",
            score=false.score(-1, 1), floor=Score(0.0),
            good="Good is 0; far above means that the learner took a mark of synthetic images for the disease.",
            **shared,
        ),
    ]  # fmt: skip


def _asking(probes: Probes, rows: np.ndarray) -> Probes:
    """The same probes, asked about synthetic images."""
    return replace(probes, test=probes.synthetic[rows])
