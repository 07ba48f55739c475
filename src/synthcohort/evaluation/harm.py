"""Family harm: does a class lose recall when learners see synthetic images instead of, or beside, real ones?

Losses are paired by patient and by run (learner and seed). A class that surely loses more than the policy allows fails
the family however the mean moves. Their error has two parts: who the test patients are, and which images and which luck
each run had; the second can't be averaged away, since the cohort that is judged is one sample itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from synthcohort.core.policy import HarmThresholds, Policy
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import entry, interval_words
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.learners import (
    Probes,
    Task,
    arms_of,
    network_config,
    network_says,
    open_task,
    probes_of,
    sample_rows,
)
from synthcohort.evaluation.part_config import HarmConfig
from synthcohort.evaluation.verdicts import family
from synthcohort.metrics.intervals import Score, group_index
from synthcohort.metrics.shift import mean_of

FAIL_LEVEL = 0.005  # one-sided, shared by all classes and arms
PASS_LEVEL = 0.025  # one-sided, of each class and arm
GATED = ("synthetic", "both")  # instead of real images, and beside them
ARMS = ("real", "synthetic", "both", "fine_tuned")
PROBE_RUNS = 6  # draws of patients for each arm of the probe
LEAST_PATIENTS = 15  # test patients of a class; with fewer its recall means nothing
ARM_WORDS = {
    "synthetic": "trained on synthetic instead of real images",
    "both": "trained on real and synthetic images",
    "fine_tuned": "trained on synthetic images, then on real ones",
}


@dataclass(frozen=True)
class Loss:
    """Recall of one class lost by an arm against real images: mean over runs, with both parts of its error."""

    arm: str
    number: int  # of the class
    value: float
    by_patients: float  # standard error over test patients
    by_runs: float  # standard deviation of one run
    runs: int
    freedom: int  # degrees of freedom behind by_runs
    recall_real: float
    patients: int

    @property
    def error(self) -> float:
        """Of the cohort as one sample: a run's spread is halved for what is luck of runs alone, which averages out."""
        return float(np.sqrt(self.by_patients**2 + self.by_runs**2 * (0.5 + 1 / self.runs)))

    def bound(self, level: float, upper: bool) -> float:
        reach = float(stats.t.isf(level, max(1, self.freedom))) * self.error
        return self.value + reach if upper else self.value - reach

    def score(self) -> Score:
        return Score(self.value, max(-1.0, self.bound(0.025, False)), min(1.0, self.bound(0.025, True)))


def losses(
    probabilities: Mapping[str, np.ndarray], truth: np.ndarray, owners: Sequence[Any] | np.ndarray
) -> list[Loss]:
    """Losses of every arm and class from class probabilities [runs, N, K] of the same runs; no draws, no fits.

    The spread of runs is that of the class or the mean of all classes of the arm, whichever is larger: a few runs
    tell too little of a single class.
    """
    index = group_index(owners)
    right = {arm: said.argmax(axis=2) == truth for arm, said in probabilities.items()}
    runs, _, num = probabilities["real"].shape
    result = []
    for arm in right:
        if arm == "real":
            continue
        lost = right["real"].astype(np.float64) - right[arm]  # [runs, N]
        found = []
        for number in range(num):
            members = truth == number
            if not members.any():
                continue
            mean = mean_of(lost[:, members].mean(axis=0), index[members])
            spread = float(lost[:, members].mean(axis=1).std(ddof=1)) if runs > 1 else float("inf")
            known = float(right["real"][:, members].mean())
            found.append((number, mean, spread, known, len(np.unique(index[members]))))
        pooled = float(np.sqrt(np.mean([np.square(item[2]) for item in found])))
        freedom = (runs - 1) * len(found)
        for number, mean, spread, known, num_patients in found:
            least = np.sqrt(0.25 / (num_patients + 1) ** 2)  # half a patient: resampling sees no spread in none
            error = max(mean.error, float(least))
            result.append(Loss(arm, number, mean.value, error, max(spread, pooled), runs, freedom, known, num_patients))
    return result


