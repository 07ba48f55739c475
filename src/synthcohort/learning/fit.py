"""One small supervised loop: it makes the graders of the utility score, the self-trained encoder and every auditor.

Every random draw belongs to its step (seed, purpose, step), so a fit is the same whatever ran before it.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, Problem, TrainingError
from synthcohort.core.files import atomic_path, read_artifact, write_artifact
from synthcohort.core.progress import progress
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.intensity import ValueRange
from synthcohort.learning.pixels import Images, Pixels
from synthcohort.models.checkpoint import load_tensors, save_tensors
from synthcohort.models.classifier import ClassifierConfig, ResidualClassifier

FORMAT, VERSION = "classifier", 1


@dataclass(frozen=True)
class FitConfig:
    """The budget and the recipe. `steps` x `batch` images are seen, however many there are."""

    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-3  # the top of the one-cycle schedule
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    class_weight_power: float = 0.5  # weight of a class = frequency ** -power; 0.5 is the square root
    size: int = 64  # larger images are reduced to it
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 1
    dropout: float = 0.1
    flip: bool = True
    rotate_degrees: float = 8.0
    scale: float = 0.08
    shift: float = 0.06
    brightness: float = 0.15
    contrast: float = 0.2
    untouched: float = 0.25  # share of images without the affine transform, which blurs a little
    flip_votes: bool = True  # average the probabilities over the image and its mirror image


@dataclass(frozen=True)
class Classifier:
    """A fitted network with what its input needs: size, value range, mean and standard deviation."""

    network: ResidualClassifier
    value_range: ValueRange | None
    mean: float
    std: float
    flip_votes: bool

    def probabilities(self, images: Images, batch: int = 250) -> np.ndarray:
        """Class probabilities [N, K] float32."""
        return self._run(images, batch)[0]

    def features(self, images: Images, batch: int = 250) -> np.ndarray:
        """Penultimate features [N, D] float32, of the image itself (no mirror)."""
        return self._run(images, batch, vote=False)[1]

    @torch.no_grad()
    def _run(self, images: Images, batch: int, vote: bool = True) -> tuple[np.ndarray, np.ndarray]:
        config = self.network.config
        pixels = Pixels(images, config.size, config.channels, self.value_range)
        self.network.eval()
        probabilities, features = (
            [np.zeros((0, config.num_classes), np.float32)],
            [np.zeros((0, config.widths[-1]), np.float32)],
        )
        for start in range(0, len(pixels), batch):
            x = (pixels.batch(range(start, min(start + batch, len(pixels)))) - self.mean) / self.std
            x_full = F.pad(x, (0, 0, 0, 0, 0, 0, 0, batch - len(x)))  # one size: the same rounding
            f = self.network.features(x_full)
            p = self.network.head(f).softmax(dim=1)
            if vote and self.flip_votes:
                p = (p + self.network(x_full.flip(3)).softmax(dim=1)) / 2
            probabilities.append(p[: len(x)].numpy())
            features.append(f[: len(x)].numpy())
        return np.concatenate(probabilities), np.concatenate(features)

    def save(self, folder: Path) -> None:
        """Writes classifier.json and weights.safetensors into a folder, whole or not at all."""
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            save_tensors(temporary / "weights.safetensors", self.network.state_dict())
            scale = None if self.value_range is None else asdict(self.value_range)
            content = {
                "network": asdict(self.network.config),
                "value_range": scale,
                "mean": self.mean,
                "std": self.std,
                "flip_votes": self.flip_votes,
            }
            write_artifact(temporary / "classifier.json", FORMAT, VERSION, content)

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Reads what `save` wrote. Raises ArtifactError."""
        content = read_artifact(Path(folder) / "classifier.json", FORMAT, VERSION)
        network = ResidualClassifier(build(ClassifierConfig, content["network"], where="network"))
        try:
            network.load_state_dict(load_tensors(Path(folder) / "weights.safetensors"))
        except RuntimeError as error:
            raise ArtifactError(Problem(f"classifier {folder}", f"weights of another network ({error})")) from error
        network.eval()
        scale = content["value_range"]
        return cls(
            network,
            None if scale is None else ValueRange(**scale),
            content["mean"],
            content["std"],
            content["flip_votes"],
        )


def network_size(shape: tuple[int, int], largest: int) -> int:
    """Rows and columns the network sees: a multiple of 16 near the images' own size, at most `largest`."""
    return max(16, min(largest, math.ceil(max(shape) / 16) * 16))


