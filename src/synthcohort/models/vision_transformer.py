"""DINOv2's vision transformer, for weights that a user has: facebook/dinov2-*, microsoft/rad-dino (safetensors).

Source: Oquab et al. 2023 (2304.07193); the names of weights are those of transformers' Dinov2Model. Only what encoding
needs: no registers, no SwiGLU (dinov2-giant).

Shape suffixes: B images, C channels, S side, T tokens, D width.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.models.checkpoint import load_tensors

HEAD_WIDTH = 64  # of every DINOv2
PREFIXES = ("", "dinov2.", "model.", "backbone.")


class VisionTransformer(nn.Module):
    """Images [B, 3, S, S] to the class token [B, D]; the network's shape is read off its weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.w = weights
        self.width = int(weights["embeddings.cls_token"].shape[-1])
        self.patch = int(weights["embeddings.patch_embeddings.projection.weight"].shape[-1])
        self.depth = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
        self.heads = self.width // HEAD_WIDTH

    def forward(self, x_BCSS: Tensor) -> Tensor:
        w = self.w
        name = "embeddings.patch_embeddings.projection"
        side = x_BCSS.shape[2] // self.patch
        patches = F.conv2d(x_BCSS, w[f"{name}.weight"], w[f"{name}.bias"], stride=self.patch)
        x_BTD = patches.flatten(2).transpose(1, 2)
        x_BTD = torch.cat([w["embeddings.cls_token"].expand(len(x_BCSS), -1, -1), x_BTD], dim=1)
        x_BTD = x_BTD + self._positions(side)
        for layer in range(self.depth):
            x_BTD = self._layer(x_BTD, f"encoder.layer.{layer}.")
        return self._norm(x_BTD[:, 0], "layernorm")

    def _positions(self, side: int) -> Tensor:
        """Positions for this grid of patches, interpolated from those that were learned."""
        table = self.w["embeddings.position_embeddings"]
        learned = math.isqrt(table.shape[1] - 1)
        if learned == side:
            return table
        grid = table[:, 1:].reshape(1, learned, learned, self.width).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def _layer(self, x_BTD: Tensor, at: str) -> Tensor:
        h = self._norm(x_BTD, f"{at}norm1")
        q, k, v = (
            self._linear(h, f"{at}attention.attention.{name}").unflatten(2, (self.heads, HEAD_WIDTH)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x_BTD = x_BTD + self._linear(h, f"{at}attention.output.dense") * self.w[f"{at}layer_scale1.lambda1"]
        h = F.gelu(self._linear(self._norm(x_BTD, f"{at}norm2"), f"{at}mlp.fc1"))
        return x_BTD + self._linear(h, f"{at}mlp.fc2") * self.w[f"{at}layer_scale2.lambda1"]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self.width,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps=1e-6)


def layer_names(depth: int) -> list[str]:
    """The weights that a network of this depth has."""
    names = [
        "embeddings.cls_token", "embeddings.position_embeddings", "embeddings.patch_embeddings.projection.weight",
        "embeddings.patch_embeddings.projection.bias", "layernorm.weight", "layernorm.bias",
    ]  # fmt: skip
    linear = (
        "norm1", "norm2", "attention.attention.query", "attention.attention.key", "attention.attention.value",
        "attention.output.dense", "mlp.fc1", "mlp.fc2",
    )  # fmt: skip
    for layer in range(depth):
        at = f"encoder.layer.{layer}."
        names += [f"{at}{name}.{kind}" for name in linear for kind in ("weight", "bias")]
        names += [f"{at}layer_scale{number}.lambda1" for number in (1, 2)]
    return names


def read_vision_transformer(path: Path) -> VisionTransformer:
    """Reads a safetensors file. Raises ConfigError when it does not hold a DINOv2 vision transformer."""
    stored = load_tensors(path)
    prefix = next((p for p in PREFIXES if f"{p}embeddings.cls_token" in stored), None)
    allowed = "weights named as in transformers' Dinov2Model (facebook/dinov2-small, -base, -large; microsoft/rad-dino)"
    if prefix is None:
        raise ConfigError(Problem(f"encoder file {path}", "no weight embeddings.cls_token", allowed))
    weights = {name.removeprefix(prefix): tensor.float() for name, tensor in stored.items() if name.startswith(prefix)}
    layers = {int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")}
    missing = [name for name in layer_names(max(layers, default=0) + 1) if name not in weights]
    if missing:
        found = f"{len(missing)} weights are missing, the first is {missing[0]}"
        raise ConfigError(Problem(f"encoder file {path}", found, allowed))
    if weights["embeddings.cls_token"].shape[-1] % HEAD_WIDTH:
        found = f"a width of {weights['embeddings.cls_token'].shape[-1]}"
        raise ConfigError(Problem(f"encoder file {path}", found, f"a multiple of {HEAD_WIDTH}"))
    return VisionTransformer(weights).eval()
