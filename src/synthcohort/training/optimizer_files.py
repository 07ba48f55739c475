"""A training's tensors in a checkpoint: named by what they belong to, and given back so that a step is the same."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, Problem


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def moments_of(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The moments of an optimizer under names that begin with a prefix."""
    state = optimizer.state_dict()["state"].items()
    return {f"{prefix}{index}.{name}": value for index, moments in state for name, value in moments.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The way back; moments get the memory layout of their weights, as in an unbroken run: files hold only values."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in part(tensors, prefix).items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for weight, own in optimizer.state.items():
        for name, value in own.items():
            if value.shape == weight.shape:
                own[name] = torch.empty_like(weight).copy_(value)


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Tensors of another run or version, in words."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(
            Problem(
                f"checkpoint {folder}",
                f"does not fit this run ({str(error).splitlines()[0]})",
                remedy="train into another --out, or with the synthcohort that began it",
            )
        ) from error
