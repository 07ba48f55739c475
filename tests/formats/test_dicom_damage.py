"""Damaged files: an image, or a reason; never another error, and never for long."""

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_files

from synthcohort.formats import Unreadable, dicom
from synthcohort.formats.image import Image, Refusal

LIMIT_S = 10
EACH = 75
# Files of all syntaxes, modalities and kinds, one by one; of the many alike one is enough.
FILES = sorted(
    path
    for path in map(Path, get_testdata_files())
    if path.is_file() and path.stat().st_size < 200_000 and "dicomdirtests" not in path.parts
)


def flipped(data: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))


def overwritten(data: bytearray, rng: np.random.Generator) -> None:
    """Mostly in the header, where lengths and sizes are."""
    for at in rng.integers(min(128, len(data) - 1), min(len(data), 3000), rng.integers(1, 5)):
        data[at] = int(rng.integers(256))


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(1, len(data))) :]


def inserted(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(data)))
    data[at:at] = rng.bytes(int(rng.integers(1, 64)))


@pytest.mark.parametrize("damage", [flipped, overwritten, cut, inserted])
def test_damaged_files_are_read_or_refused(damage):
    outcomes = {"read": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(EACH):
            rng = np.random.default_rng([seed, len(damage.__name__)])
            path = FILES[int(rng.integers(len(FILES)))]
            data = bytearray(path.read_bytes())
            damage(data, rng)
            start = time.perf_counter()
            try:
                items = list(dicom.read(bytes(data)))
                assert items
                assert all(isinstance(item, (Image, Refusal)) for item in items)
                outcomes["read"] += 1
            except Unreadable:
                outcomes["refused"] += 1
            assert time.perf_counter() - start < LIMIT_S, (path.name, seed)
    assert sum(outcomes.values()) == EACH
    assert outcomes["refused"] > EACH // 5
