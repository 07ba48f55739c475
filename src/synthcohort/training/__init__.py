"""Cohorts -> run: the training data, the visible loop, averaging of weights, and what is watched meanwhile."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthcohort.training.diffusion import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from synthcohort.training.diffusion import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
