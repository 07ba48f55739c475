"""The autoencoder of latent diffusion: images or volumes to a few channels at a fraction of their size, and back.

Both ways are the sum of a linear map in float32, which starts as the principal components of the training images'
patches, and of a convolutional network that starts at zero. The network therefore begins at the best linear code, and
16-bit gray values are never rounded to bfloat16. Nothing looks further than its neighbors, neither norms nor attention:
any size of whole blocks goes in, and a gray value does not depend on the far side of the image.

Shape suffixes as in layers.py: B images, C channels, Z latent channels, X spatial sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.config import build, to_mapping
from synthcohort.core.errors import ArtifactError, ConfigError, Problem
from synthcohort.core.files import digest_file, read_artifact, write_artifact, write_atomic
from synthcohort.models.checkpoint import ImageSpec, load_tensors, save_tensors
from synthcohort.models.denoiser import Precision
from synthcohort.models.layers import (
    Down,
    Up,
    channels_last,
    convolution,
    from_patches,
    memory_format,
    to_patches,
    zero_,
)

FORMAT, VERSION = "autoencoder", 1
LOG_STD_RANGE = (-9.0, 1.0)  # about 0.0001 to 2.7
WEIGHTS = "weights.safetensors"
FOLDER = "autoencoder"  # within a run of its own, and within the model of a latent diffusion run


@dataclass(frozen=True)
class AutoencoderConfig:
    """Size of the network. One entry per level, finest first; each level halves every side.

    patch            side of the squares or cubes stacked into channels at the input: 1, 2, 4 or 8
    channels         width of each level; the latents are patch * 2 ** (levels - 1) times smaller than the image
    encoder_blocks   residual blocks of each level on the way to the latents
    decoder_blocks   residual blocks of each level on the way back
    latent_channels  channels of the latents
    """

    patch: int = 2
    channels: tuple[int, ...] = (32, 128)
    encoder_blocks: tuple[int, ...] = (1, 1)
    decoder_blocks: tuple[int, ...] = (1, 2)
    latent_channels: int = 8

    def __post_init__(self) -> None:
        levels = len(self.channels)
        checks: list[tuple[str, bool, str]] = [
            ("patch", self.patch in (1, 2, 4, 8), "1, 2, 4, 8"),
            ("channels", levels > 0 and all(c >= 4 for c in self.channels), "4 or more for each level"),
            ("latent_channels", 1 <= self.latent_channels <= 64, "1 to 64"),
        ]
        for name in ("encoder_blocks", "decoder_blocks"):
            blocks = getattr(self, name)
            good = len(blocks) == levels and all(n >= 0 for n in blocks)
            checks.append((name, good, f"{levels} numbers, one a level"))
        problems = [
            Problem(f"setting autoencoder.network.{name}", str(getattr(self, name)), allowed)
            for name, good, allowed in checks
            if not good
        ]
        if not problems and self.factor not in (2, 4, 8, 16):
            problems.append(
                Problem(
                    "setting autoencoder.network.patch and channels",
                    f"latents {self.factor} times smaller than the image",
                    "2, 4, 8, 16 times",
                )
            )
        if problems:
            raise ConfigError(*problems)

    @property
    def factor(self) -> int:
        """How many times smaller the latents are, along every side."""
        return int(self.patch * 2 ** (len(self.channels) - 1))

    def check_size(self, *size: int) -> None:
        """Raises ConfigError when images of this size do not divide into whole blocks."""
        if any(side % self.factor or side < 1 for side in size):
            found, allowed = " x ".join(map(str, size)), f"multiples of {self.factor}"
            raise ConfigError(Problem("image size", found, allowed, "change autoencoder.size or autoencoder.network"))


@dataclass(frozen=True)
class AutoencoderSpec:
    """Everything but the weights. `images` are the image types it was trained on; volumes have none."""

    network: AutoencoderConfig
    channels: int
    dimensions: int = 2
    precision: Precision = "bfloat16"
    images: tuple[ImageSpec, ...] = ()

    def build(self) -> "Autoencoder":
        """An autoencoder with fresh weights (drawn from torch's global generator)."""
        return Autoencoder(self.network, self.channels, self.dimensions, self.precision)


class PixelNorm(nn.Module):
    """Every pixel's channels are brought to mean 0 and variance 1: no statistics over the image.

    torch has no kernel for a norm by the root mean square on a CPU: training was 28 % slower with it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x_BCX: Tensor) -> Tensor:
        last = x_BCX.movedim(1, -1)
        return F.layer_norm(last, last.shape[-1:], self.weight.to(last.dtype), None, 1e-5).movedim(-1, 1)


class Block(nn.Module):
    """Two convolutions of side 3 beside a shortcut; it starts as the identity."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.norm = PixelNorm(channels)
        self.conv1 = convolution(dimensions, channels, channels, 3)
        self.conv2 = zero_(convolution(dimensions, channels, channels, 3))

    def forward(self, x_BCX: Tensor) -> Tensor:
        return x_BCX + self.conv2(F.silu(self.conv1(self.norm(x_BCX))))


class Encoder(nn.Module):
    """Images [B, C, *X] to what is added to the linear code: 2 Z channels at a `factor`-th of the size."""

    def __init__(self, config: AutoencoderConfig, image_channels: int, dimensions: int) -> None:
        super().__init__()
        self.patch = config.patch
        self.stem = convolution(dimensions, image_channels * config.patch**dimensions, config.channels[0], 3)
        layers: list[nn.Module] = []
        for level, width in enumerate(config.channels):
            if level:
                layers.append(Down(config.channels[level - 1], width, dimensions))
            layers += [Block(width, dimensions) for _ in range(config.encoder_blocks[level])]
        self.layers = nn.Sequential(*layers, PixelNorm(config.channels[-1]), nn.SiLU())
        self.head = zero_(convolution(dimensions, config.channels[-1], 2 * config.latent_channels, 3))

    def forward(self, x_BCX: Tensor) -> Tensor:
        h = to_patches(x_BCX, self.patch).contiguous(memory_format=memory_format(x_BCX.ndim - 2))
        return self.head(self.layers(self.stem(h)))


class Decoder(nn.Module):
    """Latents [B, Z, *X] to what is added to the linear image."""

    def __init__(self, config: AutoencoderConfig, image_channels: int, dimensions: int) -> None:
        super().__init__()
        self.patch = config.patch
        self.stem = convolution(dimensions, config.latent_channels, config.channels[-1], 3)
        layers: list[nn.Module] = []
        for level in reversed(range(len(config.channels))):
            width = config.channels[level]
            layers += [Block(width, dimensions) for _ in range(config.decoder_blocks[level])]
            if level:
                layers.append(Up(width, config.channels[level - 1], dimensions))
        self.layers = nn.Sequential(*layers, PixelNorm(config.channels[0]), nn.SiLU())
        self.head = zero_(convolution(dimensions, config.channels[0], image_channels * config.patch**dimensions, 3))

    def forward(self, z_BZX: Tensor) -> Tensor:
        h = z_BZX.contiguous(memory_format=memory_format(z_BZX.ndim - 2))
        return from_patches(self.head(self.layers(self.stem(h))), self.patch)


class Autoencoder(nn.Module):
    """`encode(x) -> (mean, std)` and `decode(z) -> x`; x is [B, C, *X] float32 in [-1, 1], z is [B, Z, *X / factor].

    A diffusion model works on latents of mean 0 and variance 1, channel by channel: `latents` makes them, `images` is
    the way back. Source: Kingma & Welling 2014; Rombach et al. 2022, section 3.1.
    """

    shift: Tensor  # [Z] mean of each latent channel over the training images
    scale: Tensor  # [Z] 1 / standard deviation

    def __init__(
        self, config: AutoencoderConfig, channels: int, dimensions: int = 2, precision: Precision = "bfloat16"
    ) -> None:
        super().__init__()
        self.config, self.channels, self.dimensions, self.precision = config, channels, dimensions, precision
        values = channels * config.factor**dimensions
        self.code_head = convolution(dimensions, values, config.latent_channels, 1)
        self.image_head = convolution(dimensions, config.latent_channels, values, 1)
        self.encoder = channels_last(Encoder(config, channels, dimensions))
        self.decoder = channels_last(Decoder(config, channels, dimensions))
        log_std = self.encoder.get_parameter("head.bias")[config.latent_channels :]
        nn.init.constant_(log_std, -3.0)  # std 0.05 before anything is learned
        self.register_buffer("shift", torch.zeros(config.latent_channels))
        self.register_buffer("scale", torch.ones(config.latent_channels))

    def encode(self, x_BCX: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, [B, Z, *X / factor] float32 each."""
        with torch.autocast(x_BCX.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            added = self.encoder(x_BCX).float()
        mean, log_std = added.chunk(2, dim=1)
        with torch.autocast(x_BCX.device.type, enabled=False):
            mean = mean + self.code_head(to_patches(x_BCX.float(), self.config.factor))
        return mean, log_std.clamp(*LOG_STD_RANGE).exp()

    def decode(self, z_BZX: Tensor) -> Tensor:
        """Images [B, C, *X] float32, in about [-1, 1]."""
        with torch.autocast(z_BZX.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            added = self.decoder(z_BZX).float()
        with torch.autocast(z_BZX.device.type, enabled=False):
            return from_patches(self.image_head(z_BZX.float()), self.config.factor) + added

    def latents(self, mean_BZX: Tensor, std_BZX: Tensor, noise_BZX: Tensor) -> Tensor:
        """A draw from the posterior, with mean 0 and variance 1 over the training images: what diffusion works on."""
        return (mean_BZX + std_BZX * noise_BZX - self._each(self.shift)) * self._each(self.scale)

    def images(self, unit_BZX: Tensor) -> Tensor:
        """Images in [-1, 1] of such latents."""
        return self.decode(unit_BZX / self._each(self.scale) + self._each(self.shift)).clamp(-1.0, 1.0)

    def latent_size(self, *size: int) -> tuple[int, ...]:
        """Channels and spatial sizes of the latents of images of this size. Raises ConfigError for odd ones."""
        self.config.check_size(*size)
        return self.config.latent_channels, *(side // self.config.factor for side in size)

    def _each(self, values_Z: Tensor) -> Tensor:
        return values_Z.view(1, -1, *[1] * self.dimensions)

    @torch.no_grad()
    def start_from(self, images: Sequence[Tensor]) -> None:
        """Sets the linear maps to the first principal components of the patches of these images, of unit variance.

        `images` are batches [B, C, *X], each of a shape of its own.
        """
        patches = [to_patches(x.float(), self.config.factor).movedim(1, -1).flatten(0, -2) for x in images]
        patches_NV = torch.cat(patches).double()
        mean = patches_NV.mean(0)
        values, vectors = torch.linalg.eigh((patches_NV - mean).T @ (patches_NV - mean) / len(patches_NV))
        kept = min(self.config.latent_channels, len(values))
        std = values.flip(0)[:kept].clamp(min=0).sqrt()
        std = std.clamp(min=1e-3 * float(std[0]) + 1e-6)  # directions without any variance stay small
        basis = vectors.flip(1)[:, :kept]
        signs = torch.where(basis.sum(0) < 0, -1.0, 1.0).double()  # of two equal bases always the same
        basis = basis * signs
        forth, back = self.code_head, self.image_head
        for linear in (forth, back):
            nn.init.zeros_(linear.get_parameter("weight"))
            nn.init.zeros_(linear.get_parameter("bias"))
        forth.get_parameter("weight")[:kept] = _as_kernel((basis / std).T, self.dimensions)
        forth.get_parameter("bias")[:kept] = -(basis / std).T.matmul(mean).float()
        back.get_parameter("weight")[:, :kept] = _as_kernel(basis * std, self.dimensions)
        back.get_parameter("bias").copy_(mean)


def _as_kernel(matrix: Tensor, dimensions: int) -> Tensor:
    return matrix.float().reshape(*matrix.shape, *[1] * dimensions)


def kl_divergence(mean: Tensor, std: Tensor) -> Tensor:
    """KL divergence of N(mean, std²) from N(0, 1), each value in nats. Source: Kingma & Welling 2014, appendix B."""
    return 0.5 * (mean.square() + std.square() - 1.0) - std.log()


def save_autoencoder(
    folder: Path, spec: AutoencoderSpec, weights: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Writes weights, then autoencoder.json with their digest; `facts` say how it came to be."""
    save_tensors(folder / WEIGHTS, weights)
    content = {"spec": to_mapping(spec), "facts": dict(facts), "weights_digest": digest_file(folder / WEIGHTS)}
    write_artifact(folder / "autoencoder.json", FORMAT, VERSION, content)


def copy_autoencoder(source: Path, folder: Path) -> None:
    """Puts the same files into another folder, autoencoder.json last."""
    for name in (WEIGHTS, "autoencoder.json"):
        write_atomic(folder / name, (source / name).read_bytes())


def load_autoencoder(folder: Path) -> tuple[Autoencoder, AutoencoderSpec, dict[str, Any]]:
    """The autoencoder in evaluation mode, its specification, and the content of autoencoder.json.

    Raises ArtifactError when files are absent, damaged, or do not belong together.
    """
    content = read_artifact(folder / "autoencoder.json", FORMAT, VERSION)
    file = folder / WEIGHTS
    weights = load_tensors(file)
    if digest_file(file) != content.get("weights_digest"):
        found = "is not the file that autoencoder.json was written with"
        raise ArtifactError(Problem(str(file), found, remedy="train the autoencoder again"))
    try:
        spec = build(AutoencoderSpec, content["spec"])
        with torch.random.fork_rng():
            autoencoder = spec.build()
        autoencoder.load_state_dict(weights)
    except (ConfigError, KeyError, RuntimeError) as error:
        found = f"does not fit its autoencoder.json ({error})"
        raise ArtifactError(Problem(str(file), found, remedy="train the autoencoder again")) from error
    return autoencoder.eval().requires_grad_(False), spec, content