def verdict(
    found: Sequence[Loss], names: Sequence[str], thresholds: HarmThresholds, counts: np.ndarray,
    critical: Sequence[int] | None = None, notes: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """`names`: of the classes; `counts`: test images of each; `critical`: numbers of the classes that gate, or all."""
    most = thresholds.max_recall_loss
    wanted = range(len(names)) if critical is None else critical
    gated = [item for item in found if item.arm in GATED and item.number in wanted]
    judged = [item for item in gated if item.patients >= LEAST_PATIENTS and item.recall_real > most]
    small = [names[c] for c in wanted if not any(item.number == c for item in judged)]
    level = FAIL_LEVEL / max(1, len(judged))
    content = {
        "losses": [_content(item, names) for item in found],
        "max_recall_loss": most,
        "test_images": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "not_judged": small,
    }
    aside = "".join(f"; {note}" for note in notes)
    if small:
        why = f"fewer than {LEAST_PATIENTS} test patients, or learners of real images do not recognize it"
        aside += f"; not judged: {', '.join(small)} ({why})"
    if not judged:
        return family("inconclusive", f"no class can be judged{aside}", content)
    lost = [item for item in judged if item.bound(level, upper=False) > most]
    if lost:
        lost.sort(key=lambda item: -item.value)
        return family("fail", f"recall lost: {'; '.join(_words(item, names) for item in lost)}{aside}", content)
    open_ = [item for item in judged if not item.bound(PASS_LEVEL, upper=True) <= most]
    noticed = max(most + item.bound(level, upper=True) - item.value for item in judged)
    power = f"a loss of {noticed:.2f} in any class would surely have been noticed"
    if open_ or small:
        worst = max(open_ or judged, key=lambda item: item.bound(PASS_LEVEL, upper=True))
        reason = f"a loss of more than {most:g} can't be ruled out: {_words(worst, names)}" if open_ else (
            f"no judged class loses more than {most:g}, but not all could be judged"
        )  # fmt: skip
        return family("inconclusive", f"{reason}; {power}{aside}", content)
    return family("pass", f"no class surely loses; all losses are below {most:g}; {power}", content)


def _words(item: Loss, names: Sequence[str]) -> str:
    return f"{names[item.number]} {interval_words(item.score())}, {ARM_WORDS[item.arm]}"


def _content(item: Loss, names: Sequence[str]) -> dict[str, Any]:
    score = item.score()
    return {
        "class": names[item.number], "arm": item.arm, "value": score.value, "low": score.low, "high": score.high,
        "recall_real": item.recall_real, "patients": item.patients, "runs": item.runs,
    }  # fmt: skip


def harm(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: HarmConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: recall lost by class and arm, and the family harm."""
    settings = settings or HarmConfig()
    if inputs.label is None:
        return _nothing(inputs.no_label)
    task = open_task(inputs.real, inputs.synthetic, inputs.label.name)
    critical = _critical(task, settings)
    if len(np.unique(task.classes(task.synthetic))) < 2:
        return _nothing(f"the synthetic images show fewer than two classes of {task.label.name}")
    said, learners = _runs(task, eyes, config, settings, cache, seed)
    truth, owners = task.classes(task.test), patients(task.test)
    found = losses(said, truth, owners)
    names = [f"{task.label.name}={value}" for value in task.label.values]
    counts = np.bincount(truth, minlength=len(names))
    judged = verdict(found, names, policy.thresholds.harm, counts, critical)
    return {"scores": _entries(found, names, task, counts, learners), "families": {"harm": judged}}


def _critical(task: Task, settings: HarmConfig) -> list[int] | None:
    if not settings.critical:
        return None
    return [task.label.values.index(task.label.parse(value)) for value in settings.critical]


def _runs(
    task: Task, eyes: Any, config: EvaluateConfig, settings: HarmConfig, cache: Path, seed: int
) -> tuple[dict[str, np.ndarray], str]:
    """Probabilities of the test images [runs, N, K] by arm, and in words who was asked."""
    use = config.utility
    said: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    networks = [learner for learner in settings.learners if learner != "probe"]
    words = [f"{len(networks) * use.seeds} networks of {len(networks)} shapes"] if networks else []
    for learner in networks:
        fit = network_config(learner, use.steps, use.batch)
        for number in range(use.seeds):
            for name, arm in arms_of(sample_rows(task, use.images, seed, number)).items():
                what = f"{learner} network {number + 1} of {use.seeds}, {name.replace('_', '-')}"
                said[name].append(network_says(task, arm, fit, cache, seed, number, what))
    if "probe" in settings.learners:
        probes = _probes(task, eyes, config)
        words.append(f"{PROBE_RUNS} probes of fixed features")
        for run in range(PROBE_RUNS):
            for name, arm in arms_of(sample_rows(task, use.images, seed, run)).items():
                said[name].append(probes.says(arm, seed, name, run))
    return {name: np.stack(runs) for name, runs in said.items()}, " and ".join(words)


def _probes(task: Task, eyes: Any, config: EvaluateConfig) -> Probes:
    """On features of natural images where there are any: those of the grader know the real labels already."""
    encoder = "packaged" if "packaged" in config.encoders else "self_trained"
    views = {"train": task.train, "synthetic": task.synthetic, "test": task.test}
    return probes_of(task, {name: eyes.see(encoder, view).features for name, view in views.items()})


def _nothing(reason: str) -> dict[str, Any]:
    return {"scores": [], "families": {"harm": family("inconclusive", reason, {})}}


def _entries(
    found: Sequence[Loss], names: Sequence[str], task: Task, counts: np.ndarray, learners: str
) -> list[dict[str, Any]]:
    return [
        entry(
            f"recall_lost_{item.arm}", title=f"Recall lost, {ARM_WORDS[item.arm]}", group="utility",
            family="harm" if item.arm in GATED else None, subset=names[item.number], score=item.score(),
            n_real=int(counts[item.number]), n_synthetic=len(task.synthetic), better="lower",
            good="Good is 0 or less: a classifier recognizes this class no worse than one that learned from real "
            "images alone.",
            computed_on=f"{learners} an arm, on real test images of {item.patients} patients of the class; real "
            f"images alone reach a recall of {item.recall_real:.2f}; paired by patient and run",
        )
        for item in found
        if item.patients >= LEAST_PATIENTS
    ]  # fmt: skip
