"""The autoencoder: shapes of any kind, the linear code it begins with, gray values, and its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from synthcohort.core.config import build, to_mapping
from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.imaging.intensity import ValueRange, from_unit, to_unit
from synthcohort.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    AutoencoderSpec,
    kl_divergence,
    load_autoencoder,
    save_autoencoder,
)
from synthcohort.models.checkpoint import ImageSpec

TINY = AutoencoderConfig(patch=2, channels=(8, 16), encoder_blocks=(1, 0), decoder_blocks=(0, 1), latent_channels=4)
IMAGE = ImageSpec(16, 16, 1, "uint8", 0, 255)


def fresh(config: AutoencoderConfig = TINY, channels: int = 1, dimensions: int = 2) -> Autoencoder:
    torch.manual_seed(0)
    return AutoencoderSpec(config, channels, dimensions, "float32").build().eval().requires_grad_(False)


def smooth(count: int, channels: int, *size: int) -> Tensor:
    """Images that a few principal components hold."""
    torch.manual_seed(1)
    coarse = torch.randn(count, channels, *[side // 4 for side in size])
    return torch.nn.functional.interpolate(coarse, size=size, mode="nearest").clamp(-2, 2) / 2


def stirred(autoencoder: Autoencoder) -> Autoencoder:
    """With weights everywhere: a fresh network adds nothing to its linear code."""
    torch.manual_seed(2)
    for parameter in autoencoder.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return autoencoder


@pytest.mark.parametrize(
    ("config", "channels", "size"),
    [
        (TINY, 1, (16, 16)),
        (TINY, 3, (8, 20)),
        (
            AutoencoderConfig(patch=4, channels=(8,), encoder_blocks=(1,), decoder_blocks=(1,), latent_channels=4),
            1,
            (12, 4),
        ),
        (AutoencoderConfig(2, (4, 4, 8), (0, 0, 1), (1, 0, 0), latent_channels=6), 3, (24, 8)),
        (TINY, 1, (8, 12, 16)),
        (AutoencoderConfig(4, (8, 8), (0, 1), (1, 0), latent_channels=3), 1, (8, 16, 8)),
    ],
)
def test_shapes_of_images_and_volumes(config: AutoencoderConfig, channels: int, size: tuple[int, ...]) -> None:
    autoencoder = stirred(fresh(config, channels, len(size)))
    x = torch.rand(2, channels, *size) * 2 - 1
    mean, std = autoencoder.encode(x)
    assert mean.shape == std.shape == (2, *autoencoder.latent_size(*size))
    assert mean.shape[2:] == tuple(side // config.factor for side in size)
    assert bool((std > 0).all())
    y = autoencoder.decode(mean)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert torch.allclose(autoencoder.decode(mean[1:]), y[1:], atol=1e-5)  # images do not look at each other


def test_it_begins_as_the_best_linear_code() -> None:
    """With as many latent channels as patches have directions, nothing is lost; latents have unit variance."""
    x = smooth(6, 1, 16, 16)
    autoencoder = fresh()
    autoencoder.start_from([x[:3], x[3:]])
    mean, std = autoencoder.encode(x)
    assert torch.allclose(autoencoder.decode(mean), x, atol=1e-4)
    assert mean[:, 0].std(correction=0) == pytest.approx(1.0, abs=1e-3)
    assert float(std.mean()) == pytest.approx(np.exp(-3), rel=1e-3)
    noisy = torch.randn(20, 1, 16, 16)
    autoencoder.start_from([noisy])
    patches = torch.nn.functional.pixel_unshuffle(noisy, 4).movedim(1, -1).flatten(0, 2)
    lost = torch.linalg.eigvalsh(torch.cov(patches.T, correction=0))[:-4].sum() / 16
    assert float((autoencoder.decode(autoencoder.encode(noisy)[0]) - noisy).square().mean()) == pytest.approx(
        float(lost), rel=1e-3
    )


def test_it_begins_in_black_images_and_in_three_dimensions_too() -> None:
    black = torch.full((2, 3, 8, 8), -1.0)
    autoencoder = fresh(channels=3)
    autoencoder.start_from([black])
    assert torch.allclose(autoencoder.decode(autoencoder.encode(black)[0]), black, atol=1e-5)
    volume = smooth(2, 1, 8, 8, 8)
    deep = fresh(dimensions=3)
    deep.start_from([volume])
    assert torch.allclose(deep.decode(deep.encode(volume)[0]), volume, atol=1e-4)


def test_a_gray_value_does_not_depend_on_the_far_side() -> None:
    autoencoder = stirred(fresh())
    x = torch.rand(1, 1, 16, 128) * 2 - 1
    other = x.clone()
    other[..., 96:] = 1.0
    a, b = (autoencoder.decode(autoencoder.encode(image)[0]) for image in (x, other))
    assert torch.allclose(a[..., :32], b[..., :32], atol=1e-6)
    assert not torch.allclose(a[..., 96:], b[..., 96:])


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("uint16", 0, 65535), ("int16", -1024, 3071)])
def test_gray_values_are_not_rounded_to_bfloat16(dtype: str, low: int, high: int) -> None:
    """A code that loses nothing gives back every 8-bit integer, and 16-bit ones far below bfloat16's step of 128."""
    values = ValueRange(low, high)
    pixels = np.linspace(low, high, 64).astype(dtype).reshape(1, 1, 8, 8).repeat(4, 2).repeat(4, 3)
    x = torch.from_numpy(to_unit(pixels, values))
    autoencoder = AutoencoderSpec(TINY, 1, 2, "bfloat16").build().requires_grad_(False)
    autoencoder.start_from([x])
    mean, std = autoencoder.encode(x)
    made = from_unit(autoencoder.images(autoencoder.latents(mean, std, torch.zeros_like(mean))).numpy(), values, dtype)
    assert np.abs(made.astype(int) - pixels.astype(int)).max() <= (0 if dtype == "uint8" else 4)
    assert made.dtype == np.dtype(dtype)


