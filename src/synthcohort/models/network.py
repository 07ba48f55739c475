"""Denoising networks by name, and the settings each is built from."""

from torch import nn

from synthcohort.models.condition import Vocabulary
from synthcohort.models.denoiser import NetworkConfig, UNet
from synthcohort.models.transformer import Transformer, TransformerConfig

AnyConfig = NetworkConfig | TransformerConfig


def architecture_of(config: AnyConfig) -> str:
    """The name of the network that these settings are for."""
    return next(name for name, kind in CONFIGS.items() if type(config) is kind)


def build_network(config: AnyConfig, size: tuple[int, ...], channels: int, vocabulary: Vocabulary) -> nn.Module:
    """A network for images of up to this size, with fresh weights. Raises ConfigError where the size does not fit."""
    return NETWORKS[architecture_of(config)](config, size, channels, vocabulary)


NETWORKS: dict[str, type[nn.Module]] = {"unet": UNet, "transformer": Transformer}
CONFIGS: dict[str, type[AnyConfig]] = {"unet": NetworkConfig, "transformer": TransformerConfig}
