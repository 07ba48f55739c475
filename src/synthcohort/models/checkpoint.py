"""Weights and training state on disk: safetensors beside JSON, whole or absent.

A *model* folder holds what generation needs: `model.json` and `weights.safetensors` (the averaged weights).
A *checkpoint* folder holds what exact resumption needs: `checkpoint.json` names the one state file that counts; it is
written after that file, so a kill leaves either the old state or the new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from synthcohort.core.config import build, to_mapping
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import atomic_path, digest_file, read_artifact, write_artifact
from synthcohort.models.condition import Vocabulary
from synthcohort.models.denoiser import Denoiser, NetworkConfig, Precision, UNet

MODEL_FORMAT, MODEL_VERSION = "model", 1
CHECKPOINT_FORMAT, CHECKPOINT_VERSION = "checkpoint", 1


@dataclass(frozen=True)
class ImageSpec:
    """The images a model makes: size, integer type, and what was the same for all training images."""

    rows: int
    columns: int
    channels: int
    dtype: str
    low: int
    high: int
    bits_stored: int | None = None
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    window_center: float | None = None
    window_width: float | None = None
    pixel_spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights: enough to build the denoiser again."""

    network: NetworkConfig
    image: ImageSpec
    vocabulary: Vocabulary
    sigma_data: float
    precision: Precision

    def build(self) -> Denoiser:
        """A denoiser with fresh weights (drawn from torch's global generator)."""
        image = self.image
        network = UNet(self.network, image.rows, image.columns, image.channels, self.vocabulary)
        return Denoiser(network, self.sigma_data, self.precision)

    def to_mapping(self) -> dict[str, Any]:
        return {
            "kind": "diffusion",
            "network": to_mapping(self.network),
            "image": to_mapping(self.image),
            "condition": self.vocabulary.to_mapping(),
            "sigma_data": self.sigma_data,
            "precision": self.precision,
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "ModelSpec":
        return cls(
            network=build(NetworkConfig, content["network"]),
            image=build(ImageSpec, content["image"]),
            vocabulary=Vocabulary.from_mapping(content["condition"]),
            sigma_data=content["sigma_data"],
            precision=content["precision"],
        )


def save_model(folder: Path, spec: ModelSpec, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes weights, then model.json with their digest; `facts` say how the model came to be."""
    save_tensors(folder / "weights.safetensors", weights)
    content = {**spec.to_mapping(), "facts": dict(facts), "weights_digest": digest_file(folder / "weights.safetensors")}
    write_artifact(folder / "model.json", MODEL_FORMAT, MODEL_VERSION, content)


def load_model(folder: Path) -> tuple[Denoiser, ModelSpec, dict[str, Any]]:
    """The denoiser in evaluation mode, its specification, and the content of model.json.

    Raises ArtifactError when the weights are absent, damaged, or not those that model.json speaks of.
    """
    content = read_artifact(folder / "model.json", MODEL_FORMAT, MODEL_VERSION)
    spec = ModelSpec.from_mapping(content)
    file = folder / "weights.safetensors"
    weights = load_tensors(file)
    if digest_file(file) != content["weights_digest"]:
        raise ArtifactError(
            Problem(str(file), "is not the file that model.json was written with", remedy="train again")
        )
    with torch.random.fork_rng():
        denoiser = spec.build()
    try:
        denoiser.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(Problem(str(file), f"does not fit the network of model.json ({error})")) from error
    return denoiser.eval().requires_grad_(False), spec, content


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads named tensors; ArtifactError when the file is absent or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(Problem(str(path), f"cannot be read ({error})", remedy="train again")) from error


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Makes a training state the one to resume from; the previous one goes only when this one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{step:09d}.safetensors"
    save_tensors(folder / name, tensors)
    write_artifact(
        folder / "checkpoint.json",
        CHECKPOINT_FORMAT,
        CHECKPOINT_VERSION,
        {"step": step, "file": name, "facts": dict(facts)},
    )
    for old in folder.glob("*.safetensors"):
        if old.name != name:
            old.unlink()


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Step, tensors and facts of the last whole training state, or None when there is none yet."""
    if not (folder / "checkpoint.json").exists():
        return None
    content = read_artifact(folder / "checkpoint.json", CHECKPOINT_FORMAT, CHECKPOINT_VERSION)
    return content["step"], load_tensors(folder / content["file"]), content["facts"]