def test_latents_and_images_are_inverse_and_images_are_clipped() -> None:
    autoencoder = stirred(fresh())
    autoencoder.shift.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    autoencoder.scale.copy_(torch.tensor([2.0, 0.1, 1.0, 3.0]))
    mean, std = autoencoder.encode(torch.rand(2, 1, 8, 8))
    unit = autoencoder.latents(mean, std, torch.zeros_like(mean))
    assert torch.allclose(unit, (mean - autoencoder.shift[:, None, None]) * autoencoder.scale[:, None, None])
    assert torch.allclose(autoencoder.images(unit), autoencoder.decode(mean).clamp(-1, 1), atol=1e-5)
    wild = autoencoder.images(100 * torch.ones_like(unit))
    assert float(wild.min()) >= -1
    assert float(wild.max()) <= 1


def test_kl_equals_the_reference() -> None:
    torch.manual_seed(0)
    mean, std = torch.randn(50), torch.rand(50) * 3 + 0.01
    wanted = reference_kl(Normal(mean, std), Normal(0.0, 1.0))
    assert torch.allclose(kl_divergence(mean, std), wanted, atol=1e-5)
    assert kl_divergence(torch.zeros(1), torch.ones(1)) == 0


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError) as caught:
        AutoencoderConfig(patch=3, channels=(8, 8), encoder_blocks=(1,), latent_channels=0)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="16 times"):
        AutoencoderConfig(patch=8, channels=(8, 8, 8), encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0, 0))
    with pytest.raises(ConfigError, match="multiples of 4"):
        fresh().latent_size(16, 18)
    assert build(AutoencoderConfig, to_mapping(TINY)) == TINY


def test_folder_round_trip_and_damage(tmp_path: Path) -> None:
    autoencoder = stirred(fresh())
    autoencoder.scale.copy_(torch.tensor([2.0, 0.1, 1.0, 3.0]))
    spec = AutoencoderSpec(TINY, 1, 2, "float32", (IMAGE,))
    save_autoencoder(tmp_path / "a", spec, autoencoder.state_dict(), {"images_seen": 5})
    loaded, found, content = load_autoencoder(tmp_path / "a")
    assert found == spec
    assert content["facts"] == {"images_seen": 5}
    assert not loaded.training
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(loaded.encode(x)[0], autoencoder.encode(x)[0])
    assert torch.equal(loaded.scale, autoencoder.scale)

    weights, described = tmp_path / "a" / "weights.safetensors", tmp_path / "a" / "autoencoder.json"
    whole, said = weights.read_bytes(), described.read_text()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="not the file"):
        load_autoencoder(tmp_path / "a")
    weights.write_bytes(whole[:50])
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_autoencoder(tmp_path / "a")
    weights.write_bytes(whole)
    changed = json.loads(said)
    changed["spec"]["network"]["latent_channels"] = 5
    described.write_text(json.dumps(changed))
    with pytest.raises(ArtifactError, match="does not fit"):
        load_autoencoder(tmp_path / "a")
    described.write_text(json.dumps(json.loads(said) | {"version": 99}))
    with pytest.raises(ArtifactError, match="version 99"):
        load_autoencoder(tmp_path / "a")
    weights.unlink()
    described.write_text(said)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_autoencoder(tmp_path / "a")
