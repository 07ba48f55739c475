"""Training images as latents: made once, on disk as mean and standard deviation, drawn anew at every use.

A latent that is drawn once and kept is wrong in the same way forever: its noise becomes part of the data, and a
diffusion model learns it. So the posterior is stored, and each use draws z = mean + std * noise from the step's
generator. A mirrored image's latents are not the mirrored latents, hence a second set of rows for mirrored images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import atomic_path, digest_array, digest_json, read_json, write_json
from synthcohort.core.kept import new_array
from synthcohort.core.progress import progress
from synthcohort.core.seeds import seed_from
from synthcohort.models.autoencoder import Autoencoder
from synthcohort.training.data import TrainingSet
from synthcohort.training.joint import JointSet

BATCH = 16  # always exactly so many: other sizes may round differently
VERSION = 1
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class LatentSet(TrainingSet):
    """A training set whose images are latents: `pixels` holds mean and std, [N, 2 Z, *X] float16 (memory-mapped).

    `mirrored` holds those of the images mirrored left to right, or is None. Shift and scale [Z] bring latents to mean 0
    and variance 1. Conditions, captions, weights and order are those of the training set it was made of.
    """

    mirrored: np.ndarray | None = None
    shift: Tensor | None = None
    scale: Tensor | None = None

    def unit_images(
        self,
        indices: Sequence[int] | np.ndarray,
        generator: torch.Generator | None = None,
        mirror: Tensor | np.ndarray | None = None,
    ) -> Tensor:
        """Latents [B, Z, *X] float32 of mean 0 and variance 1, of mirrored images where said.

        They are drawn with the generator. Without one, the noise of an image is the same every time, for losses that
        are compared over time.
        """
        rows = np.asarray(indices, np.int64)
        moments = torch.from_numpy(np.asarray(self.pixels[rows], np.float32))
        if mirror is not None and np.any(at := np.asarray(mirror, bool)):
            if self.mirrored is None:
                raise ValueError("latents of mirrored images were not made")
            moments[torch.from_numpy(at)] = torch.from_numpy(np.asarray(self.mirrored[rows[at]], np.float32))
        mean, std = moments.chunk(2, dim=1)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator)
        else:
            noise = torch.stack([_own_noise(int(row), mean.shape[1:]) for row in rows]) if len(rows) else mean
        assert self.shift is not None
        assert self.scale is not None
        each = (1, -1, *[1] * (mean.ndim - 2))
        return (mean + std * noise - self.shift.view(each)) * self.scale.view(each)


def latent_set(
    file: Path, data: TrainingSet, autoencoder: Autoencoder, digest: str, channels: int, mirrored: bool = True
) -> LatentSet:
    """Encodes the images of a training set, once, into `file`; an equal file there is used as it is.

    `digest` is the autoencoder's (`weights_digest` of autoencoder.json), `channels` its image channels: gray images of
    a color one are repeated. Raises ConfigError for sizes that do not divide into whole blocks, InputError when the
    latents are not finite numbers of 16 bits.
    """
    shift, scale = autoencoder.shift.cpu(), autoencoder.scale.cpu()
    Z, *size = autoencoder.latent_size(*data.pixels.shape[2:])
    shape = (1 + mirrored, len(data), 2 * Z, *size)
    if not len(data):
        moments = np.zeros(shape, np.float16)
    else:
        key = digest_json([VERSION, _pixels_key(data), digest, channels, mirrored])
        marker = file.with_suffix(".json")
        if not (marker.exists() and read_json(marker) == {"key": key} and file.exists()):
            marker.unlink(missing_ok=True)
            _encode(file, data, autoencoder, shape, channels)
            write_json(marker, {"key": key})
        try:
            moments = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(
                Problem(f"latents {file}", f"cannot be read ({error})", remedy="delete the file, and train again")
            ) from error
        if moments.shape != shape or moments.dtype != np.float16:
            found = f"{moments.dtype} of shape {moments.shape}"
            raise ArtifactError(
                Problem(f"latents {file}", found, f"float16 of {shape}", "delete the file, and train again")
            )
    return LatentSet(
        pixels=moments[0],
        conditions=data.conditions,
        value_range=data.value_range,
        weights=data.weights,
        phrases=data.phrases,
        mirrored=moments[1] if mirrored else None,
        shift=shift,
        scale=scale,
    )


def latent_sets(
    folder: Path, joint: JointSet, autoencoder: Autoencoder, digest: str, mirrored: bool = True
) -> JointSet:
    """The same training with latents instead of images, prepared below `folder`."""
    sets = tuple(
        latent_set(folder / f"{k:02d}.npy", data, autoencoder, digest, joint.channels, mirrored)
        for k, data in enumerate(joint.sets)
    )
    return replace(joint, sets=sets, channels=autoencoder.config.latent_channels)


@torch.inference_mode()
def _encode(file: Path, data: TrainingSet, autoencoder: Autoencoder, shape: tuple[int, ...], channels: int) -> None:
    """Writes mean and std of every image, and of every mirrored one, to `file`, which is whole or absent."""
    device = autoencoder.shift.device
    with (
        atomic_path(file) as temporary,
        progress(shape[0] * len(data), "encode latents") as advance,
    ):
        moments = new_array(temporary, np.float16, shape)
        for start in range(0, len(data), BATCH):
            rows = np.arange(start, min(start + BATCH, len(data)))
            images = data.unit_images(np.resize(rows, BATCH)).expand(-1, channels, *data.pixels.shape[2:]).to(device)
            for turn in range(shape[0]):
                turned = images.flip(-1) if turn else images
                both = torch.cat(autoencoder.encode(turned.contiguous()), dim=1)[: len(rows)].cpu()
                if not bool((both.abs() <= LARGEST).all()):
                    raise InputError(
                        Problem("latents", "are not finite numbers of 16 bits", remedy="train the autoencoder again")
                    )
                moments[turn, rows[0] : rows[-1] + 1] = both.to(torch.float16).numpy()
                advance(len(rows))
        moments.flush()
        del moments


def _pixels_key(data: TrainingSet) -> str:
    """What the pixels of a training set are: the key beside its file, or the digest of an array."""
    name = getattr(data.pixels, "filename", None)
    marker = Path(name).with_suffix(".json") if name else None
    if marker is not None and marker.exists():
        return str(read_json(marker)["key"])
    return digest_array(data.pixels)


def _own_noise(row: int, size: Sequence[int]) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed_from("latent", row)))
