"""The damage reader: it learns from spoilt copies of real training images what each kind of damage looks like.

Words: a *mark* is how much an image looks spoilt in one way (one column per kind, then `unlike`, the distance from real
images); a *damaged* image has a mark beyond what all but a few real images have.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_array
from synthcohort.core.progress import progress
from synthcohort.core.seeds import rng
from synthcohort.evaluation.faults import KINDS, planted
from synthcohort.evaluation.steps import code_digest
from synthcohort.imaging.intensity import ValueRange, to_unit, value_range_of
from synthcohort.metrics.damage import STATISTICS, image_statistics, is_constant
from synthcohort.metrics.logistic import Logistic, fit_logistic

CHUNK = 256
UNLIKE = "unlike"
MARKS = (*KINDS, UNLIKE)
_FAR = 8.0  # standard deviations at which a statistic is cut: beyond, all is equally strange


@dataclass(frozen=True)
class Looks:
    """What was measured of some images: statistics [N, S], and whether each is constant or leaves the real range."""

    statistics: np.ndarray
    broken: np.ndarray  # [N] bool

    def __len__(self) -> int:
        return len(self.statistics)

    def among(self, chosen: np.ndarray) -> "Looks":
        return Looks(self.statistics[chosen], self.broken[chosen])


@dataclass(frozen=True)
class DamageReader:
    """Fitted on real images and their spoilt copies."""

    center: np.ndarray  # [S] median of real statistics
    scale: np.ndarray  # [S] their spread; statistics that never vary have an infinite one
    whitening: np.ndarray  # [S, S] of standardized real statistics
    readers: tuple[Logistic, ...]  # one per kind

    def standardized(self, statistics: np.ndarray) -> np.ndarray:
        return np.clip((statistics - self.center) / self.scale, -_FAR, _FAR)

    def marks(self, looks: Looks) -> np.ndarray:
        """[N, len(MARKS)]: log odds of each kind of damage, then the log of the distance from real images."""
        z = self.standardized(looks.statistics)
        x = _squared(z)
        kinds = [reader.logits(x)[:, 1] - reader.logits(x)[:, 0] for reader in self.readers]
        distance = np.log(np.square(z @ self.whitening).sum(axis=1) + 1e-9)
        return np.stack([*kinds, distance], axis=1)


def fit_reader(clean: np.ndarray, spoilt: dict[str, np.ndarray], ridge: float = 3.0) -> DamageReader:
    """From statistics of real images [N, S] and of spoilt copies of them, by kind."""
    center = np.median(clean, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(clean - center), axis=0), 0.25 * clean.std(axis=0))
    scale = np.where(spread > 1e-6, spread, np.inf)
    z = np.clip((clean - center) / scale, -_FAR, _FAR)
    covariance = np.cov(z, rowvar=False) + 0.05 * np.eye(z.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    readers = []
    x = _squared(z)
    for kind in KINDS:
        other = _squared(np.clip((spoilt[kind] - center) / scale, -_FAR, _FAR))
        labels = np.repeat([0, 1], [len(x), len(other)])
        readers.append(fit_logistic(np.concatenate([x, other]), labels, 2, ridge))
    return DamageReader(center, scale, vectors / np.sqrt(values), tuple(readers))


def _squared(z: np.ndarray) -> np.ndarray:
    """Statistics, their squares and products of two: [N, S + S (S + 1) / 2]."""
    first, second = np.triu_indices(z.shape[1])
    return np.concatenate([z, z[:, first] * z[:, second] / 2], axis=1)


class Looker:
    """Measures images of one evaluation, on the real cohort's scale of intensities, and keeps what it measured."""

    def __init__(self, real: Cohort, cache: Path):
        self.cache = Path(cache)
        self.values: ValueRange = value_range_of(real.image(0).dtype, real.column("bits_stored"))
        self.levels = int(min(self.values.high - self.values.low, 65535))

    def look(self, view: Cohort) -> Looks:
        """Statistics of a view's images, in its order."""

        def work() -> np.ndarray:
            rows = []
            with progress(len(view), "image statistics") as advance:
                for stored in _chunks(view, np.arange(len(view))):
                    outside = ((stored < self.values.low) | (stored > self.values.high)).reshape(len(stored), -1)
                    broken = is_constant(stored) | outside.any(axis=1)
                    rows.append(np.column_stack([image_statistics(self._unit(stored)), broken]))
                    advance(len(stored))
            return np.concatenate(rows) if rows else np.zeros((0, len(STATISTICS) + 1))

        kept = self._kept({"view": view.pixels_digest}, work)
        return Looks(kept[:, :-1], kept[:, -1] > 0)

    def spoilt(self, view: Cohort, kind: str, seed: int, strength: float | None = None) -> np.ndarray:
        """Statistics of copies of a view's images with one kind of damage planted."""

        def work() -> np.ndarray:
            generator = rng("damage", seed, kind)
            rows = []
            with progress(len(view), f"statistics with {kind} planted") as advance:
                for stored in _chunks(view, np.arange(len(view))):
                    damaged = planted(self._unit(stored), kind, generator, strength, self.levels)
                    rows.append(image_statistics(damaged))
                    advance(len(stored))
            return np.concatenate(rows)

        return self._kept({"view": view.pixels_digest, "kind": kind, "seed": seed, "strength": strength}, work)

    def fit(self, train: Cohort, seed: int) -> DamageReader:
        """A reader of the damage of such images. Deterministic for a seed."""
        return fit_reader(self.look(train).statistics, {kind: self.spoilt(train, kind, seed) for kind in KINDS})

    def _unit(self, stored: np.ndarray) -> np.ndarray:
        return (to_unit(stored, self.values) + 1) / 2

    def _kept(self, content: dict[str, object], work: Callable[[], np.ndarray]) -> np.ndarray:
        scale = [self.values.low, self.values.high]
        key = digest_json({**content, "range": scale, "code": code_digest()}).partition(":")[2][:24]
        path = self.cache / f"damage-{key}.npy"
        return kept_array(path, work, lambda kept: True)


def _chunks(view: Cohort, rows: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
    """Stored images of one shape, a few hundred at a time, in order."""
    for start in range(0, len(rows), CHUNK):
        yield np.stack([view.image(int(row)) for row in rows[start : start + CHUNK]])
