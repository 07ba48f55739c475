"""Memory and disks that run out: found before they do harm where possible, and said in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from synthcohort.core.errors import Problem, TrainingError
from synthcohort.core.files import FULL


@contextmanager
def explained(out: Path, remedy: str) -> Iterator[None]:
    """Raises TrainingError where memory runs out, with this remedy, or the disk that `out` lies on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "alloc" in str(error).lower():
            raise TrainingError(Problem("memory", "ran out while training", remedy=remedy)) from error
        raise
    except OSError as error:
        if error.errno in FULL:
            remedy = "make room, then run the same command again: it goes on from its last checkpoint"
            raise TrainingError(Problem(f"disk of {out}", "no space left while writing the run", "", remedy)) from error
        raise
