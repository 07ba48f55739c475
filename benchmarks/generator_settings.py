"""What the parts of the generator benchmark share: the ways, how images are drawn, and what choices go by."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

PEERS = ("diffusers", "monai")
WAYS = ("ours", *PEERS)
STANDARD = {"dpmpp": 20, "ddim": 50, "unipc": 10}  # the peers' samplers at the steps they are known for
ENCODERS = ("packaged", "self_trained")


@dataclass(frozen=True)
class Setting:
    """How images are drawn: a sampler, its steps and the scale of guidance (1 is none)."""

    sampler: str
    steps: int
    guidance: float

    @property
    def name(self) -> str:
        return f"{self.sampler}-{self.steps}-{self.guidance:g}"

    @classmethod
    def of(cls, name: str) -> "Setting":
        sampler, steps, guidance = name.split("-")
        return cls(sampler, int(steps), float(guidance))


def criterion(scores: Mapping[str, Mapping[str, float]]) -> float:
    """The geometric mean of the Fréchet distances in both encoders, on validation patients: lower is chosen."""
    return float(np.sqrt(np.prod([scores[encoder]["frechet"] for encoder in ENCODERS])))
