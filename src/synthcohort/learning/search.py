"""The copy detector: which training image is each image nearest to, and is it too near to be a stranger's?

Generation screens with it, evaluation audits with it. All training images are searched, in bounded memory:
1. *Candidates*: a short description of coarse detail, fitted to what tells these images apart, under a bank of mirrors,
   turns, crops and shifts, against every training image.
2. *Registration*: the best candidates are aligned by small affine transforms, coarse then fine.
3. *Score*: the log odds of a copy, from how the aligned pair agrees place by place and band by band, and by how much
   it is more alike than the other candidates; fitted to copies planted in the training images, against strangers.
The threshold says what real strangers reach: held-out patients against the training images, never control or test.
An index holds reduced images of patients: it is marked sensitive and does not travel.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import atomic_path, read_artifact, write_artifact
from synthcohort.core.kept import new_array
from synthcohort.core.progress import progress
from synthcohort.core.seeds import rng
from synthcohort.learning.copy_features import agreement, bands, margins, plain_score, stretched
from synthcohort.learning.copy_fit import (
    Logistic,
    Moments,
    Projection,
    fit_logistic,
    fit_projection,
    photographed,
    random_transforms,
    warped,
)
from synthcohort.learning.pixels import Images, Pixels
from synthcohort.learning.registration import local_detail, register, resized, transform_bank, warp

FORMAT, VERSION = "copy_index", 2
COARSE = 24  # rows and columns of the first stage
MIDDLE = 32  # of the first registration, at most
FINE = 64  # of the last registration, at most
DESCRIPTION = 160  # numbers an image is described by
CANDIDATES = 12
FINALISTS = 3
BLOCK = 16  # queries computed together; padded, so that a result does not depend on its neighbors
CHUNK = 8192  # training images compared at a time
BANK = transform_bank(degrees=(-3.4, 0.0, 3.4), scales=(1.0,), shifts=(0.0, 0.08), middles=False)
BANK = torch.cat([BANK, transform_bank(degrees=(-3.4, 0.0, 3.4), scales=(0.94,), shifts=(0.0, 0.06))])
JITTER = 0.35  # of the planted changes: what lies between the transforms of the bank
FITTED_ON = 500  # training images that copies are planted in
LEAST_FITTED = 40  # with fewer training images, or groups, the score is one that was set by hand
STRANGER_RATE = 1e-3  # of images of strangers, this share may lie above the threshold
LEAST_STRANGERS = 50
ENOUGH_STRANGERS = 1000  # images; training images against other groups' make up for validation images
TAIL = 60  # strangers, the most alike, from which the threshold is read
CREDIBLE = 0.01  # of the strangers, fewer than this share have odds that cannot be
LOG_ODDS = 20.0  # a similarity is tanh(log odds / this), 0 where a copy is as likely as a stranger
UNCALIBRATED = float(np.tanh(5.0 / LOG_ODDS))


@dataclass(frozen=True)
class CopyHits:
    """The training image that each image most likely copies.

    `similarity` [N] in [-1, 1] is tanh(log odds of a copy / 20), and `nearest` [N] the training image's position.
    """

    similarity: np.ndarray
    nearest: np.ndarray


def coarse_detail(x_B1HW: Tensor) -> Tensor:
    return local_detail(resized(x_B1HW, COARSE), fine=0.6, wide=3.0, least=0.02)


def middle_detail(x_B1HW: Tensor, size: int) -> Tensor:
    return local_detail(resized(x_B1HW, size), fine=0.6, wide=2.0, least=0.015)


def fine_detail(x_B1HW: Tensor, size: int) -> Tensor:
    return local_detail(resized(x_B1HW, size), fine=0.6, wide=max(1.5, size * 2.2 / 64), least=0.02)


def build_index(
    train: Images,
    out: Path,
    validation: Images | None = None,
    rate: float = STRANGER_RATE,
    groups: Sequence[Hashable] | None = None,
) -> None:
    """Writes the index of a training view, with the threshold from real strangers, whole or not at all.

    `rate` is the share of strangers' images that may lie above the threshold. Strangers are the validation view's
    images and, where those are few, training images against other groups' training images. `groups` says who belongs
    together; None takes a cohort's own groups and patients, or else every image for itself. Without enough strangers
    the index stays uncalibrated. Images are read once.
    """
    if not len(train):
        raise ArtifactError(Problem("copy index", "no training images"))
    size = max(COARSE, min(FINE, max(Pixels(train).shape) // 8 * 8))
    pixels = Pixels(train, size, channels=1)
    count = len(pixels)
    known = _groups(train) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    owners = np.arange(count) if known is None else known
    with atomic_path(Path(out)) as temporary:
        temporary.mkdir(parents=True)
        gray = new_array(temporary / "gray.npy", np.float16, (count, size, size))
        for rows in _blocks(count, 256):
            gray[rows.start : rows.stop] = pixels.batch(rows)[:, 0].numpy()
        gray.flush()
        projection = _describe(gray, temporary)
        content: dict[str, Any] = {
            "images": count, "size": size, "sensitive": True, "pixels_digest": pixels.digest(),
            "threshold": UNCALIBRATED, "score": None,
        }  # fmt: skip
        np.save(temporary / "projection.npy", torch.cat([projection.mean[None], projection.matrix.T]).numpy())
        content["score"] = _fit_score(CopyIndex(temporary, content), owners)
        content |= _calibrated(CopyIndex(temporary, content), owners, known is not None, validation, train, rate)
        write_artifact(temporary / "index.json", FORMAT, VERSION, content)


def _blocks(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _groups(train: Images) -> np.ndarray | None:
    """Who belongs together among a cohort's images; None: nobody knows."""
    if not isinstance(train, Cohort):
        return None
    columns = (train.column("group_id"), train.column("patient_id"))
    names = [group or patient for group, patient in zip(*columns, strict=True)]
    if not all(names):
        return None
    return np.unique(names, return_inverse=True)[1].reshape(-1)


