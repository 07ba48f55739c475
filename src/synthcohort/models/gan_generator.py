"""A trained GAN as the rest of the program sees it: the face of a diffusion model's Generator, one pass an image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from synthcohort.core.files import digest_json
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.condition import Condition
from synthcohort.models.denoiser import Denoiser
from synthcohort.models.gan import GeneratorNetwork
from synthcohort.models.gan_spec import GanSpec, load_gan
from synthcohort.models.generator import BATCH, Generator
from synthcohort.models.memory import keep_freed_memory


class GanGenerator(Generator):
    """Draws images. The same condition and seed give the same image, whatever else is drawn with it.

    Conditions, image types, text and integers are those of Generator; steps and guidance do not exist here.
    """

    def __init__(
        self,
        network: GeneratorNetwork,
        spec: GanSpec,
        facts: Mapping[str, Any] | None = None,
        digest: str | None = None,
    ) -> None:
        # a GanSpec has what Generator reads of a ModelSpec
        super().__init__(cast(Denoiser, network), cast(ModelSpec, spec), facts=facts, digest=digest)
        self.network = network

    @property
    def batch(self) -> int:
        """Images of one pass: on a CPU too as many as keep it busy, since a pass takes a fraction of a second."""
        return BATCH

    @torch.inference_mode()
    def draw_unit(self, condition: Condition, seeds: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Up to `batch` images of one size as the network makes them: [B, C, *size] in about [-1, 1]."""
        fill = self.batch - len(seeds)
        full = Condition.cat([condition, condition[:1].repeat(fill)]) if fill else condition
        z = torch.stack([self.latent(seed) for seed in [*seeds, *[seeds[0]] * fill]])
        return self.network(z.to(self.device), full.to(self.device))[: len(seeds)].float().cpu()

    def latent(self, seed: int) -> Tensor:
        """The latent numbers [latent] of a seed."""
        return unit_latent(seed, self.network.config.latent)

    @torch.no_grad()
    def codes(self, condition: Condition, seeds: Sequence[int]) -> Tensor:
        """[B, latent + E] what the images of seeds under conditions are drawn from."""
        z = torch.stack([self.latent(seed) for seed in seeds])
        return self.network.code(z.to(self.device), condition.to(self.device))

    @torch.inference_mode()
    def images_of(self, codes: Tensor) -> Tensor:
        """Images [N, C, H, W] of codes [N, latent + E], in batches of one size: a code gives one image, bit by bit."""
        made = []
        for part in codes.split(self.batch):
            full = torch.cat([part, part[:1].expand(self.batch - len(part), -1)])
            made.append(self.network.synthesize(full.to(self.device))[: len(part)].cpu())
        return torch.cat(made)


def unit_latent(seed: int, count: int) -> Tensor:
    """Unit normal numbers [count] of one image, from its own seed."""
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def gan_generator(model: Path) -> GanGenerator:
    """The generator of a model folder. Raises ArtifactError as `load_gan` does."""
    keep_freed_memory()
    network, spec, content = load_gan(model)
    if torch.cuda.is_available():
        network = network.cuda()
    return GanGenerator(network, spec, content["facts"], digest_json(content))
