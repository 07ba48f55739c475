"""Attacks on membership with shadow models: how much does the model's loss of an image owe to having seen it?

Words: a *shadow* is a generator that was trained as the audited one, on half of the training and control patients
together (`train.shadow`); an image is *in* for a shadow that saw it and *out* for another. Shadows come in pairs that
share the patients out between them, so members and others alike are in for one half of the shadows and out for the
other. Nothing that is computed here looks at who is a member; without a leak members and others stay exchangeable.
Reasons: docs/decisions/0032-shadow-models.md.
Sources: Watson et al. 2022 (2111.08440), calibration by models that did not see the image; Carlini et al. 2022
(2112.03570, section V), the likelihood ratio.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, ConfigError, InputError, Problem
from synthcohort.core.files import read_artifact
from synthcohort.core.run import RunFolder
from synthcohort.evaluation.part_config import WhiteBoxConfig
from synthcohort.evaluation.white_box import Loss, Scale

FORMAT, VERSION = "shadow", 1
FREE = ("train.shadow", "train.log_images", "train.checkpoint_images", "seed")  # settings that may differ
MOST_STEPS_OFF = 0.1  # relative; trainings by `minutes` take as many as the machine allowed
RIDGE = 0.1  # how far the covariance of the noise levels is drawn to its diagonal


@dataclass(frozen=True)
class Shadow:
    """A finished shadow: its number, and the images that it saw by digest of their cohort."""

    path: Path
    number: int
    images: int
    seen: Mapping[str, frozenset[str]]


def open_shadows(run: Path | None, paths: Sequence[Path]) -> tuple[Shadow, ...]:
    """The shadows of an audited run, by number. Raises InputError with everything that is wrong with any of them."""
    if not paths:
        return ()
    if run is None:
        raise ConfigError(Problem("shadow models", "given without the audited run", remedy="give --run too"))
    audited = RunFolder.read(run).info
    problems: list[Problem | str] = []
    if audited.get("shadow"):
        problems.append(Problem(f"run {run}", "is a shadow itself", "the run that drew the images"))
    shadows = []
    for path in paths:
        try:
            shadows.append(_open(path, audited))
        except (ArtifactError, InputError) as error:
            problems += error.problems
    problems += _unpaired(shadows) if len(shadows) == len(paths) else []
    if problems:
        raise InputError(*problems)
    return tuple(sorted(shadows, key=lambda shadow: shadow.number))


def _open(path: Path, audited: Mapping[str, Any]) -> Shadow:
    info = RunFolder.read(path).info
    thing = f"shadow {path}"
    if info["kind"] != "diffusion" or not info.get("shadow"):
        remedy = "train one with --set train.shadow=0"
        raise InputError(Problem(thing, "is no shadow model", "a run trained with train.shadow", remedy))
    if not info.get("done"):
        raise InputError(Problem(thing, "is unfinished", remedy="run the same train command again to finish it"))
    problems = []
    mine, theirs = (_flat(side["config"]) | {"average": side.get("average")} for side in (info, audited))
    if info["config"].get("cohorts") != audited["config"].get("cohorts"):
        problems.append(Problem(thing, "was trained on other cohorts than the audited run", "the same, in that order"))
    for name in sorted((mine.keys() | theirs.keys()) - {*FREE, "cohorts"}):
        if mine.get(name) != theirs.get(name):
            found, allowed = f"{name} is {mine.get(name)!r}", f"{theirs.get(name)!r}, as in the audited run"
            problems.append(Problem(thing, found, allowed, "train it with that run's settings"))
    steps, wanted = info.get("steps", 0), audited.get("steps", 0)
    if abs(steps - wanted) > MOST_STEPS_OFF * wanted:
        remedy = "set train.images instead of train.minutes"
        problems.append(Problem(thing, f"took {steps} steps", f"about {wanted}, as the audited run", remedy))
    if problems:
        raise InputError(*problems)
    said = read_artifact(Path(path) / "shadow.json", FORMAT, VERSION)
    seen = {part["cohort"]: frozenset(part["image_ids"]) for part in said["seen"]}
    return Shadow(Path(path), said["number"], info["shadow"]["images"], seen)


def _flat(value: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{place}{name}.") if isinstance(item, Mapping) else {f"{place}{name}": item}
    return found


def _unpaired(shadows: Sequence[Shadow]) -> list[Problem]:
    """Numbers that occur twice, or without the other one of their pair."""
    counts = Counter(shadow.number for shadow in shadows)
    twice = [Problem(f"shadow {k}", f"is given {n} times", "once") for k, n in sorted(counts.items()) if n > 1]
    alone = [number for number in sorted(counts) if number ^ 1 not in counts]
    return twice + [
        Problem(f"shadow {n}", f"is given without shadow {n ^ 1}", "both of a pair", f"train.shadow={n ^ 1}")
        for n in alone
    ]  # fmt: skip


def seen_by(shadows: Sequence[Shadow], view: Cohort) -> np.ndarray:
    """Whether each shadow saw each image of a view: [N, K]."""
    ids = view.image_ids
    return np.array([[name in shadow.seen.get(view.digest, ()) for shadow in shadows] for name in ids], bool).reshape(
        len(ids), len(shadows)
    )


def check_halves(shadows: Sequence[Shadow], real: Cohort) -> None:
    """Raises InputError where a pair does not share the training and control images out between its two shadows."""
    if not shadows:
        return
    pool = np.array([role in ("train", "control") for role in real.column("split")], bool)
    seen = seen_by(shadows, real).reshape(len(real), -1, 2).sum(axis=2)  # [N, pairs]
    found = "the two do not share the real cohort's training and control images out between them"
    bad = np.flatnonzero((seen != pool[:, None]).any(axis=0))
    problems = [
        Problem(f"shadows {shadows[2 * k].number} and {shadows[2 * k + 1].number}", found, "shadows of this cohort",
                "train them on the cohort given as --real") for k in bad.tolist()
    ]  # fmt: skip
    if problems:
        raise InputError(*problems)


def attack(
    shadows: Sequence[Shadow],
    real: Cohort,
    views: Sequence[Cohort],
    audited: Sequence[np.ndarray],
    config: WhiteBoxConfig,
    cache: Path,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores by attack of members and of others. `views`: strangers, members, others; `audited`: their losses."""
    losses = [[part[..., 0]] for part in audited]
    for shadow in shadows:
        loss = Loss.of_run(shadow.path, real, config, cache, seed)
        for own, view in zip(losses, views, strict=True):
            own.append(loss.losses(view, views[0])[..., 0])
    reference, *queries = (np.stack(own, axis=1) for own in losses)
    inside = np.concatenate([seen_by(shadows, view) for view in views[1:]])
    scores = shadow_scores(reference, np.concatenate(queries), inside)
    count = len(views[1])
    return {n: s[:count] for n, s in scores.items()}, {n: s[count:] for n, s in scores.items()}