def augment(x_BCHW: Tensor, config: FitConfig, generator: torch.Generator) -> Tensor:
    """Random mirror, small affine transform and intensity change, drawn for each image."""
    B = len(x_BCHW)

    def uniform(amount: float) -> Tensor:
        return (torch.rand(B, generator=generator) * 2 - 1) * amount

    angle, scale = uniform(math.radians(config.rotate_degrees)), 1 + uniform(config.scale)
    shift_x, shift_y = uniform(2 * config.shift), uniform(2 * config.shift)
    mirror = torch.where(torch.rand(B, generator=generator) < (0.5 if config.flip else 0.0), -1.0, 1.0)
    plain = torch.rand(B, generator=generator) < config.untouched
    gain, offset = 1 + uniform(config.contrast), uniform(config.brightness)
    angle, scale = angle.masked_fill(plain, 0.0), scale.masked_fill(plain, 1.0)
    shift_x, shift_y = shift_x.masked_fill(plain, 0.0), shift_y.masked_fill(plain, 0.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack(
        [torch.stack([cos * mirror, -sin, shift_x], 1), torch.stack([sin * mirror, cos, shift_y], 1)], 1
    )
    grid = F.affine_grid(matrix, list(x_BCHW.shape), align_corners=False)
    moved = F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved * gain[:, None, None, None] + offset[:, None, None, None]


def class_weights(labels: np.ndarray, num_classes: int, power: float) -> Tensor:
    """Frequency ** -power, mean 1 over the images; 0 for an absent class."""
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -power, 0.0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def fit_classifier(
    images: Images,
    labels: np.ndarray,
    num_classes: int,
    config: FitConfig,
    seed: int,
    value_range: ValueRange | None = None,
    description: str = "fit",
) -> Classifier:
    """Fits a classifier on images [N] and labels [N] of 0 … num_classes - 1.

    Deterministic for a seed and a number of threads. Raises ValueError for labels that don't fit the images and
    TrainingError when the loss stops being finite.
    """
    labels = np.asarray(labels, np.int64)
    if len(labels) != len(images) or len(labels) < 2:
        raise ValueError(f"{len(labels)} labels for {len(images)} images; needed: the same number, at least 2")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels outside 0 … {num_classes - 1}")
    size = network_size(Pixels(images).shape, config.size)
    pixels = Pixels(images, size, value_range=value_range)
    mean, std = _moments(pixels, seed)
    network = _build(pixels.channels, num_classes, size, config, seed)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(2, config.steps))
    batch = min(config.batch, len(labels))
    descend(network, optimizer, schedule, pixels, (mean, std), labels, num_classes, config,
            lambda step: _chosen(len(labels), batch, step, seed), ("fit", seed), description, 50)  # fmt: skip
    return Classifier(network.eval(), pixels.value_range, mean, std, config.flip_votes and config.flip)


def descend(
    network: ResidualClassifier,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    pixels: Pixels,
    moments: tuple[float, float],
    labels: np.ndarray,
    num_classes: int,
    config: FitConfig,
    chosen_in: Callable[[int], np.ndarray],
    purpose: tuple[str, int],
    description: str,
    check_every: int = 1,
) -> None:
    """The loop: `config.steps` steps on the images `chosen_in(step)`, augmented, all draws seeded by purpose and step.

    `moments`: mean and standard deviation of the pixels. Raises TrainingError when the loss is found not to be finite.
    """
    mean, std = moments
    weights = class_weights(labels, num_classes, config.class_weight_power)
    targets = torch.from_numpy(labels)
    network.train()
    with progress(config.steps, description, unit="steps") as advance:
        for step in range(config.steps):
            chosen = chosen_in(step)
            generator = torch.Generator().manual_seed(seed_from(*purpose, "augment", step))
            x = augment((pixels.batch(chosen) - mean) / std, config, generator)
            with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16):
                torch.manual_seed(seed_from(*purpose, "dropout", step))
                logits = network(x)
            loss = F.cross_entropy(logits.float(), targets[chosen], weights, label_smoothing=config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % check_every == 0 and not math.isfinite(float(loss.detach())):
                raise TrainingError(Problem(description, f"the loss is not finite at step {step}"))
            advance(1)


def _moments(pixels: Pixels, seed: int) -> tuple[float, float]:
    chosen = rng("fit", seed, "moments").permutation(len(pixels))[:512]
    sample = pixels.batch(np.sort(chosen)).double()
    return float(sample.mean()), max(float(sample.std()), 1e-3)


def _build(channels: int, num_classes: int, size: int, config: FitConfig, seed: int) -> ResidualClassifier:
    shape = ClassifierConfig(channels, num_classes, size, config.widths, config.blocks, dropout=config.dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from("fit", seed, "weights"))
        network = ResidualClassifier(shape)
    return network


def _chosen(count: int, batch: int, step: int, seed: int) -> np.ndarray:
    """The images of one step: positions step * batch … of an endless row of shuffled passes."""
    first = step * batch
    parts = [
        rng("fit", seed, "order", number).permutation(count)
        for number in range(first // count, (first + batch - 1) // count + 1)
    ]
    start = first % count
    return np.concatenate(parts)[start : start + batch]
