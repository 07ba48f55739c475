"""What the search for near-duplicates looks at: views of the thumbnails, and descriptions of what squares of them show.

It is kept in files that have no name and are gone with the process (they show patients), so that memory does not grow
with the number of images; small arrays stay in memory. Work is done in blocks by several processes. Blocks do not
depend on their number, and so results do not either.

Distances are measured where images differ and small crops do not: the covariance of the set's own images, and of what
small crops do to them, are taken from the set itself. Nothing is drawn at random.
"""

import math
import mmap
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from synthcohort.imaging.align import Room, Templates, in_disc, make_templates
from synthcohort.imaging.fingerprint import (
    COEFFICIENTS,
    central_squares,
    coarse_detail,
    fine_detail,
    harmonic_basis,
    harmonics,
    harmonics_of_corners,
    invariants,
    unpacked,
)

Square = tuple[float, float, float]  # scale, and center (x, y)

CORNERS = (0.95, 0.90)  # scales of the squares cut out of the corners of an image
SQUARES: tuple[Square, ...] = (
    (1.0, 0.0, 0.0),
    *((scale, x, y) for scale in CORNERS for x in (scale - 1, 1 - scale) for y in (scale - 1, 1 - scale)),
)
JITTER = 0.97  # scale of small crops that distances should not see: in the corners and in the middle
SAMPLE = 1000  # images that the metric is learned from
DIMENSIONS = 48
BLOCK = 32  # images looked at together: what a processor's cache holds
LEAST_SHOWN = 0.15  # share of the disc where an image must show something to be recognized by
STRONG = 96  # of 127: detail above 0.75 of where it is cut
IN_MEMORY = 1 << 18  # bytes of an array that needs no file
SHARED = 1 << 25  # bytes of a file that several arrays share: making one may have to wait for the disk
QUEUED = 1000  # runs of items that wait for a process: any pipe holds them
LEAST_ITEMS = 8  # of a step's work, from which on a helper is worth its start


