"""Training on several processes at once, as torchrun starts them: each computes its part of every batch.

    torchrun --nproc-per-node 2 --local-ranks-filter 0 -m synthcohort train cohort --out run

Every process draws the same whole batch from the step's seed and keeps its own rows; gradients are added up and all
processes take the same step. Without dropout the result is that of one process up to the rounding of float32 sums, and
the same number of processes gives the same bits again. The first process alone writes.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # others wait while the first process prepares data, draws samples and writes


@dataclass(frozen=True)
class Workers:
    """The processes of one training, seen from one of them: its number, how many there are, and its device."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def pieces(self, batch: int, pieces: int) -> list[slice]:
        """The rows of a batch that this process computes, in so many pieces; empty ones are left out."""
        first, last = batch * self.rank // self.count, batch * (self.rank + 1) // self.count
        edges = [first + (last - first) * k // pieces for k in range(pieces + 1)]
        return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes, in one exchange."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def agree(self, value: T) -> T:
        """The first process's value, on all; all must call it."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def check(self, batch: int) -> None:
        """Raises ConfigError when a batch has fewer images than there are processes."""
        if batch < self.count:
            raise ConfigError(
                Problem("setting train.batch", f"{batch}, for {self.count} processes", f"{self.count} or more")
            )


@contextmanager
def joined() -> Iterator[Workers]:
    """Joins the processes that torchrun started with this one; alone, there is nothing to join.

    One GPU for each process where there are any, else CPUs. On a GPU, float32 sums may take its fast format.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if count > 1:
        if cuda:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    if cuda:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    try:
        yield Workers(rank, count, device)
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
        if count > 1:
            dist.destroy_process_group()
