"""Usefulness: a classifier trained on synthetic images against one trained on as many real ones, on real test patients.

Both sides get the same network, the same number of steps and, where the synthetic cohort has enough, the same number of
images of each class. Words: a *side* is what was trained on (`real`, `synthetic`); a *fit* is one side with one seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.inputs import patients
from synthcohort.evaluation.learners import Task, arms_of, network_config, network_says, open_task, sample_rows
from synthcohort.metrics.classification import accuracy_of, auroc, kappa_of, macro_recall_of, recalls_of
from synthcohort.metrics.intervals import Score, bootstrap, bootstrap_interval, group_index

LEAST_IN_CLASS = 5  # test images of a class; with fewer its recall means nothing
AUROC_RESAMPLES = 200
SIDES = ("real", "synthetic")


@dataclass(frozen=True)
class Results:
    """Class probabilities of the test images, [seeds, N, K] for each side, and what is needed to score them."""

    probabilities: dict[str, np.ndarray]
    truth: np.ndarray
    owners: Sequence[str]
    draws: dict[str, np.ndarray]  # confusion matrices of resamples of patients and seeds: [resamples, seeds, K, K]

    @property
    def num_classes(self) -> int:
        return int(self.probabilities["real"].shape[2])

    def confusions(self, side: str) -> np.ndarray:
        """[seeds, K, K]"""
        return _by_owner(self.probabilities[side], self.truth, np.zeros(len(self.truth), np.int64))[:, 0]

    def score(self, side: str, statistic: Callable[[np.ndarray], float]) -> Score:
        """Mean over seeds of a statistic of the confusion matrix, with its interval."""
        return bootstrap_interval(_mean(statistic, self.confusions(side)), self.resampled(side, statistic))

    def resampled(self, side: str, statistic: Callable[[np.ndarray], float]) -> np.ndarray:
        return np.array([_mean(statistic, matrices) for matrices in self.draws[side]])

    def compared(self, statistic: Callable[[np.ndarray], float], join: Callable[[Any, Any], Any]) -> Score:
        """join(synthetic, real) of a statistic; both sides see the same resampled patients."""
        value = join(*(_mean(statistic, self.confusions(side)) for side in reversed(SIDES)))
        return bootstrap_interval(value, join(*(self.resampled(side, statistic) for side in reversed(SIDES))))


def utility(real: Cohort, synthetic: Cohort, config: EvaluateConfig, cache: Path, seed: int) -> list[dict[str, Any]]:
    """Scores of a classifier trained on synthetic images; their floor is the same trained on real ones.

    Each fit is kept in `cache`; a killed evaluation goes on with the next one.
    """
    task = open_task(real, synthetic, config.label)
    chosen = {number: sample_rows(task, config.utility.images, seed, number) for number in range(config.utility.seeds)}
    if any(len(np.unique(task.classes(task.synthetic)[item["synthetic"]])) < 2 for item in chosen.values()):
        return [_impossible(task)]
    probabilities = {
        side: np.stack([_said(task, side, chosen[n], config, cache, seed, n) for n in chosen]) for side in SIDES
    }
    truth, owners = task.classes(task.test), patients(task.test)
    draws = _draws(probabilities, truth, owners, config.bootstrap, seed)
    return _entries(task, Results(probabilities, truth, owners, draws), chosen[0], config)


def _said(
    task: Task, side: str, chosen: dict[str, np.ndarray], config: EvaluateConfig, cache: Path, seed: int, number: int
) -> np.ndarray:
    """Probabilities of the test images [N, K] after one fit."""
    fit = network_config("residual", config.utility.steps, config.utility.batch)
    words = f"fit {number + 1} of {config.utility.seeds} on {side} images"
    return network_says(task, arms_of(chosen)[side], fit, cache, seed, number, words)


def _by_owner(probabilities: np.ndarray, truth: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Confusion matrices of each seed and owner: [seeds, owners, K, K]."""
    seeds, _, num = probabilities.shape
    cells = np.zeros((seeds, int(index.max()) + 1, num * num))
    for number in range(seeds):
        np.add.at(cells[number], (index, truth * num + probabilities[number].argmax(axis=1)), 1)
    return cells.reshape(seeds, -1, num, num)


