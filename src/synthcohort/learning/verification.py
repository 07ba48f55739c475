"""Whether two images show the same patient: a small residual encoder, trained on pairs of training patients' images.

Every batch holds two images each of B patients; each image must find its partner among the other 2B - 1. What
differs between partners (positioning, exposure, which side it is) is learned away; what they share stays. Shape
suffixes: B pairs, N images, D features. Sources: Chen et al. 2020 (SimCLR), with pairs of one patient in place of two
views of one image; Packhäuser et al. 2022 (10.1038/s41598-022-19045-3), who match radiographs by patient.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, ConfigError, Problem, TrainingError
from synthcohort.core.files import atomic_path, read_artifact, write_artifact
from synthcohort.core.progress import progress
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.intensity import ValueRange
from synthcohort.learning.fit import FitConfig, augment, network_size
from synthcohort.learning.pixels import Images, Pixels
from synthcohort.metrics.intervals import group_index
from synthcohort.models.checkpoint import load_tensors, save_tensors
from synthcohort.models.classifier import ClassifierConfig, ResidualClassifier

FORMAT, VERSION = "verifier", 1
BATCH = 250  # images embedded together, filled up, so that a result does not depend on its neighbours


# Little scaling: how large bones are tells patients apart.
AUGMENTATION = FitConfig(rotate_degrees=4.0, scale=0.02, shift=0.04, brightness=0.2, contrast=0.2)


@dataclass(frozen=True)
class VerifierConfig:
    """The budget and the recipe; `steps` x `patients` x 2 images are seen."""

    steps: int = 500
    patients: int = 32  # in a batch, two images of each
    size: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 128)
    dimensions: int = 64  # of the embedding
    temperature: float = 0.1
    learning_rate: float = 2e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patients < 2 or self.temperature <= 0 or self.dimensions < 2:
            found = f"steps {self.steps}, patients {self.patients}, temperature {self.temperature}"
            raise ConfigError(Problem("setting verification", found, "at least 1 step, 2 patients, temperature > 0"))


@dataclass(frozen=True)
class Verifier:
    """A fitted network with what its input needs."""

    network: ResidualClassifier
    value_range: ValueRange | None
    mean: float
    std: float

    @torch.no_grad()
    def embed(self, images: Images, description: str = "patient embeddings") -> np.ndarray:
        """Unit vectors [N, D] float32: their product is the similarity of two images. Mirrored images have the same."""
        config = self.network.config
        pixels = Pixels(images, config.size, config.channels, self.value_range)
        self.network.eval()
        parts = [np.zeros((0, config.num_classes), np.float32)]
        with progress(len(pixels), description) as advance:
            for start in range(0, len(pixels), BATCH):
                x = (pixels.batch(range(start, min(start + BATCH, len(pixels)))) - self.mean) / self.std
                x_full = F.pad(x, (0, 0, 0, 0, 0, 0, 0, BATCH - len(x)))
                both = self.network(x_full) + self.network(x_full.flip(3))
                parts.append(F.normalize(both.float(), dim=1)[: len(x)].numpy())
                advance(len(x))
        return np.concatenate(parts)

    def save(self, folder: Path) -> None:
        """Writes verifier.json and weights.safetensors into a folder, whole or not at all."""
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            save_tensors(temporary / "weights.safetensors", self.network.state_dict())
            scale = None if self.value_range is None else asdict(self.value_range)
            content = {"network": asdict(self.network.config), "value_range": scale, "mean": self.mean, "std": self.std}
            write_artifact(temporary / "verifier.json", FORMAT, VERSION, content | {"sensitive": True})

    @classmethod
    def load(cls, folder: Path) -> "Verifier":
        """Reads what `save` wrote. Raises ArtifactError."""
        content = read_artifact(Path(folder) / "verifier.json", FORMAT, VERSION)
        network = ResidualClassifier(build(ClassifierConfig, content["network"], where="network"))
        try:
            network.load_state_dict(load_tensors(Path(folder) / "weights.safetensors"))
        except RuntimeError as error:
            raise ArtifactError(Problem(f"verifier {folder}", f"weights of another network ({error})")) from error
        scale = content["value_range"]
        return cls(network.eval(), None if scale is None else ValueRange(**scale), content["mean"], content["std"])


def fit_verifier(
    images: Images,
    owners: Sequence[str],
    config: VerifierConfig,
    seed: int,
    value_range: ValueRange | None = None,
) -> Verifier:
    """Fits on images [N] and the patients they are of. Deterministic for a seed and a number of threads.

    Raises ValueError when fewer than four patients have two images or more, and TrainingError when the loss stops being
    finite.
    """
    index = group_index(owners)
    members = [np.flatnonzero(index == group) for group in np.flatnonzero(np.bincount(index) > 1)]
    if len(members) < 4:
        raise ValueError(f"{len(members)} patients with two images or more; needed: 4")
    size = network_size(Pixels(images).shape, config.size)
    pixels = Pixels(images, size, value_range=value_range)
    sample = pixels.batch(np.sort(rng("verifier", seed, "moments").permutation(len(pixels))[:512])).double()
    mean, std = float(sample.mean()), max(float(sample.std()), 1e-3)
    shape = ClassifierConfig(pixels.channels, config.dimensions, size, config.widths, dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from("verifier", seed, "weights"))
        network = ResidualClassifier(shape)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(2, config.steps))
    network.train()
    with progress(config.steps, "fit of the patient verifier", unit="steps") as advance:
        for step in range(config.steps):
            first, second = _pairs(members, min(config.patients, len(members)), step, seed)
            generator = torch.Generator().manual_seed(seed_from("verifier", seed, "augment", step))
            x = (pixels.batch(np.concatenate([first, second])) - mean) / std
            with torch.autocast("cpu", torch.bfloat16):
                embedded = network(augment(x, AUGMENTATION, generator))
            loss = pair_loss(embedded.float(), config.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 0 and not math.isfinite(float(loss.detach())):
                raise TrainingError(Problem("fit of the patient verifier", f"the loss is not finite at step {step}"))
            advance(1)
    return Verifier(network.eval(), pixels.value_range, mean, std)


def pair_loss(embedded_2BD: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding one's partner; images b and B + b show the same patient.

    Source: Chen et al. 2020 (2002.05709), equation 1 (NT-Xent).
    """
    unit = F.normalize(embedded_2BD, dim=1)
    count = len(unit)
    alike = (unit @ unit.T / temperature).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    partner = torch.arange(count).roll(count // 2)
    return F.cross_entropy(alike, partner)


def _pairs(members: Sequence[np.ndarray], count: int, step: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two different images each of `count` patients, drawn anew for each step."""
    draw = rng("verifier", seed, "pairs", step)
    chosen = draw.permutation(len(members))[:count]
    pairs = np.array([draw.permutation(members[patient])[:2] for patient in chosen])
    return pairs[:, 0], pairs[:, 1]
