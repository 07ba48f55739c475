"""The copy detector: which training image is each image nearest to, and is it too near to be a stranger's?

Generation screens with it, evaluation audits with it. Two stages, over all training images in bounded memory:
1. *Candidates*: contrast-free detail at 24 px, under a bank of mirrors, turns and crops, against every training image.
2. *Registration*: the best candidates are aligned by small affine transforms, coarse then fine; the similarity is the
   correlation of fine detail in the region both show.
The threshold says what real strangers reach: held-out patients against the training images, never control or test.
An index holds reduced images of patients: it is marked sensitive and does not travel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import atomic_path, read_artifact, write_artifact
from synthcohort.core.progress import progress
from synthcohort.learning.pixels import Images, Pixels
from synthcohort.learning.registration import (
    local_detail,
    places,
    register,
    resized,
    seen,
    standardized,
    transform_bank,
    warp,
)

FORMAT, VERSION = "copy_index", 1
COARSE = 24  # rows and columns of the first stage
MIDDLE = 32  # of the first registration
FINE = 64  # of the last registration, at most
CANDIDATES = 12
FINALISTS = 2
BLOCK = 16  # queries computed together; padded, so that a result does not depend on its neighbours
CHUNK = 8192  # training images compared at a time
BANK = transform_bank(degrees=(-4.0, -1.3, 1.3, 4.0), scales=(1.0, 0.93), corner=0.06)
STRANGER_RATE = 1e-3  # of images of strangers, this share may lie above the threshold
LEAST_STRANGERS = 50
UNCALIBRATED = 0.9


@dataclass(frozen=True)
class CopyHits:
    """The nearest training image of each image: `similarity` [N] in [-1, 1] and `nearest` [N], its position."""

    similarity: np.ndarray
    nearest: np.ndarray


def coarse_detail(x_B1HW: Tensor) -> Tensor:
    return local_detail(resized(x_B1HW, COARSE), fine=0.6, wide=3.0, least=0.02)


def fine_detail(x_B1HW: Tensor, size: int) -> Tensor:
    return local_detail(resized(x_B1HW, size), fine=0.6, wide=max(1.5, size * 2.2 / 64), least=0.02)


def build_index(train: Images, out: Path, validation: Images | None = None, rate: float = STRANGER_RATE) -> None:
    """Writes the index of a training view, with the threshold from the validation view's images, whole or not at all.

    `rate` is the share of strangers' images that may lie above it. Without enough validation images, training images
    against other groups' training images take their place; without known groups the index stays uncalibrated.
    """
    if not len(train):
        raise ArtifactError(Problem("copy index", "no training images"))
    size = max(COARSE, min(FINE, max(Pixels(train).shape) // 8 * 8))
    pixels = Pixels(train, size, channels=1)
    count = len(pixels)
    with atomic_path(Path(out)) as temporary:
        temporary.mkdir(parents=True)
        coarse = np.lib.format.open_memmap(temporary / "coarse.npy", "w+", np.float16, (count, COARSE * COARSE))
        fine = np.lib.format.open_memmap(temporary / "fine.npy", "w+", np.int8, (count, size, size))
        for start in range(0, count, 256):
            rows = range(start, min(start + 256, count))
            gray = pixels.batch(rows)
            flat = coarse_detail(gray).flatten(1)
            coarse[start : rows.stop] = standardized(flat, torch.ones_like(flat)).numpy()
            fine[start : rows.stop] = _packed(fine_detail(gray, size))[:, 0].numpy()
        coarse.flush()
        fine.flush()
        content: dict[str, Any] = {
            "images": count,
            "size": size,
            "sensitive": True,
            "pixels_digest": pixels.digest(),
            "threshold": UNCALIBRATED,
        }
        write_artifact(temporary / "index.json", FORMAT, VERSION, content)
        index = CopyIndex(temporary, content)
        strangers, source = _strangers(index, train, validation)
        threshold = tail_threshold(strangers, rate) if len(strangers) >= LEAST_STRANGERS else None
        content |= {
            "threshold": UNCALIBRATED if threshold is None else threshold,
            "calibration": {
                "source": source if threshold is not None else "none",
                "images": len(strangers),
                "rate": rate,
                "largest": float(strangers.max()) if len(strangers) else None,
                "median": float(np.median(strangers)) if len(strangers) else None,
                "above": None if threshold is None else int((strangers > threshold).sum()),
            },
        }
        write_artifact(temporary / "index.json", FORMAT, VERSION, content)


def _strangers(index: "CopyIndex", train: Images, validation: Images | None) -> tuple[np.ndarray, str]:
    """Similarities of real images to training images of other people, and where they come from."""
    if validation is not None and len(validation) >= LEAST_STRANGERS:
        return index.query(validation, description="copy threshold").similarity, "validation against train"
    if isinstance(train, Cohort):
        pairs = zip(train.column("group_id"), train.column("patient_id"), strict=True)
        names = [group or patient for group, patient in pairs]
        groups = np.unique([name or "" for name in names], return_inverse=True)[1]
        if all(names) and groups.max() > 0:
            chosen = np.linspace(0, len(train) - 1, min(len(train), 600)).astype(int)
            hits = index.query(train.select(indices=chosen), groups, groups[chosen], description="copy threshold")
            return hits.similarity, "train against other groups of train"
    return np.zeros(0, np.float32), "none"


def tail_threshold(similarities: np.ndarray, rate: float = STRANGER_RATE) -> float:
    """The similarity that a stranger's image exceeds with probability `rate`.

    The tail of atanh(similarity) over its 90th percentile is taken to be exponential, which is cautious for a bounded
    quantity. Its scale is taken from the median of the excess, so that a person who stands under two ids among the
    patients (which happens, and looks just like a copy) does not lift the threshold; a standard error is added to it,
    so that few strangers make a careful detector and not a random one.
    """
    z = np.arctanh(np.clip(np.asarray(similarities, np.float64), -0.999, 0.999))
    start = float(np.quantile(z, 0.9))
    excess = z[z > start] - start
    if not len(excess):
        return float(np.tanh(start))
    scale = float(np.median(excess)) / np.log(2) * (1 + len(excess) ** -0.5)
    return float(np.tanh(start + scale * max(0.0, np.log(len(excess) / len(z) / rate))))


class CopyIndex:
    """A built index, opened for queries. Training images are read from mapped files, a chunk at a time."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.info = Path(path), content
        self.size = int(content["size"])
        self.threshold = float(content["threshold"])
        try:
            self._coarse = np.load(self.path / "coarse.npy", mmap_mode="r", allow_pickle=False)
            self._fine = np.load(self.path / "fine.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(Problem(f"copy index {path}", f"cannot be read ({error})")) from error
        if len(self._coarse) != content["images"] or len(self._fine) != content["images"]:
            raise ArtifactError(Problem(f"copy index {path}", "does not hold the images it says it does"))
        self._chunks: list[Tensor] | None = None

    @classmethod
    def open(cls, path: str | Path) -> "CopyIndex":
        """Raises ArtifactError when the index is absent, damaged or of a newer version."""
        return cls(Path(path), read_artifact(Path(path) / "index.json", FORMAT, VERSION))

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
        """The nearest training image of each image.

        `groups` (of the training images) and `own` (of the queries): training images of the query's group are passed
        over.
        """
        pixels = Pixels(images, self.size, channels=1)
        similarity, nearest = np.zeros(len(pixels), np.float32), np.zeros(len(pixels), np.int64)
        with progress(len(pixels), description) as advance:
            for start in range(0, len(pixels), BLOCK):
                rows = range(start, min(start + BLOCK, len(pixels)))
                gray = pixels.batch(rows)
                gray = torch.cat([gray, gray[-1:].expand(BLOCK - len(rows), -1, -1, -1)])
                banned = None
                if groups is not None and own is not None:
                    mine = np.concatenate([own[start : rows.stop], np.repeat(own[rows.stop - 1], BLOCK - len(rows))])
                    banned = torch.from_numpy(mine[:, None] == groups[None, :])
                value, where = self._block(gray, banned)
                similarity[start : rows.stop] = value[: len(rows)].numpy()
                nearest[start : rows.stop] = where[: len(rows)].numpy()
                advance(len(rows))
        return CopyHits(np.round(similarity, 5), nearest)

    def _block(self, gray_B1HW: Tensor, banned: Tensor | None) -> tuple[Tensor, Tensor]:
        where, variant = self._candidates(coarse_detail(gray_B1HW), banned)
        B, K = where.shape
        fine = fine_detail(gray_B1HW, self.size)
        transforms = BANK[variant.flatten()]
        chosen = where.flatten()
        if self.size > MIDDLE:
            small = resized(fine, MIDDLE)
            template = resized(self._templates(chosen), MIDDLE)
            transforms, value = register(template, small.repeat_interleave(K, 0), transforms, steps=6)
            finalists = value.view(B, K).topk(min(FINALISTS, K), dim=1).indices
            flat = (finalists + torch.arange(B)[:, None] * K).flatten()
            transforms, chosen, K = transforms[flat], chosen[flat], finalists.shape[1]
        _, value = register(self._templates(chosen), fine.repeat_interleave(K, 0), transforms, steps=5)
        best = value.view(B, K).argmax(dim=1)
        rows = torch.arange(B)
        return value.view(B, K)[rows, best], chosen.view(B, K)[rows, best]

    def _candidates(self, coarse_B1SS: Tensor, banned: Tensor | None) -> tuple[Tensor, Tensor]:
        """The training images [B, K] that the first stage finds most alike, and which transform of the bank did."""
        B, V = len(coarse_B1SS), len(BANK)
        grid = places(COARSE)
        shown = warp(coarse_B1SS.repeat_interleave(V, 0), BANK.repeat(B, 1, 1), COARSE)
        shown = standardized(shown, seen(BANK, grid).repeat(B, 1))
        K = min(CANDIDATES, len(self))
        values, wheres, variants = [], [], []
        for number, chunk in enumerate(self._loaded()):
            alike, variant = (shown @ chunk.T).view(B, V, -1).max(dim=1)
            if banned is not None:
                alike = alike.masked_fill(banned[:, number * CHUNK : number * CHUNK + len(chunk)], -1.0)
            top = alike.topk(min(K, len(chunk)), dim=1)
            values.append(top.values)
            wheres.append(top.indices + number * CHUNK)
            variants.append(variant.gather(1, top.indices))
        best = torch.cat(values, 1).topk(K, dim=1).indices
        return torch.cat(wheres, 1).gather(1, best), torch.cat(variants, 1).gather(1, best)

    def _loaded(self) -> Any:
        """First-stage rows in chunks; kept in memory where they are few."""

        def read(start: int) -> Tensor:
            return torch.from_numpy(np.asarray(self._coarse[start : start + CHUNK], np.float32))

        if len(self) > 4 * CHUNK:
            return (read(start) for start in range(0, len(self), CHUNK))
        if self._chunks is None:
            self._chunks = [read(start) for start in range(0, len(self), CHUNK)]
        return self._chunks

    def _templates(self, chosen: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self._fine[chosen.numpy()], np.float32))[:, None] / 31.75


def _packed(detail: Tensor) -> Tensor:
    """Detail in [-4, 4] as int8."""
    return (detail * 31.75).round().to(torch.int8)
