"""Learning curves: what real and synthetic images teach, from few to many of either, and the "twice the data" question.

Asked of probes (logistic regression on fixed features), which are cheap enough for the whole grid; of networks only on
request. The figure is the mean recall of classes on real test patients.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.policy import Policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.learners import Arm, Task, network_config, network_says, open_task, probes_of
from synthcohort.evaluation.part_config import CurvesConfig
from synthcohort.metrics.intervals import group_index
from synthcohort.metrics.shift import Estimate, mean_of

LEAST_IMAGES = 20  # of a point of a curve


@dataclass(frozen=True)
class Point:
    """One point: its images, and for each run and test image whether it was read right."""

    share: float
    times: float
    num_real: int
    num_synthetic: int
    right: np.ndarray  # [runs, N]


def curves(
    inputs: Inputs, eyes: Any, config: EvaluateConfig, policy: Policy, cache: Path, seed: int,
    settings: CurvesConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The part of the scorecard: each point of the grid with enough images, and twice the data. They gate nothing."""
    settings = settings or CurvesConfig()
    if inputs.label is None:
        return {"scores": [], "families": {}}
    task = open_task(inputs.real, inputs.synthetic, inputs.label.name)
    scores: list[dict[str, Any]] = []
    grids: dict[str, Any] = {}
    for learner in settings.learners:
        points = _points(task, eyes, config, settings, cache, seed, learner)
        scores += _point_entries(task, learner, points)
        scores += _twice(task, learner, points)
        grids[learner] = [
            {"real_share": p.share, "times": p.times, "n_real": p.num_real, "n_synthetic": p.num_synthetic,
             "mean_recall": _mean_recall(task, p.right).value}
            for p in points
        ]  # fmt: skip
    return {"scores": scores, "families": {}, "figures": {"learning_curves": grids}}


def _points(
    task: Task, eyes: Any, config: EvaluateConfig, settings: CurvesConfig, cache: Path, seed: int, learner: str
) -> list[Point]:
    truth = task.classes(task.test)
    probes = None
    if learner == "probe":
        encoder = "packaged" if "packaged" in config.encoders else "self_trained"
        views = {"train": task.train, "synthetic": task.synthetic, "test": task.test}
        probes = probes_of(task, {name: eyes.see(encoder, view).features for name, view in views.items()})
    points = []
    for share in settings.real_shares:
        for times in settings.synthetic_times:
            arms = [grid_rows(task, share, times, seed, run) for run in range(settings.runs)]
            if min(map(len, arms)) < LEAST_IMAGES or (times and not len(arms[0].synthetic)):
                continue
            if times > 1 and len(arms[0].synthetic) < 0.9 * times * len(arms[0].real):
                continue  # there are not so many synthetic images
            said = []
            for run, arm in enumerate(arms):
                if probes is not None:
                    said.append(probes.says(arm))
                else:
                    fit = network_config(learner, config.utility.steps, config.utility.batch)
                    words = f"{learner} network on {len(arm.real)} real and {len(arm.synthetic)} synthetic images"
                    said.append(network_says(task, arm, fit, cache, seed, run, words))
            right = np.stack([p.argmax(axis=1) == truth for p in said]).astype(np.float64)
            points.append(Point(share, times, len(arms[0].real), len(arms[0].synthetic), right))
    return points


def grid_rows(task: Task, share: float, times: float, seed: int, run: int) -> Arm:
    """A share of the real training patients, the larger ones holding the smaller, and synthetic images of their mix."""
    generator = rng("curves", seed, run)
    owners = group_index(patients(task.train))
    rank = generator.permutation(int(owners.max()) + 1)
    order = np.argsort(rank[owners], kind="stable")
    real = np.sort(order[: max(1, round(share * len(order)))])
    wanted = np.bincount(task.classes(task.train)[real], minlength=len(task.label.values)) * times
    classes = task.classes(task.synthetic)
    mixed = [generator.permutation(np.flatnonzero(classes == c))[: round(wanted[c])] for c in range(len(wanted))]
    return Arm(real, np.sort(np.concatenate(mixed)))


def _mean_recall(task: Task, right: np.ndarray) -> Estimate:
    """Mean over classes of the share of their test images that count as `right`, with its error over patients.

    right [runs, N]: 0 or 1, or a difference of such; classes without test images are left out.
    """
    truth, owners = task.classes(task.test), group_index(patients(task.test))
    counts = np.bincount(truth, minlength=len(task.label.values))
    present = int((counts > 0).sum())
    weights = len(truth) / (present * counts[truth])  # mean 1, every class the same in sum
    found = mean_of(right.mean(axis=0), owners, weights)
    between = float(mean_spread(right, weights)) if len(right) > 1 else 0.0
    return Estimate(found.value, float(np.hypot(found.error, between)))


def mean_spread(right: np.ndarray, weights: np.ndarray) -> float:
    """Standard error that comes from the runs."""
    means = (right * weights).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(len(means)))


def _point_entries(task: Task, learner: str, points: list[Point]) -> list[dict[str, Any]]:
    alone = {point.share: point for point in points if point.times == 0}
    result = []
    for point in points:
        floor = alone.get(point.share)
        result.append(
            entry(
                "learning_curve", title="Mean recall by number of images", group="utility", encoder=None,
                subset=f"{learner}: {point.share:.0%} of the real images, {point.times:g} times as many synthetic",
                score=_mean_recall(task, point.right).score(0, 1),
                floor=None if floor is None else _mean_recall(task, floor.right).score(0, 1),
                n_real=point.num_real, n_synthetic=point.num_synthetic, better="higher",
                computed_on=f"{len(point.right)} runs of a {learner} on real test images; floor: the real ones alone",
                good="Good is above the floor: synthetic images beside the real ones help.",
            )
        )  # fmt: skip
    return result


def _twice(task: Task, learner: str, points: list[Point]) -> list[dict[str, Any]]:
    """Half of the real images and as many synthetic ones, against twice the real images."""
    at = {(point.share, point.times): point for point in points}
    pairs = [
        (share, 2 * share) for share in sorted({s for s, _ in at}) if (share, 1.0) in at and (2 * share, 0.0) in at
    ]
    if not pairs or (pairs[-1][0], 0.0) not in at:
        return []
    half, full = pairs[-1]
    helped, alone, twice = at[half, 1.0], at[half, 0.0], at[full, 0.0]
    return [
        entry(
            "twice_the_data", title="Synthetic images in place of a second half of real ones", group="utility",
            subset=learner, score=_mean_recall(task, helped.right - twice.right).score(-1, 1),
            floor=_mean_recall(task, alone.right - twice.right).score(-1, 1), n_real=helped.num_real,
            n_synthetic=helped.num_synthetic, better="higher",
            computed_on=f"mean recall of {len(helped.right)} runs of a {learner} on {helped.num_real} real and "
            f"{helped.num_synthetic} synthetic images, less that on {twice.num_real} real ones; floor: without the "
            "synthetic ones",
            good="Good is 0: synthetic images are worth as many real ones. The floor says what doing without costs.",
        )
    ]  # fmt: skip
