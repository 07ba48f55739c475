"""What model.json says of a GAN, and a trained generator network read back from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthcohort.core.config import build, to_mapping
from synthcohort.models.checkpoint import ImageSpec, ModelSpec, read_description, with_weights
from synthcohort.models.condition import Vocabulary
from synthcohort.models.denoiser import Precision
from synthcohort.models.gan import DiscriminatorNetwork, GanNetworkConfig, GeneratorNetwork, Preset

KIND = "gan"


@dataclass(frozen=True)
class GanSpec:
    """Everything but the weights, as ModelSpec is for diffusion; all image types have one size."""

    preset: Preset
    network: GanNetworkConfig
    images: tuple[ImageSpec, ...]
    vocabulary: Vocabulary
    precision: Precision
    latent: None = None  # it draws pixels: there is no autoencoder

    @property
    def kind(self) -> str:
        return KIND

    @property
    def image(self) -> ImageSpec:
        """The image type of a model of one; the first of several."""
        return self.images[0]

    @property
    def channels(self) -> int:
        """Of the networks: gray images of a model that also makes color ones are repeated, and averaged back."""
        return max(image.channels for image in self.images)

    image_channels = channels

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of an image of this size for the network: the same."""
        return size

    image_of = ModelSpec.image_of

    def build(self) -> GeneratorNetwork:
        """A generator network with fresh weights (drawn from torch's global generator)."""
        return GeneratorNetwork(self.preset, self.network, self.size, self.channels, self.vocabulary, self.precision)

    def build_discriminator(self) -> DiscriminatorNetwork:
        return DiscriminatorNetwork(
            self.preset, self.network, self.size, self.channels, self.vocabulary, self.precision
        )

    def to_mapping(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "preset": self.preset,
            "network": to_mapping(self.network),
            "images": [to_mapping(image) for image in self.images],
            "condition": self.vocabulary.to_mapping(),
            "precision": self.precision,
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "GanSpec":
        return cls(
            preset=content["preset"],
            network=build(GanNetworkConfig, content["network"]),
            images=tuple(build(ImageSpec, image) for image in content["images"]),
            vocabulary=Vocabulary.from_mapping(content["condition"]),
            precision=content["precision"],
        )


def load_gan(folder: Path) -> tuple[GeneratorNetwork, GanSpec, dict[str, Any]]:
    """The generator network in evaluation mode, its specification, and the content of model.json.

    Raises ArtifactError when the model is of another kind, or its weights are absent, damaged, or not those that
    model.json speaks of.
    """
    content = read_description(folder, KIND)
    spec = GanSpec.from_mapping(content)
    network: GeneratorNetwork = with_weights(folder, content, spec.build)
    return network, spec, content
