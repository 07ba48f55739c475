"""Canaries planted among the training images: their pixels, how often each is drawn, and what the run says of them.

Each cohort gets `count` of them. A canary takes its host's place in the training set; everywhere else (validation, copy
watch, copy screen) the host is as it was. A run that planted some audits a way of training: its images stay inside.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.run import RunFolder
from synthcohort.imaging.canaries import CanaryConfig, canary, canary_hosts
from synthcohort.imaging.intensity import value_range_of

NONE = CanaryConfig()


def with_canaries(view: Cohort, config: CanaryConfig) -> Iterator[np.ndarray]:
    """The images of a view in order, marks on those that are hosts. Raises ConfigError when there are too few."""
    values = value_range_of(view.image(0).dtype, view.column("bits_stored")) if len(view) else None
    hosts = set(_hosts(view, config).tolist())
    ids = view.image_ids if hosts else []
    for i in range(len(view)):
        image = view.image(i)
        yield canary(image, ids[i], values, config) if values is not None and i in hosts else image


def canary_weights(views: Sequence[Cohort], config: CanaryConfig, weights: np.ndarray | None) -> np.ndarray | None:
    """The images' weights [N], mean 1, with each canary drawn `repeats` times as often as it would be."""
    if not config.count or config.repeats == 1:
        return weights
    times = []
    for view in views:
        own = np.ones(len(view))
        own[_hosts(view, config)] = config.repeats
        times.append(own)
    found = np.concatenate(times) * (1.0 if weights is None else weights)
    return np.asarray(found / found.mean())


def _hosts(view: Cohort, config: CanaryConfig) -> np.ndarray:
    if not config.count:
        return np.zeros(0, np.int64)
    if config.count > len(view):
        found = f"{config.count}, and {view.name} has {len(view)} training images"
        raise ConfigError(Problem("setting canaries.count", found, f"up to {len(view)}"))
    return canary_hosts(view.image_ids, config)


def check_hosts(views: Sequence[Sequence[Cohort]], config: CanaryConfig) -> None:
    """Raises ConfigError where a cohort has fewer training images than canaries are asked."""
    for view in (view for own in views for view in own):
        _hosts(view, config)


def asked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run this run and no other: without canaries where none are planted, nor `shadow: None`.

    Runs that were begun before there were canaries and shadows then still go on.
    """
    return {
        name: value
        for name, value in settings.items()
        if (name != "canaries" or value["count"]) and (name != "shadow" or value is not None)
    }


def say_canaries(
    run: RunFolder, views: Sequence[Sequence[Cohort]], config: CanaryConfig, parent: Mapping[str, Any] | None = None
) -> None:
    """Writes into run.json that weights saw canaries, and warns; nothing where none did.

    `parent` is what the run whose weights the training began with says of its own: they remember its canaries.
    """
    if not config.count and not parent:
        return
    images = config.count * sum(map(len, views))
    run.update(
        canaries={
            "images": images,
            "settings": to_mapping(config) if config.count else None,
            "started_from": dict(parent) if parent else None,
        }
    )
    planted = "the run to start from had canaries planted in its training images"
    if images:
        planted = f"{images} canaries are planted in the training images"
    print(f"warning: {planted}: the run is for an audit, and release refuses its images", file=sys.stderr, flush=True)


def canary_facts(run: RunFolder) -> dict[str, Any]:
    """The same for model.json; empty where no weight saw a canary."""
    return {"canaries": run.info["canaries"]} if run.info.get("canaries") else {}
