"""Weights and training state on disk: safetensors beside JSON, whole or absent.

A *model* folder holds what generation needs: `model.json` and `weights.safetensors` (the averaged weights).
A *checkpoint* folder holds what exact resumption needs: `checkpoint.json` names the one state file that counts; it is
written after that file, so a kill leaves either the old state or the new one.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthcohort.core.config import build, to_mapping
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import atomic_path, digest_file, read_artifact, write_artifact
from synthcohort.imaging.intensity import ValueRange
from synthcohort.models.condition import IMAGE_TYPE, Vocabulary
from synthcohort.models.denoiser import Denoiser, Precision
from synthcohort.models.network import CONFIGS, AnyConfig, architecture_of, build_network

Network = TypeVar("Network", bound=nn.Module)

MODEL_FORMAT, MODEL_VERSION = "model", 2
CHECKPOINT_FORMAT, CHECKPOINT_VERSION = "checkpoint", 1


@dataclass(frozen=True)
class ImageSpec:
    """The images of one type: size, integer type, and what was the same for all its training images."""

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
    name: str = "image"

    @property
    def size(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def value_range(self) -> ValueRange:
        return ValueRange(self.low, self.high)


@dataclass(frozen=True)
class LatentSpec:
    """The latents a model works on: their channels, how many times smaller they are, and the autoencoder's digest."""

    channels: int
    factor: int
    digest: str


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights: enough to build the denoiser again. `images` has one entry per image type."""

    network: AnyConfig
    images: tuple[ImageSpec, ...]
    vocabulary: Vocabulary
    sigma_data: float
    precision: Precision
    latent: LatentSpec | None = None

    @property
    def image(self) -> ImageSpec:
        """The image type of a model of one; the first of several."""
        return self.images[0]

    @property
    def kind(self) -> str:
        """Where it works: `pixel` or `latent` space."""
        return "pixel" if self.latent is None else "latent"

    @property
    def channels(self) -> int:
        """Of the network: those of the images, or of the latents."""
        return self.image_channels if self.latent is None else self.latent.channels

    @property
    def image_channels(self) -> int:
        """Of the images: gray ones of a model that also makes color ones are repeated, and averaged back."""
        return max(image.channels for image in self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, for the network, that hold every image type's."""
        return self.grid((max(image.rows for image in self.images), max(image.columns for image in self.images)))

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of an image of this size for the network."""
        factor = 1 if self.latent is None else self.latent.factor
        return size[0] // factor, size[1] // factor

    def image_of(self, condition: Mapping[str, Any]) -> ImageSpec:
        """The image type that a condition names. Raises InputError where there are several and it names none."""
        if len(self.images) == 1:
            return self.images[0]
        named = {image.name: image for image in self.images}
        asked = condition.get(IMAGE_TYPE)
        if asked not in named:
            found = "none given" if asked is None else f"unknown: {asked!r}"
            raise InputError(Problem(IMAGE_TYPE, found, ", ".join(named), "say --where image_type=…"))
        return named[asked]

    def build(self) -> Denoiser:
        """A denoiser with fresh weights (drawn from torch's global generator)."""
        network = build_network(self.network, self.size, self.channels, self.vocabulary)
        return Denoiser(network, self.sigma_data, self.precision)

    def to_mapping(self) -> dict[str, Any]:
        return {
            "kind": "diffusion",
            "architecture": architecture_of(self.network),
            "network": to_mapping(self.network),
            "images": [to_mapping(image) for image in self.images],
            "condition": self.vocabulary.to_mapping(),
            "sigma_data": self.sigma_data,
            "precision": self.precision,
            "latent": None if self.latent is None else to_mapping(self.latent),
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "ModelSpec":
        return cls(
            network=build(CONFIGS[content["architecture"]], content["network"]),
            images=tuple(build(ImageSpec, image) for image in content["images"]),
            vocabulary=Vocabulary.from_mapping(content["condition"]),
            sigma_data=content["sigma_data"],
            precision=content["precision"],
            latent=build(LatentSpec, content["latent"]) if content.get("latent") else None,
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
    content = read_description(folder, "diffusion")
    spec = ModelSpec.from_mapping(content)
    denoiser: Denoiser = with_weights(folder, content, spec.build)
    return denoiser, spec, content


def read_description(folder: Path, kind: str) -> dict[str, Any]:
    """The content of model.json. Raises ArtifactError for another kind of model, or one of another version."""
    content = read_artifact(folder / "model.json", MODEL_FORMAT, MODEL_VERSION)
    if content["version"] < MODEL_VERSION:
        found = f"version {content['version']}, of an older synthcohort"
        raise ArtifactError(
            Problem(f"model {folder}", found, f"version {MODEL_VERSION}", "train again, or use the older synthcohort")
        )
    if content.get("kind") != kind:
        raise ArtifactError(Problem(f"model {folder}", f"is of kind {content.get('kind')!r}", repr(kind)))
    return content


def with_weights(folder: Path, content: Mapping[str, Any], build: Callable[[], Network]) -> Network:
    """A network with the weights that model.json speaks of, in evaluation mode; ArtifactError when they do not fit."""
    file = folder / "weights.safetensors"
    weights = load_tensors(file)
    if digest_file(file) != content["weights_digest"]:
        raise ArtifactError(
            Problem(str(file), "is not the file that model.json was written with", remedy="train again")
        )
    with torch.random.fork_rng():
        network = build()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(Problem(str(file), f"does not fit the network of model.json ({error})")) from error
    return network.eval().requires_grad_(False)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors atomically. Raises OSError where the system can't write: a full disk is ENOSPC."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary)
        except SafetensorError as error:
            number = _system_number(error)
            if number is None:
                raise
            raise OSError(number, os.strerror(number), str(path)) from error


def _system_number(error: SafetensorError) -> int | None:
    """The system's error number, which safetensors tells in its words alone."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


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
