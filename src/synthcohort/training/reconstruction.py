"""What an autoencoder loses: the bound of every latent model built on it, measured on validation patients."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthcohort.core.files import remove, write_artifact, write_atomic
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.intensity import from_unit
from synthcohort.learning.features import ENCODERS, features
from synthcohort.metrics.distribution import frechet_distance
from synthcohort.metrics.reconstruction import BANDS, SSIM_RADIUS, band_power, mean_bias, psnr, ssim
from synthcohort.models.autoencoder import Autoencoder, AutoencoderSpec
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.pages.grids import sheet, spread
from synthcohort.training.data import TrainingSet
from synthcohort.training.joint import JointSet

FORMAT, VERSION = "reconstruction", 1
BATCH = 16  # always exactly so many: other sizes may round differently
SHOWN = 12  # images on the sheet
FEWEST = 20  # images in a half that a Fréchet distance is worth computing for


def write_report(
    run: Path,
    autoencoder: Autoencoder,
    spec: AutoencoderSpec,
    validation: JointSet,
    patients: Sequence[Sequence[str]],
    most: int,
) -> dict[str, Any]:
    """Writes run/reconstruction.json, and run/owner/reconstructions.png, which shows real patients and never leaves.

    Each type's `most` evenly spread validation images are reconstructed from one draw of their latents, as a diffusion
    model's decoder meets them.
    """
    found: dict[str, Any] = {}
    tiles: list[np.ndarray] = []
    windows: list[tuple[float, float] | None] = []
    cache = run / "owner" / "features"
    for image, data, own in zip(spec.images, validation.sets, patients, strict=True):
        if not len(data):
            continue
        chosen = spread(len(data), most)
        originals, made = reconstructed(autoencoder, data, image, spec.channels, chosen)
        found[image.name] = reconstruction(originals, made, image, [own[i] for i in chosen], cache)
        for i in spread(len(chosen), max(1, SHOWN // len(spec.images))):
            tiles += [originals[i], made[i]]
        window = None
        if image.window_center is not None and image.window_width is not None:
            window = (image.window_center, image.window_width)
        windows += [window] * (len(tiles) - len(windows))
    remove(cache)
    report = {"bands": list(BANDS), "images": found}
    write_atomic(run / "owner" / "reconstructions.png", sheet(tiles, columns=8, windows=windows))
    write_artifact(run / "reconstruction.json", FORMAT, VERSION, report)
    return report


@torch.inference_mode()
def reconstructed(
    autoencoder: Autoencoder, data: TrainingSet, image: ImageSpec, channels: int, indices: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images and their reconstructions, [rows, columns] or [rows, columns, 3] in the cohort's integer type."""
    originals, made = [], []
    for rows in _batches(indices):
        full = np.resize(rows, BATCH)
        x = data.unit_images(full).expand(-1, channels, -1, -1).contiguous()
        mean, std = autoencoder.encode(x)
        noise = torch.stack([_noise(int(row), mean.shape[1:]) for row in full])
        y = autoencoder.images(autoencoder.latents(mean, std, noise))[: len(rows)]
        if image.channels == 1:
            y = y.mean(1, keepdim=True)
        pixels = from_unit(y.numpy(), image.value_range, image.dtype)
        for a, b in zip(np.asarray(data.pixels[rows]), pixels, strict=True):
            originals.append(_plane(a))
            made.append(_plane(b))
    return originals, made


def reconstruction(
    originals: Sequence[np.ndarray],
    made: Sequence[np.ndarray],
    image: ImageSpec,
    patients: Sequence[str],
    cache: Path,
) -> dict[str, Any]:
    """Figures of reconstructions [rows, columns(, 3)] beside their images, both of integers in the image's range.

    Pixel figures are means over images, with the 5th and 95th percentile of the PSNR and of the bias. Bias is in gray
    values. `band_power` is power of reconstructions over power of images, by band. Fréchet distances are between
    features of the packaged encoder: `paired` of reconstructions and their own images; of two halves of the patients,
    `half_to_half` real against real, and `reconstructed_to_half` one half's reconstructions against the other half.
    """
    value_range, channels = float(image.high - image.low), image.channels > 1
    pairs = list(zip(originals, made, strict=True))
    noise = np.array([psnr(image=a, reconstruction=b, value_range=value_range) for a, b in pairs])
    noise = np.minimum(noise, 100.0)  # equal images have an infinite one
    bias = np.array([mean_bias(image=a, reconstruction=b) for a, b in pairs])
    power = sum(band_power(b, channels) for b in made) / np.maximum(
        sum(band_power(a, channels) for a in originals), 1e-12
    )
    found: dict[str, Any] = {
        "count": len(pairs),
        "patients": len(set(patients)),
        "psnr_db": float(noise.mean()),
        "psnr_db_5_95": np.percentile(noise, [5, 95]).tolist(),
        "bias": float(bias.mean()),
        "bias_5_95": np.percentile(bias, [5, 95]).tolist(),
        "bias_share_of_range": float(bias.mean() / value_range),
        "absolute_error": float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairs])),
        "band_power": np.asarray(power).tolist(),
    }
    if min(originals[0].shape[:2]) > 2 * SSIM_RADIUS:
        kinship = [ssim(image=a, reconstruction=b, value_range=value_range, channels=channels) for a, b in pairs]
        found["ssim"] = float(np.mean(kinship))
    return found | {"frechet_packaged": _frechet(originals, made, image, patients, cache)}


def _frechet(
    originals: Sequence[np.ndarray], made: Sequence[np.ndarray], image: ImageSpec, patients: Sequence[str], cache: Path
) -> dict[str, float] | None:
    """Fréchet distances; None where there are too few images."""
    people = sorted(set(patients))
    first = set(rng("halves of the report").permutation(people)[: len(people) // 2].tolist())
    half = np.array([patient in first for patient in patients])
    if min(half.sum(), (~half).sum()) < FEWEST:
        return None
    encoder = replace(ENCODERS["packaged"](), value_range=image.value_range)
    real, recon = features(list(originals), encoder, cache), features(list(made), encoder, cache)
    return {
        "paired": frechet_distance(real=real, synthetic=recon),
        "half_to_half": frechet_distance(real=real[half], synthetic=real[~half]),
        "reconstructed_to_half": frechet_distance(real=real[half], synthetic=recon[~half]),
    }


def _batches(indices: Sequence[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), BATCH):
        yield np.asarray(indices[start : start + BATCH])


def _noise(row: int, size: Sequence[int]) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed_from("reconstruction", row)))


def _plane(pixels: np.ndarray) -> np.ndarray:
    return pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