def _read(gray: np.ndarray, rows: np.ndarray | range) -> Tensor:
    part = gray[rows.start : rows.stop] if isinstance(rows, range) else gray[rows]
    return torch.from_numpy(np.asarray(part, np.float32))[:, None]


@torch.no_grad()
def _describe(gray: np.ndarray, folder: Path) -> Projection:
    """Fits the description to the images and writes every image's: vectors.npy."""
    count = len(gray)
    total, change = Moments(COARSE * COARSE), Moments(COARSE * COARSE)
    for rows in _blocks(count, 256):
        total.add(coarse_detail(_read(gray, rows)).flatten(1))
    generator = rng("copy description", count)
    chosen, others = (np.sort(generator.permutation(count)[:1200]) for _ in range(2))
    for rows in _blocks(len(chosen), 256):
        at, other = chosen[rows.start : rows.stop], generator.permutation(others)[: len(rows)]
        x = _read(gray, at)
        jittered = warped(x, random_transforms(generator, len(at), JITTER, mirror=False))
        made = photographed(jittered, _read(gray, other), generator)
        change.add((coarse_detail(made) - coarse_detail(x)).flatten(1))
    projection = fit_projection(total, change, DESCRIPTION)
    width = projection.matrix.shape[1]
    vectors = new_array(folder / "vectors.npy", np.float16, (count, width))
    for rows in _blocks(count, 256):
        vectors[rows.start : rows.stop] = projection(coarse_detail(_read(gray, rows)).flatten(1)).numpy()
    vectors.flush()
    return projection


def _fitted_on(count: int) -> np.ndarray:
    """All training images in the order in which the score takes them."""
    return rng("copy score, images", count).permutation(count)


@torch.no_grad()
def _fit_score(index: "CopyIndex", owners: np.ndarray) -> dict[str, Any] | None:
    """The logistic score, fitted to planted copies and to strangers among the training images; None: too few."""
    count = len(index)
    if count < LEAST_FITTED or len(np.unique(owners)) < LEAST_FITTED:
        return None
    generator = rng("copy score", count)
    chosen, others = _fitted_on(count)[:FITTED_ON], generator.permutation(count)[:FITTED_ON]
    copies, strangers = [], []
    with progress(2 * len(chosen), "copy detector") as advance:
        for rows in _blocks(len(chosen), BLOCK):
            at = chosen[rows.start : rows.stop]
            x, other = _read(index.gray, at), _read(index.gray, others[rows.start : rows.stop])
            planted = photographed(warped(x, random_transforms(generator, len(at))), other, generator)
            own = torch.from_numpy(owners[at])[:, None]
            where, features = index.pairs(planted)
            copies.append(features[torch.from_numpy(owners[where.numpy()]) == own])
            where, features = index.pairs(x, torch.from_numpy(owners)[None] == own)
            strangers.append(features[torch.from_numpy(owners[where.numpy()]) != own])
            advance(2 * len(at))
    found, strange = torch.cat(copies), torch.cat(strangers)
    if len(found) < LEAST_FITTED or len(strange) < LEAST_FITTED:
        return None
    return fit_logistic(found.numpy(), strange.numpy()).to_json()


