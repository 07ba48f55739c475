"""Retrieval: does an image find its own caption among others? Two linear towers, fitted on real images and captions.

The towers are the closed-form ones of canonical correlation: images by their features, captions by their words. The
figure stands beside the same towers on real test images with galleries of the same size.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.seeds import rng
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.inputs import patients
from synthcohort.metrics.intervals import at_least_binomial, bootstrap, bootstrap_interval

GALLERY = 20  # different captions an image chooses among
DIMS = 16  # of the space in which images and captions meet
WORDS = 400  # most frequent words and pairs of words
LEAST_TRAIN, LEAST_CAPTIONS = 200, 10
RIDGE = 0.1  # share of each side's mean variance


@dataclass(frozen=True)
class Towers:
    """Image features [N, D] and captions, both into one space of unit vectors."""

    vocabulary: dict[str, int]
    centers: tuple[np.ndarray, np.ndarray]
    maps: tuple[np.ndarray, np.ndarray]

    def images(self, features: np.ndarray) -> np.ndarray:
        return _unit((features - self.centers[0]) @ self.maps[0])

    def captions(self, captions: Sequence[str]) -> np.ndarray:
        return _unit((_counts(captions, self.vocabulary) - self.centers[1]) @ self.maps[1])


def fit_towers(features: np.ndarray, captions: Sequence[str]) -> Towers:
    """Canonical correlation with a ridge. Source: Hotelling 1936; Vinod 1976."""
    found = Counter(word for caption in captions for word in set(_words(caption)))
    vocabulary = {word: i for i, (word, _) in enumerate(sorted(found.items(), key=lambda w: (-w[1], w[0]))[:WORDS])}
    x, y = np.asarray(features, np.float64), _counts(captions, vocabulary)
    centers = x.mean(axis=0), y.mean(axis=0)
    x, y = x - centers[0], y - centers[1]
    roots = [_inverse_root(side.T @ side / len(side)) for side in (x, y)]
    u, s, vt = np.linalg.svd(roots[0] @ (x.T @ y / len(x)) @ roots[1], full_matrices=False)
    kept = min(DIMS, len(s))
    return Towers(vocabulary, centers, (roots[0] @ u[:, :kept] * s[:kept], roots[1] @ vt[:kept].T * s[:kept]))


def found_own(
    towers: Towers, features: np.ndarray, captions: Sequence[str], gallery: Sequence[str], *purpose: str | int
) -> np.ndarray:
    """Whether each image is nearer to its own caption than to GALLERY - 1 other ones: [N], ties shared."""
    images, own = towers.images(features), towers.captions(captions)
    table = towers.captions(gallery)
    generator = rng("retrieval", *purpose)
    hits = np.zeros(len(images))
    for number, caption in enumerate(captions):
        others = np.array([i for i, other in enumerate(gallery) if other != caption])
        chosen = generator.choice(others, min(GALLERY - 1, len(others)), replace=False)
        mine, theirs = images[number] @ own[number], table[chosen] @ images[number]
        nearer, equal = (theirs > mine + 1e-9).sum(), (np.abs(theirs - mine) <= 1e-9).sum()
        hits[number] = 0.0 if nearer else 1 / (1 + equal)
    return hits


def retrieval_entries(
    cohorts: Mapping[str, Cohort], features: Mapping[str, np.ndarray], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Nothing where a side has no captions, or where there are hardly any different ones."""
    captions = {name: view.column("caption") for name, view in cohorts.items()}
    rows = {name: np.array([i for i, c in enumerate(side) if c], np.int64) for name, side in captions.items()}
    gallery = sorted({captions["test"][i] for i in rows["test"]})
    if len(rows["train"]) < LEAST_TRAIN or len(gallery) < LEAST_CAPTIONS or len(rows["synthetic"]) < LEAST_CAPTIONS:
        return []
    towers = fit_towers(features["train"][rows["train"]], [captions["train"][i] for i in rows["train"]])
    scores = []
    for name in ("synthetic", "test"):
        chosen = rows[name]
        owners = [patients(cohorts[name])[i] for i in chosen]
        said = [captions[name][i] for i in chosen]
        hits = found_own(towers, features[name][chosen], said, gallery, name, seed)
        draws = bootstrap(partial(_share, hits), owners, resamples, seed)
        scores.append(at_least_binomial(bootstrap_interval(float(hits.mean()), draws), len(set(owners))))
    size = min(GALLERY, len(gallery))
    return [
        entry(
            "finds_caption", title=f"Images that find their own caption among {size}", group="alignment",
            score=scores[0], floor=scores[1], n_real=len(rows["test"]), n_synthetic=len(rows["synthetic"]),
            better="higher",
            computed_on="canonical correlation of image features and words of captions, fitted on real training "
            f"images; captions of real test images around; floor: real test images; guessing finds {1 / size:.2f}",
            good="Good is close to the floor: an image shows what its caption says as well as real ones do.",
        )
    ]  # fmt: skip


def _share(hits: np.ndarray, chosen: np.ndarray) -> float:
    return float(hits[chosen].mean())


def _words(caption: str) -> list[str]:
    single = re.findall(r"[\w-]+", caption.lower())
    return [*single, *(f"{a} {b}" for a, b in pairwise(single))]


def _counts(captions: Sequence[str], vocabulary: Mapping[str, int]) -> np.ndarray:
    table = np.zeros((len(captions), len(vocabulary)))
    for row, caption in enumerate(captions):
        for word in _words(caption):
            if word in vocabulary:
                table[row, vocabulary[word]] = 1.0
    return table


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    least = RIDGE * float(np.trace(covariance)) / len(covariance) + 1e-12
    values, vectors = np.linalg.eigh(covariance + least * np.eye(len(covariance)))
    return np.asarray(vectors / np.sqrt(values) @ vectors.T)


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
