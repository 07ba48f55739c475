import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from synthcohort.core.errors import ConfigError
from synthcohort.models.vision_transformer import layer_names, read_vision_transformer

WIDTH, PATCH, DEPTH, GRID = 128, 4, 2, 3


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.2

    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, GRID**2 + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
    }
    made = {}
    for name in layer_names(DEPTH):
        if name in shapes:
            made[name] = draw(*shapes[name])
        elif ".fc1." in name:
            made[name] = draw(4 * WIDTH, WIDTH) if name.endswith("weight") else draw(4 * WIDTH)
        elif ".fc2.weight" in name:
            made[name] = draw(WIDTH, 4 * WIDTH)
        elif name.endswith("weight") and "norm" not in name:
            made[name] = draw(WIDTH, WIDTH)
        else:
            made[name] = draw(WIDTH) + ("norm" in name and name.endswith("weight"))
    return made


def slow(w, x):
    """The same network from torch's own layers."""
    at = "embeddings.patch_embeddings.projection."
    tokens = F.conv2d(x, w[f"{at}weight"], w[f"{at}bias"], stride=PATCH).flatten(2).permute(0, 2, 1)
    h = torch.cat([w["embeddings.cls_token"].repeat(len(x), 1, 1), tokens], 1) + w["embeddings.position_embeddings"]
    for number in range(DEPTH):
        at = f"encoder.layer.{number}."
        layer = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        layer.in_proj_weight.data = torch.cat(
            [w[f"{at}attention.attention.{n}.weight"] for n in ("query", "key", "value")]
        )
        layer.in_proj_bias.data = torch.cat([w[f"{at}attention.attention.{n}.bias"] for n in ("query", "key", "value")])
        layer.out_proj.weight.data = w[f"{at}attention.output.dense.weight"]
        layer.out_proj.bias.data = w[f"{at}attention.output.dense.bias"]
        norm = [nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2)]
        for module, name in zip(norm, ("norm1", "norm2"), strict=True):
            module.weight.data, module.bias.data = w[f"{at}{name}.weight"], w[f"{at}{name}.bias"]
        a = norm[0](h)
        h = h + layer(a, a, a)[0] * w[f"{at}layer_scale1.lambda1"]
        inner = F.gelu(norm[1](h) @ w[f"{at}mlp.fc1.weight"].T + w[f"{at}mlp.fc1.bias"])
        h = h + (inner @ w[f"{at}mlp.fc2.weight"].T + w[f"{at}mlp.fc2.bias"]) * w[f"{at}layer_scale2.lambda1"]
    return F.layer_norm(h, (WIDTH,), w["layernorm.weight"], w["layernorm.bias"], 1e-6)[:, 0]


@pytest.mark.parametrize("prefix", ["", "dinov2."])
@torch.no_grad()
def test_equal_to_torchs_own_layers(tmp_path, prefix):
    made = weights()
    save_file({f"{prefix}{name}": value for name, value in made.items()}, tmp_path / "v.safetensors")
    network = read_vision_transformer(tmp_path / "v.safetensors")
    x = torch.randn(5, 3, GRID * PATCH, GRID * PATCH, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(x), slow(made, x), rtol=1e-4, atol=1e-5)
    larger = torch.randn(2, 3, 30, 30)  # more patches than were learned, and a rest that no patch covers
    assert network(larger).shape == (2, WIDTH)
    torch.testing.assert_close(network(larger), network(larger[:, :, :28, :28]))


def test_other_weights_are_named(tmp_path):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"no weight embeddings\.cls_token"):
        read_vision_transformer(tmp_path / "a.safetensors")
    made = weights()
    del made["encoder.layer.0.mlp.fc1.bias"]
    save_file(made, tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match=r"1 weights are missing, the first is encoder.layer.0.mlp.fc1.bias"):
        read_vision_transformer(tmp_path / "b.safetensors")