def shadow_scores(reference: np.ndarray, queries: np.ndarray, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Scores [Q] of each attack from log losses [., 1 + K, S] of the audited model and K shadows at S noise levels.

    `reference` are images that none of the models saw, `inside` [Q, K] says which shadow saw which query; each query is
    in for half of the shadows. Every model's losses are taken from their mean over the reference images: models differ
    in how good they are, and that says nothing of an image.
    """
    K = inside.shape[1]
    level = reference.mean(axis=0)
    reference, queries = reference - level, queries - level
    # Every second shadow, in turns: as many as are out for a query, so that the line through them is the queries' own.
    turns = (np.arange(len(reference))[:, None] + np.arange(K)) % 2 == 0
    names = f"calibrated by {K} shadow models", f"likelihood ratio by {K} shadow models"
    return {
        f"denoising loss, {names[0]}": _calibrated(reference, turns, queries, ~inside),
        f"denoising loss, {names[1]}": _likelihood_ratio(reference, queries, inside),
    }


def _calibrated(reference: np.ndarray, turns: np.ndarray, queries: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Minus what of the loss is not explained by that of the shadows that did not see the image, mean over levels."""
    known, asked = (
        np.stack([losses[:, 0], _mean(losses[:, 1:], chosen)], axis=-1)
        for losses, chosen in ((reference, turns), (queries, out))
    )
    return np.asarray(-Scale(known)(asked)[1].mean(axis=1))


def _likelihood_ratio(reference: np.ndarray, queries: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Log likelihood ratio of having been seen: normal losses, with means of each image and one covariance for all.

    What an image gains by being seen, out minus in, is known from few shadows; it is drawn to the mean over all images
    as far as the shadows' own noise explains its spread (empirical Bayes). The mean when not seen is the line through
    the reference images, whose residuals also give the covariance.
    """
    K = inside.shape[1]
    gain = _mean(queries[:, 1:], ~inside) - _mean(queries[:, 1:], inside)
    noise = reference[:, 1:].var(axis=1, ddof=1).mean(axis=0) * 4 / K
    spread = np.maximum(gain.var(axis=0) - noise, 0.0)
    gain = gain.mean(axis=0) + spread / np.maximum(spread + noise, 1e-12) * (gain - gain.mean(axis=0))
    scale = Scale(np.stack([reference[:, 0], reference[:, 1:].mean(axis=1)], axis=-1))
    known = scale.off(reference[:, 0], reference[:, 1:].mean(axis=1))
    asked = scale.off(queries[:, 0], queries[:, 1:].mean(axis=1) + gain / 2)
    covariance = np.atleast_2d(np.cov(known, rowvar=False))
    covariance = (1 - RIDGE) * covariance + (RIDGE + 1e-9) * np.diag(np.diag(covariance))
    weights = np.linalg.solve(covariance, gain.T).T
    return np.asarray((weights * (-asked - gain / 2)).sum(axis=1))


def _mean(losses: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the chosen shadows: [N, K, S] and [N, K] to [N, S]."""
    return np.asarray((losses * chosen[..., None]).sum(axis=1) / chosen.sum(axis=1)[:, None])