def _draws(
    probabilities: dict[str, np.ndarray], truth: np.ndarray, owners: Sequence[str], resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Resamples of patients, the same for both sides, and of seeds, each side its own."""
    index = group_index(owners)
    num_owners, (seeds, _, num) = int(index.max()) + 1, probabilities["real"].shape
    generator = rng("utility", seed, "bootstrap")
    weights = np.stack(
        [np.bincount(generator.integers(0, num_owners, num_owners), minlength=num_owners) for _ in range(resamples)]
    )
    result = {}
    for side in SIDES:
        cells = _by_owner(probabilities[side], truth, index).reshape(seeds, num_owners, num * num)
        drawn = np.stack([weights @ cells[number] for number in range(seeds)], 1).reshape(resamples, seeds, num, num)
        picked = generator.integers(0, seeds, (resamples, seeds))
        result[side] = drawn[np.arange(resamples)[:, None], picked]
    return result


def _mean(statistic: Callable[[np.ndarray], float], matrices: np.ndarray) -> float:
    values = np.array([statistic(matrix) for matrix in matrices])
    return float(values.mean()) if np.isfinite(values).all() else float("nan")


def _ratio(synthetic: Any, real: Any) -> Any:
    real = np.asarray(real, np.float64)
    return (np.where(real > 0, synthetic, np.nan) / np.where(real > 0, real, 1.0))[()]


def _skill(matrix: np.ndarray) -> float:
    """Balanced accuracy beyond chance: 0 is guessing, 1 is perfect."""
    chance = 1 / len(matrix)
    return (macro_recall_of(matrix) - chance) / (1 - chance)


def _recall(matrix: np.ndarray, number: int) -> float:
    return float(recalls_of(matrix)[number])


def _entries(
    task: Task, results: Results, chosen: dict[str, np.ndarray], config: EvaluateConfig
) -> list[dict[str, Any]]:
    label, members = task.label, np.bincount(results.truth, minlength=results.num_classes)
    counts = {side: len(chosen[side]) for side in SIDES}
    words = (
        f"{config.utility.seeds} classifiers a side, trained on {counts['synthetic']} synthetic or {counts['real']} "
        f"real images for {config.utility.steps} steps, tested on {len(results.truth)} real test images; floor: real"
        f"{_shortage(task, chosen)}"
    )
    shared: dict[str, Any] = {
        "group": "utility", "better": "higher", "n_real": counts["real"], "n_synthetic": counts["synthetic"],
    }  # fmt: skip
    good = "Good is close to the floor: the classifier that learned from synthetic images does as well."
    ordinal = label.kind == "ordinal"
    main, main_words = (kappa_of, "quadratic κ") if ordinal else (_skill, "balanced accuracy beyond chance")
    figures: list[tuple[str, str, str | None, Callable[[np.ndarray], float]]] = [
        ("utility_accuracy", "Accuracy after training on synthetic", None, accuracy_of),
        ("utility_macro_recall", "Mean recall after training on synthetic", None, macro_recall_of),
        ("utility_skill", f"Skill after training on synthetic ({main_words})", None, main),
    ]
    for number, value in enumerate(label.values):
        if members[number] >= LEAST_IN_CLASS:
            recall = partial(_recall, number=number)
            figures.append(("utility_recall", "Recall after training on synthetic", f"{label.name}={value}", recall))
    made = [
        entry(
            name, title=title, subset=subset, score=results.score("synthetic", statistic),
            floor=results.score("real", statistic), good=good, computed_on=words, **shared,
        )
        for name, title, subset, statistic in figures
    ]  # fmt: skip
    if not ordinal:
        made.append(
            entry(
                "utility_auroc", title="Mean area under the ROC curve after training on synthetic",
                score=_auroc(results, "synthetic", config), floor=_auroc(results, "real", config), good=good,
                computed_on=words, **shared,
            )
        )  # fmt: skip
    made.append(_ratio_entry(results, main, main_words, words, shared))
    for name, _, subset, statistic in figures:
        if name == "utility_recall":
            made.append(
                entry(
                    "utility_recall_difference", title="Recall, trained on synthetic less trained on real",
                    subset=subset, score=results.compared(statistic, lambda synthetic, real: synthetic - real),
                    good="Good is 0 or more; far below 0 means that this class is lost.", computed_on=words, **shared,
                )
            )  # fmt: skip
    return made


def _impossible(task: Task) -> dict[str, Any]:
    return entry(
        "utility_ratio", title="Skill trained on synthetic over trained on real", group="utility", score=Score(None),
        better="higher", good="Good is close to 1: synthetic images teach as much as real ones.",
        n_real=len(task.train), n_synthetic=len(task.synthetic),
        computed_on=f"nothing: the synthetic images show fewer than two classes of {task.label.name}",
    )  # fmt: skip


def _ratio_entry(
    results: Results, main: Callable[[np.ndarray], float], main_words: str, words: str, shared: dict[str, Any]
) -> dict[str, Any]:
    """Skill trained on synthetic over skill trained on real; no number when the real side has learned nothing."""
    real = results.score("real", main)
    learned = real.value is not None and real.low is not None and real.low > 0
    note = "" if learned else "; no ratio: training on real images does not surely beat guessing"
    return entry(
        "utility_ratio",
        title=f"Skill trained on synthetic over trained on real ({main_words})",
        score=results.compared(main, _ratio) if learned else Score(None),
        good="Good is close to 1: synthetic images teach as much as real ones.",
        computed_on=words + note,
        **shared,
    )


def _auroc(results: Results, side: str, config: EvaluateConfig) -> Score:
    def mean(chosen: np.ndarray) -> float:
        areas = [auroc(truth=results.truth[chosen], scores=p[chosen]) for p in results.probabilities[side]]
        return float(np.mean(areas))

    draws = bootstrap(mean, results.owners, min(config.bootstrap, AUROC_RESAMPLES), 0)
    return bootstrap_interval(mean(np.arange(len(results.truth))), draws)


def _shortage(task: Task, chosen: dict[str, np.ndarray]) -> str:
    """Words for the classes of which there are too few synthetic images."""
    num = len(task.label.values)
    wanted = np.bincount(task.classes(task.train)[chosen["real"]], minlength=num)
    found = np.bincount(task.classes(task.synthetic)[chosen["synthetic"]], minlength=num)
    short = [f"{v}: {f} of {w}" for v, f, w in zip(task.label.values, found, wanted, strict=True) if f < w]
    return f"; too few synthetic images of {task.label.name} {', '.join(short)}" if short else ""
