"""BERT's forward pass over one text, with the weights of a Hugging Face style folder; nothing is trained here.

Shape suffixes: T tokens, W width of an embedding, H heads.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.files import read_json

_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclass(frozen=True)
class Shape:
    """What a BERT's config.json says of its layers."""

    width: int
    layers: int
    heads: int
    positions: int
    epsilon: float
    approximate: str  # of the activation, as torch names it


def read_shape(folder: Path) -> Shape:
    """Raises ConfigError for a network that is no BERT, or a variant that this forward pass doesn't know."""
    config = read_json(folder / "config.json")
    wrong: list[Problem | str] = []

    def known(key: str, default: Any, allowed: Sequence[Any]) -> Any:
        value = config.get(key, default)
        if value not in allowed:
            wrong.append(Problem(f"{folder}/config.json {key}", repr(value), ", ".join(map(repr, allowed))))
        return value

    known("model_type", None, ("bert",))
    known("position_embedding_type", "absolute", ("absolute",))
    activation = known("hidden_act", "gelu", tuple(_ACTIVATIONS))
    if wrong:
        raise ConfigError(*wrong)
    try:
        width, layers, heads = (int(config[key]) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
        positions, epsilon = int(config["max_position_embeddings"]), float(config.get("layer_norm_eps", 1e-12))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(Problem(f"{folder}/config.json", f"no number under {error}")) from error
    if min(width, layers, heads) < 1 or width % heads:
        found = f"{width} wide cannot be split over {heads} heads"
        raise ConfigError(Problem(f"{folder}/config.json", found))
    return Shape(width, layers, heads, positions, epsilon, _ACTIVATIONS[activation])


def read_weights(path: Path, shape: Shape, num_pieces: int) -> dict[str, Tensor]:
    """The tensors the forward pass needs, float32, checked by name and shape."""
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read ({error})")) from error
    renamed = {_tensor_name(name): tensor for name, tensor in stored.items()}
    wanted = dict(_expected(shape, renamed, num_pieces))
    wrong = [name for name, size in wanted.items() if name not in renamed or renamed[name].shape != size]
    if wrong:
        listed = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ConfigError(Problem(str(path), f"missing, or not of the shape in config.json: {listed}"))
    return {name: renamed[name].float().contiguous() for name in wanted}


def _tensor_name(stored: str) -> str:
    """Today's name of a tensor, without the prefix that a model with a head adds; old files say gamma and beta."""
    name = stored.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _expected(shape: Shape, stored: Mapping[str, Tensor], num_pieces: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors; how many pieces and how wide the inner layer is, the file says."""
    width = shape.width
    table = stored.get("embeddings.word_embeddings.weight")
    yield "embeddings.word_embeddings.weight", (max(num_pieces, len(table) if table is not None else 0), width)
    yield "embeddings.position_embeddings.weight", (shape.positions, width)
    types = stored.get("embeddings.token_type_embeddings.weight")
    yield "embeddings.token_type_embeddings.weight", (len(types) if types is not None else 2, width)
    inner = stored.get("encoder.layer.0.intermediate.dense.bias")
    wide = len(inner) if inner is not None else 4 * width
    norms = ["embeddings.LayerNorm"]
    for layer in range(shape.layers):
        at = f"encoder.layer.{layer}"
        linears = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        linears |= {"attention.output.dense": (width, width), "intermediate.dense": (wide, width)}
        linears |= {"output.dense": (width, wide)}
        for name, size in linears.items():
            yield f"{at}.{name}.weight", size
            yield f"{at}.{name}.bias", size[:1]
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for name in norms:
        yield f"{name}.weight", (width,)
        yield f"{name}.bias", (width,)


def forward(weights: Mapping[str, Tensor], shape: Shape, numbers_T: Tensor) -> Tensor:
    """Piece numbers [T] to the last layer's embeddings [T, W]. Source: Devlin et al. 2019, section 3."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (shape.width,), weights[f"{name}.weight"], weights[f"{name}.bias"], shape.epsilon)

    x_TW = weights["embeddings.word_embeddings.weight"][numbers_T]
    x_TW = x_TW + weights["embeddings.token_type_embeddings.weight"][0]
    x_TW = norm(x_TW + weights["embeddings.position_embeddings.weight"][: len(numbers_T)], "embeddings.LayerNorm")
    for layer in range(shape.layers):
        at = f"encoder.layer.{layer}"
        heads = [linear(x_TW, f"{at}.attention.self.{part}") for part in ("query", "key", "value")]
        query, key, value = (part.unflatten(1, (shape.heads, -1)).transpose(0, 1) for part in heads)
        weight_HTT = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1)
        attended_TW = (weight_HTT @ value).transpose(0, 1).flatten(1)
        x_TW = norm(x_TW + linear(attended_TW, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = F.gelu(linear(x_TW, f"{at}.intermediate.dense"), approximate=shape.approximate)
        x_TW = norm(x_TW + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x_TW