def _calibrated(
    index: "CopyIndex", owners: np.ndarray, known: bool, validation: Images | None, train: Images, rate: float
) -> dict[str, Any]:
    """The threshold from images of strangers, and what it rests on."""
    held, own = np.zeros(0, np.float32), np.zeros(0, np.float32)
    if validation is not None and len(validation) >= LEAST_STRANGERS:
        held = index.query(validation, description="copy threshold").similarity
    if known and len(np.unique(owners)) > 1 and len(held) < ENOUGH_STRANGERS:
        count = min(len(index), ENOUGH_STRANGERS - len(held))
        order = _fitted_on(len(index))  # those that the score was not fitted to come first
        chosen = np.sort(np.concatenate([order[FITTED_ON:], order[:FITTED_ON]])[:count])
        images = [index.gray[i].astype(np.float32) for i in chosen]
        own = index.query(images, owners, owners[chosen], description="copy threshold").similarity
    strangers = np.concatenate([held, own])
    enough = len(strangers) >= LEAST_STRANGERS
    threshold = tail_threshold(strangers, rate) if enough else UNCALIBRATED
    # `images` and `above` are of the held-out ones, `strangers` of all: the score was fitted to some training images.
    counted, source = (held, "validation against train") if len(held) else (own, "train against other groups of train")
    calibration = {
        "source": source if enough else "none",
        "images": len(counted),
        "training_images": len(own),
        "rate": rate,
        "largest": float(strangers.max()) if len(strangers) else None,
        "median": float(np.median(strangers)) if len(strangers) else None,
        "above": int((counted > threshold).sum()) if enough else None,
        "strangers": len(strangers),
        "strangers_above": int((strangers > threshold).sum()) if enough else None,
    }
    return {"threshold": threshold, "calibration": calibration}


def tail_threshold(similarities: np.ndarray, rate: float = STRANGER_RATE) -> float:
    """The similarity that a stranger's image exceeds with probability `rate`, at most.

    The tail of the log odds is taken to be exponential. Its scale is taken from the median of the excess, so that a
    person who stands under two ids among the patients (which happens, and looks just like a copy) does not lift the
    threshold; a standard error is added to it, so that few strangers make a careful detector and not a random one.
    Where odds are true odds, no more than `rate` of the strangers exceed 1 / `rate` (Markov's inequality): unless a
    hundredth of these do, no threshold is higher.
    """
    z = np.arctanh(np.clip(np.asarray(similarities, np.float64), -0.9999, 0.9999))
    start = float(np.quantile(z, max(0.9, 1 - TAIL / len(z))))
    excess = z[z > start] - start
    if not len(excess):
        return float(np.tanh(start))
    scale = float(np.median(excess)) / np.log(2) * (1 + len(excess) ** -0.5)
    threshold = start + scale * max(0.0, np.log(len(excess) / len(z) / rate))
    bound = -np.log(rate) / LOG_ODDS
    return float(np.tanh(min(threshold, bound) if (z > bound).mean() < CREDIBLE else threshold))


