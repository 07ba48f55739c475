"""Training on several processes at once, as torchrun starts them: each computes its part of every batch.

    torchrun --nproc-per-node 2 --local-ranks-filter 0 -m synthcohort train cohort --out run

Every process draws the same whole batch from the step's seed and keeps its own rows; gradients are added up and all
processes take the same step. Without dropout the result is that of one process up to the rounding of float32 sums, and
the same number of processes gives the same bits again. The first process alone writes.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem

T = TypeVar("T")
MEETING = timedelta(minutes=1)
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
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    if cuda:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    try:
        with _group("nccl" if cuda else "gloo", rank, count) if count > 1 else nullcontext():
            yield Workers(rank, count, device)
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def _group(backend: str, rank: int, count: int) -> Iterator[None]:
    """The connections between the processes, from the moment that all are there until all are done with them.

    A process that leaves resets its connections, and what another has not read yet is lost; gloo's own thread there
    meets the reset, and an exception in that thread ends the process (SIGABRT). So all say in torchrun's store that
    they are done, which is a connection of its own, and the first process, the one that writes, goes last.
    """
    store = _store()
    # each of several trainings in one process has keys of its own: those of an earlier one name closed sockets
    store = dist.PrefixStore(f"synthcohort/{store.add(f'joined/{rank}', 1)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield
        _say(store, "done", count)
        _wait(store, "done")
        if rank == 0:
            _wait(store, "left")
    finally:
        dist.destroy_process_group()
    if rank != 0:
        _say(store, "left", count - 1)


@cache
def _store() -> dist.Store:
    """The store that torchrun's processes find each other by."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
    return store


def _say(store: dist.Store, name: str, count: int) -> None:
    """Says something that so many processes say; the last of them lets those go on who wait for it."""
    with suppress(RuntimeError):  # the store has gone with the process that held it
        if store.add(name, 1) == count:
            store.set(f"{name} by all", "")


def _wait(store: dist.Store, name: str) -> None:
    """Waits until all have said it, or for a minute: one that was killed is no reason to stay."""
    with suppress(RuntimeError):
        store.wait([f"{name} by all"], MEETING)
