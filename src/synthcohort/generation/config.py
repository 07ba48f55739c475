"""Settings of generation."""

from dataclasses import dataclass, field

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.diffusion.sampling import SamplingConfig


@dataclass(frozen=True)
class GenerateConfig:
    """How images are drawn and screened.

    name       what the synthetic cohort is called in reports and releases
    sampling   the sampler's settings; one for every figure of a study
    screen     compare every image with the training images and replace near copies; without it release refuses
    tries      new seeds for an image that looks too much like a training image before it is left out
    """

    name: str = "synthetic"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    screen: bool = True
    tries: int = 8

    def __post_init__(self) -> None:
        if self.tries < 0:
            raise ConfigError(Problem("setting generate.tries", str(self.tries), "0 or more"))