class CopyIndex:
    """A built index, opened for queries. Training images are read from mapped files, a chunk at a time."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.info = Path(path), content
        self.size = int(content["size"])
        self.threshold = float(content["threshold"])
        try:
            self.gray = np.load(self.path / "gray.npy", mmap_mode="r", allow_pickle=False)
            self._vectors = np.load(self.path / "vectors.npy", mmap_mode="r", allow_pickle=False)
            table = torch.from_numpy(np.load(self.path / "projection.npy", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ArtifactError(Problem(f"copy index {path}", f"cannot be read ({error})")) from error
        if len(self.gray) != content["images"] or len(self._vectors) != content["images"]:
            raise ArtifactError(Problem(f"copy index {path}", "does not hold the images it says it does"))
        self.projection = Projection(table[0], table[1:].T.contiguous())
        self._score = Logistic.from_json(content["score"]) if content["score"] else plain_score
        self._chunks: list[Tensor] | None = None

    @classmethod
    def open(cls, path: str | Path) -> "CopyIndex":
        """Raises ArtifactError when the index is absent, damaged, or of another version."""
        content = read_artifact(Path(path) / "index.json", FORMAT, VERSION)
        if content["version"] < VERSION:
            found = f"made by an older version of the copy detector ({content['version']})"
            raise ArtifactError(Problem(f"copy index {path}", found, remedy="build it again: train again"))
        return cls(Path(path), content)

    def __len__(self) -> int:
        return int(self.info["images"])

    @property
    def calibrated(self) -> bool:
        """Whether the threshold was measured on strangers' images; otherwise it is a fixed guess."""
        return bool(self.info["calibration"]["source"] != "none")

    @torch.no_grad()
    def query(
        self,
        images: Images,
        groups: np.ndarray | None = None,
        own: np.ndarray | None = None,
        description: str = "copy search",
    ) -> CopyHits:
        """The training image that each image most likely copies.

        `groups` (of the training images) and `own` (of the queries): training images of the query's group are passed
        over; a similarity of -1 says that there is no other.
        """
        pixels = Pixels(images, self.size, channels=1)
        similarity, nearest = np.zeros(len(pixels), np.float32), np.zeros(len(pixels), np.int64)
        with progress(len(pixels), description) as advance:
            for rows in _blocks(len(pixels), BLOCK):
                more = BLOCK - len(rows)
                gray = pixels.batch(rows)
                gray = torch.cat([gray, gray[-1:].expand(more, -1, -1, -1)])
                banned = None
                if groups is not None and own is not None:
                    mine = np.concatenate([own[rows.start : rows.stop], np.repeat(own[rows.stop - 1], more)])
                    banned = torch.from_numpy(mine[:, None] == groups[None, :])
                where, features = self.pairs(gray, banned)
                odds = self._score(features.flatten(0, 1).numpy()).reshape(where.shape)
                if banned is not None:  # where few others are left, some finalists are the query's own
                    odds[banned.gather(1, where).numpy()] = -np.inf
                best = odds.argmax(1)
                similarity[rows.start : rows.stop] = np.tanh(odds.max(1) / LOG_ODDS)[: len(rows)]
                nearest[rows.start : rows.stop] = where.numpy()[np.arange(BLOCK), best][: len(rows)]
                advance(len(rows))
        return CopyHits(np.round(similarity, 5), nearest)

    def pairs(self, gray_B1SS: Tensor, banned: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The finalists of each query: training images [B, K] and how each registered pair agrees [B, K, F]."""
        alike, where, variant = self._candidates(gray_B1SS, banned)
        B, K = where.shape
        middle = min(MIDDLE, self.size)
        first = where.flatten()
        template = _read(self.gray, first.numpy())
        query = middle_detail(gray_B1SS, middle).repeat_interleave(K, 0)
        transforms, value = register(middle_detail(template, middle), query, BANK[variant.flatten()], steps=8)
        value = value.view(B, K)
        if banned is not None:
            value = value.masked_fill(banned.gather(1, where), -1.0)
        order = value.topk(min(FINALISTS, K), dim=1).indices
        R = order.shape[1]
        flat = (order + torch.arange(B)[:, None] * K).flatten()
        transforms, last, template = transforms[flat], first[flat], template[flat]
        query = fine_detail(gray_B1SS, self.size).repeat_interleave(R, 0)
        transforms, fine = register(fine_detail(template, self.size), query, transforms, steps=7)
        placed = agreement(bands(template), bands(gray_B1SS).repeat_interleave(R, 0), transforms)
        features = [placed.view(B, R, -1), stretched(fine).view(B, R, 1), margins(value, order), margins(alike, order)]
        return last.view(B, R), torch.cat(features, 2)

    def _candidates(self, gray_B1SS: Tensor, banned: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What the first stage finds most alike: how much so, the training images, and which transform of the bank, all
        [B, K]."""
        B, V = len(gray_B1SS), len(BANK)
        shown = warp(coarse_detail(gray_B1SS).repeat_interleave(V, 0), BANK.repeat(B, 1, 1), COARSE)
        described = self.projection(shown)
        K = min(CANDIDATES, len(self))
        values, wheres, variants = [], [], []
        for number, chunk in enumerate(self._loaded()):
            alike, variant = (described @ chunk.T).view(B, V, -1).max(dim=1)
            if banned is not None:
                alike = alike.masked_fill(banned[:, number * CHUNK : number * CHUNK + len(chunk)], -1.0)
            top = alike.topk(min(K, len(chunk)), dim=1)
            values.append(top.values)
            wheres.append(top.indices + number * CHUNK)
            variants.append(variant.gather(1, top.indices))
        best = torch.cat(values, 1).topk(K, dim=1)
        return (
            best.values,
            torch.cat(wheres, 1).gather(1, best.indices),
            torch.cat(variants, 1).gather(1, best.indices),
        )

    def _loaded(self) -> Iterator[Tensor] | list[Tensor]:
        """Descriptions in chunks; kept in memory where they are few."""

        def read(start: int) -> Tensor:
            return torch.from_numpy(np.asarray(self._vectors[start : start + CHUNK], np.float32))

        if len(self) > 4 * CHUNK:
            return (read(start) for start in range(0, len(self), CHUNK))
        if self._chunks is None:
            self._chunks = [read(start) for start in range(0, len(self), CHUNK)]
        return self._chunks
