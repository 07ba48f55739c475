"""Averages of the weights over the recent past, which make better images than the weights, of any length afterwards.

The length of an average is its *relative width*: the standard deviation of the steps it holds, each as heavy as its
weights count, over the number of steps done (0.05: about the last tenth of training). Two averages are tracked; now and
then both are stored. Any other length, at any time a snapshot was taken, is the combination of stored ones whose
profile is nearest to the one wanted.
Source: Karras et al. 2024 ("Analyzing and Improving the Training Dynamics of Diffusion Models", 2312.02696), section 3
and appendix C. Two things differ: profiles are those of the steps really done, not their continuous limit, so that
short runs are exact too; and the combination's coefficients sum to one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.models.checkpoint import load_tensors, save_tensors
from synthcohort.training.config import WIDEST_AVERAGE

TRACKED = (0.05, 0.10)  # relative widths that are tracked

STORED = torch.float16  # 11 bits: the coefficients of a combination are near 1, so its rounding stays near 5e-4


def exponent(width: float) -> float:
    """gamma + 1 of the power profile with this relative width; equation 7 of appendix C, solved for gamma."""
    if not 0 < width <= WIDEST_AVERAGE:
        raise ValueError(f"relative width {width}; allowed: more than 0, up to {WIDEST_AVERAGE}")
    gamma = max(float(root.real) for root in np.roots([1.0, 7.0, 16 - width**-2, 12 - width**-2]))
    return gamma + 1


def decay(step: int, width: float) -> float:
    """What the average keeps of itself at `step`, counted from 1, which takes the weights themselves; equation 5."""
    return float((1 - 1 / step) ** exponent(width))


def profile(step: int, width: float, steps: int | None = None) -> np.ndarray:
    """[steps] share of the weights after each step in the average after `step`; sums to 1."""
    done = np.minimum(np.arange((steps or step) + 1, dtype=np.float64), step) / step
    return np.diff(done ** exponent(width))


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], kept: float) -> None:
    """average = kept * average + (1 - kept) * weights, in place."""
    torch._foreach_lerp_(list(average), list(weights), 1 - kept)


@dataclass(frozen=True)
class Combination:
    """An average made of others: a coefficient of each (step, width), and how far its profile is from the one wanted.

    `error` is the distance of the profiles over the length of the one wanted: 0 where it is a stored one itself.
    """

    terms: Mapping[tuple[int, float], float]
    error: float


def combination(stored: Sequence[tuple[int, float]], step: int, width: float) -> Combination:
    """The stored averages (step, width) up to `step`, combined to be nearest to the average of `width` at `step`.

    Least squares over the profiles with coefficients that sum to 1. Raises ValueError when there is none to take.
    """
    usable = sorted({pair for pair in stored if pair[0] <= step})
    if not usable:
        raise ValueError(f"no average was stored up to step {step}")
    if (step, width) in usable:
        return Combination({(step, width): 1.0}, 0.0)
    basis = np.stack([profile(*pair, steps=step) for pair in usable], axis=1)
    wanted = profile(step, width)
    # the last coefficient is 1 minus the others: a weight that never moves comes out as it is
    free, *_ = np.linalg.lstsq(basis[:, :-1] - basis[:, -1:], wanted - basis[:, -1], rcond=1e-10)
    found = [*free.tolist(), 1 - float(free.sum())]
    error = float(np.linalg.norm(basis @ np.array(found) - wanted) / np.linalg.norm(wanted))
    return Combination(dict(zip(usable, found, strict=True)), error)


class Averages:
    """The tracked averages of a network's trained weights, by width."""

    def __init__(self, weights: Mapping[str, Tensor], widths: Sequence[float] = TRACKED) -> None:
        self.of = {width: {name: value.detach().clone() for name, value in weights.items()} for width in widths}

    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Takes in the weights after `step`, counted from 1."""
        for width, average in self.of.items():
            update_average(average.values(), [weights[name].detach() for name in average], decay(step, width))

    def tensors(self) -> dict[str, Tensor]:
        return {f"{width}/{name}": value for width, average in self.of.items() for name, value in average.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `tensors` gave. Raises ValueError when names or shapes differ."""
        own = self.tensors()
        if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
            raise ValueError("the stored averages are of another network")
        for name, value in own.items():
            value.copy_(tensors[name])

    def store(self, folder: Path, step: int) -> None:
        """Writes both as 16-bit numbers: `folder`/STEP.safetensors."""
        save_tensors(folder / f"{step:09d}.safetensors", {n: v.to(STORED) for n, v in self.tensors().items()})


def stored_steps(folder: Path) -> list[int]:
    """Steps at which averages were stored, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.safetensors") if re.fullmatch(r"\d+", path.stem))


def stored_average(folder: Path, step: int, width: float) -> tuple[dict[str, Tensor], float]:
    """The average of any width at a step where averages were stored, float32, and its `Combination.error`.

    Raises ArtifactError when none were stored at that step, or a file is damaged.
    """
    steps = stored_steps(folder)
    if step not in steps:
        raise ArtifactError(
            Problem(f"averages {folder}", f"none of step {step}", ", ".join(map(str, steps)) or "none", "train again")
        )
    found = combination([(s, w) for s in steps for w in TRACKED], step, width)
    made: dict[str, Tensor] = {}
    for s in sorted({s for s, _ in found.terms}):
        tensors = load_tensors(folder / f"{s:09d}.safetensors")
        for (term, w), factor in found.terms.items():
            prefix = f"{w}/"
            if term != s:
                continue
            for name, value in tensors.items():
                if name.startswith(prefix):
                    part = value.double() * factor
                    made[name.removeprefix(prefix)] = made.get(name.removeprefix(prefix), torch.zeros_like(part)) + part
    return {name: value.float() for name, value in made.items()}, found.error
