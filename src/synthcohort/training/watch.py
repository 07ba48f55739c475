"""What is watched while training: the loss on validation patients at fixed noise, and a sheet of samples."""

from collections.abc import Mapping

import torch

from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.precondition import add_noise, denoising_error
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.denoiser import Denoiser
from synthcohort.models.generator import Generator
from synthcohort.pages.grids import sheet
from synthcohort.training.data import TrainingSet

WATCHED_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@torch.inference_mode()
def validation_loss(denoiser: Denoiser, data: TrainingSet, count: int, batch: int, seed: int) -> dict[float, float]:
    """Weighted denoising error at each watched sigma, on evenly spread images with the same noise every time.

    1 is a network that always answers 0. Errors that rise while the training loss falls show memorized images.
    """
    chosen = torch.linspace(0, len(data) - 1, min(count, len(data))).long().unique().numpy()
    losses: dict[float, float] = {}
    for sigma in WATCHED_SIGMAS:
        total = 0.0
        for start in range(0, len(chosen), batch):
            part = chosen[start : start + batch]
            clean = data.unit_images(part)
            generator = torch.Generator().manual_seed(seed_from("validation", seed, repr(sigma), start))
            noisy_at = torch.full((len(part),), sigma)
            noisy = add_noise(clean, torch.randn(clean.shape, generator=generator), noisy_at)
            denoised = denoiser(noisy, noisy_at, data.conditions[torch.from_numpy(part)])
            total += float(denoising_error(denoised, clean, noisy_at, denoiser.sigma_data).sum())
        losses[sigma] = total / len(chosen)
    return losses


def sample_sheet(denoiser: Denoiser, spec: ModelSpec, seed: int, per_class: int = 8) -> bytes:
    """A PNG of model samples: one row per value of the first label column, or two rows where there is none."""
    generator = Generator(denoiser, spec)
    first = spec.vocabulary.columns[0].label if spec.vocabulary.columns else None
    values = first.values[:8] if first is not None else ()
    conditions: list[Mapping[str, object]] = (
        [{first.name: v} for v in values for _ in range(per_class)] if first and values else []
    )
    conditions = conditions or [{} for _ in range(2 * per_class)]
    seeds = [seed_from("sample sheet", seed, i) for i in range(len(conditions))]
    return sheet(list(generator.draw(conditions, seeds)), columns=per_class)