class Means:
    """Processes to work with, and room for arrays that grow with the number of images.

    Files lie in `folder`, or where the system keeps temporary files. Helpers are made of this process for one step and
    end with it: they begin at once, know all that it knows, and write to the same arrays. Threads would wait for each
    other, because the products are small. Where processes cannot be copied, this one works alone.
    """

    def __init__(self, workers: int = 0, folder: Path | None = None) -> None:
        self._workers = (workers or _processors()) if sys.platform == "linux" else 1
        self._folder = folder
        self._shared, self._used = mmap.mmap(-1, 1), 1  # a file for arrays of middling size
        self.room = Room()

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An array of zeros that helpers can fill. Raises OSError when the disk is full."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > SHARED // 4:
            held, at = self._file(size), 0
        elif size > IN_MEMORY:
            if self._used + size > len(self._shared):
                self._shared, self._used = self._file(SHARED), 0
            held, at = self._shared, self._used
            self._used += -(-size // 64) * 64
        else:
            held, at = mmap.mmap(-1, max(size, 1)), 0
        return np.frombuffer(held, dtype, math.prod(shape), at).reshape(shape)

    def _file(self, size: int) -> mmap.mmap:
        """A mapped file without a name; it ends with the last array in it."""
        with tempfile.TemporaryFile(dir=self._folder) as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would end the process later
            return mmap.mmap(file.fileno(), size)

    def do(self, work: Callable[[int], Any], items: range, done: Callable[[int], Any] = lambda count: None) -> None:
        """Does the work of every item, for what it writes, and says how many more are done.

        Work must be such that doing it again changes nothing: what a helper that broke off has left is done here.
        """
        queue, run = _queued(len(items))
        helpers: list[int] = []
        said = 0
        try:
            if len(items) >= LEAST_ITEMS:
                helpers = [_helper(work, items, queue, run) for _ in range(self._workers - 1)]
            for own in _taken_from(queue, run, items):
                for item in own:
                    work(item)
                reached = items.index(own[-1]) + 1  # what comes before is done or being done
                done(reached - said)
                said = reached
            while helpers:
                ended = os.waitpid(helpers[-1], 0)[1]
                helpers.pop()
                if ended != 0:
                    for item in items:
                        work(item)
            done(len(items) - said)
        finally:
            os.close(queue)
            for helper in helpers:
                os.kill(helper, signal.SIGKILL)
                os.waitpid(helper, 0)

    def taken(self, array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """These rows of an array."""
        result = self.array((len(chosen), *array.shape[1:]), array.dtype)
        for start in range(0, len(chosen), 1 << 16):
            result[start : start + (1 << 16)] = array[chosen[start : start + (1 << 16)]]
        return result


def _helper(work: Callable[[int], Any], items: range, queue: int, run: int) -> int:
    """Starts a copy of this process that takes items from the queue, and returns its number."""
    parent = os.getpid()
    with warnings.catch_warnings():
        # Threads of libraries do not live on in the copy, but it uses numpy alone, with one thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        helper = os.fork()
    if helper:
        return helper
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for own in _taken_from(queue, run, items):
            for item in own:
                work(item)
            if os.getppid() != parent:
                break
        code = 0
    finally:
        os._exit(code)  # whatever happened: this process must not go on with what its parent does


def _queued(count: int) -> tuple[int, int]:
    """A pipe with the first of every `run` numbers below `count`, and the run: each is read once, by whoever asks."""
    run = max(1, -(-count // QUEUED))
    out, into = os.pipe()
    os.write(into, np.arange(0, count, run, dtype=np.uint32).tobytes())
    os.close(into)
    return out, run


def _taken_from(queue: int, run: int, items: range) -> Iterator[range]:
    """Runs of items from a pipe until it is empty."""
    while number := os.read(queue, 4):
        first = int.from_bytes(number, sys.byteorder)
        yield items[first : first + run]


def _processors() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Views:
    """What is compared of each image: packed fine and coarse detail, and whether there is enough of it."""

    fine: np.ndarray  # [N, 48, 48] int8
    coarse: np.ndarray  # [N, 24, 24] int8
    recognizable: np.ndarray  # [N] bool

    def __len__(self) -> int:
        return len(self.fine)


def make_views(thumbnails: np.ndarray, order: np.ndarray, aspects: np.ndarray | None, means: Means) -> Views:
    """Views of the thumbnails in this order: the central squares, or without `aspects` the whole stretched images."""
    N, (height, width) = len(order), thumbnails.shape[1:]
    fine = means.array((N, height, width), np.int8)
    coarse = means.array((N, height // 2, width // 2), np.int8)
    shown = means.array((N,), bool)
    inside = np.zeros(height * width, bool)
    inside[in_disc(height)] = True

    def fill(start: int) -> None:
        rows = slice(start, start + BLOCK)
        pixels = np.asarray(thumbnails[order[rows]])
        views = pixels.astype(np.float32) if aspects is None else central_squares(pixels, aspects[rows])
        fine[rows], coarse[rows] = fine_detail(views), coarse_detail(views)
        strong = (np.abs(fine[rows].reshape(len(pixels), -1)) >= STRONG) & inside
        shown[rows] = strong.sum(1) >= LEAST_SHOWN * inside.sum()

    means.do(fill, range(0, N, BLOCK))
    return Views(fine, coarse, shown)


@dataclass(frozen=True)
class Metric:
    """Which differences between invariants count: subtract the mean, project, and compare directions."""

    mean: np.ndarray  # [D]
    projection: np.ndarray  # [D, DIMENSIONS]

    def apply(self, harmonics_2CN: np.ndarray) -> np.ndarray:
        """Unit vectors [N, DIMENSIONS] float32 of what these harmonics show."""
        x = self.projection.T @ (invariants(harmonics_2CN) - self.mean[:, None])
        return np.asarray(x / np.maximum(np.sqrt(np.square(x).sum(0)), np.float32(1e-9))).T


def learn_metric(coarse: np.ndarray) -> Metric:
    """Divides by the spread between images and by what small crops do, then keeps the directions that differ most."""
    chosen = np.linspace(0, len(coarse) - 1, min(len(coarse), SAMPLE)).astype(int)
    images = unpacked(coarse[chosen])
    raw = invariants(harmonics(images, harmonic_basis())).astype(np.float64)
    crops = (*harmonics_of_corners(images, (JITTER,)), harmonics(images, harmonic_basis(JITTER)))
    moved = [invariants(crop) - raw for crop in crops]
    within = np.mean([change @ change.T for change in moved], axis=0) / len(images)
    mean = raw.mean(1)
    total = (raw - mean[:, None]) @ (raw - mean[:, None]).T / len(images)
    # Half of the spread without its correlations: what few images seem to have in common is not trusted.
    noise = within + 0.5 * total + np.diag(0.5 * np.diag(total) + 1e-5)
    values, vectors = np.linalg.eigh(noise)
    whiten = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whiten.T @ total @ whiten)
    return Metric(mean.astype(np.float32), (whiten @ directions[:, ::-1][:, :DIMENSIONS]).astype(np.float32))


@dataclass(frozen=True)
class Described:
    """What the search compares: unit vectors of each square of each image, the whole images' harmonics, and what others
    are laid over in coarse detail."""

    squares: np.ndarray  # [N, SQUARES, DIMENSIONS] float32
    whole: np.ndarray  # [N, DIMENSIONS] float32: the first square's
    turning: np.ndarray  # [N, 2 * C] float32, real parts first
    templates: Templates  # at every other place


def describe(views: Views, means: Means) -> Described:
    """Descriptions of all images by a metric that is learned from them."""
    N, metric = len(views), learn_metric(views.coarse)
    squares = means.array((N, len(SQUARES), DIMENSIONS), np.float32)
    whole = means.array((N, DIMENSIONS), np.float32)
    turning = means.array((N, 2 * COEFFICIENTS), np.float32)
    one = make_templates(unpacked(views.coarse[:1]), every_other=True)
    slopes, values, inverse = (
        means.array((N, *part.shape[1:]), np.float32) for part in (one.slopes, one.values, one.inverse)
    )

    def fill(start: int) -> None:
        rows = slice(start, start + BLOCK)
        seen = harmonics_of_squares(views.coarse[rows])
        turning[rows] = seen[0].reshape(2 * COEFFICIENTS, -1).T
        for number, square in enumerate(seen):
            squares[rows, number] = metric.apply(square)
        whole[rows] = squares[rows, 0]
        own = make_templates(unpacked(views.coarse[rows]), every_other=True)
        slopes[rows], values[rows], inverse[rows] = own.slopes, own.values, own.inverse

    means.do(fill, range(0, N, BLOCK))
    return Described(squares, whole, turning, Templates(slopes, values, inverse, every_other=True))


def harmonics_of_squares(coarse: np.ndarray) -> np.ndarray:
    """Harmonics of every square of images (packed): [SQUARES, 2, C, N]."""
    images = unpacked(coarse)
    return np.concatenate([harmonics(images, harmonic_basis())[None], harmonics_of_corners(images, CORNERS)])


def harmonics_of_images(coarse: np.ndarray) -> np.ndarray:
    """Harmonics of whole images (packed), real parts first: [N, 2 * C]."""
    return harmonics(unpacked(coarse), harmonic_basis()).reshape(2 * COEFFICIENTS, -1).T
