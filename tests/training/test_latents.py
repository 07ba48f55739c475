"""Latents: drawn anew at every use from what is stored, made once, and interchangeable with a training set."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, ConfigError, InputError
from synthcohort.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.training.data import TrainingSet, image_spec, training_set
from synthcohort.training.joint import JointSet
from synthcohort.training.latents import latent_set, latent_sets

TINY = AutoencoderConfig(patch=4, channels=(8,), encoder_blocks=(1,), decoder_blocks=(1,), latent_channels=4)


def untrained(channels: int = 1) -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = AutoencoderSpec(TINY, channels, 2, "float32").build().eval().requires_grad_(False)
    for parameter in autoencoder.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    autoencoder.shift.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    autoencoder.scale.copy_(torch.tensor([2.0, 1.0, 0.5, 1.5]))
    return autoencoder


@pytest.fixture
def data(cohort_path: Path, tmp_path: Path) -> TrainingSet:
    view = Cohort.open(cohort_path).select(split="train")
    vocabulary = Vocabulary.of(list(view.labels.values()), {})
    return training_set(tmp_path / "images.npy", [view], image_spec([view], 16, "pad"), "pad", vocabulary)


def test_every_use_draws_anew_with_the_stored_mean_and_deviation(data: TrainingSet, tmp_path: Path) -> None:
    autoencoder = untrained()
    latents = latent_set(tmp_path / "z.npy", data, autoencoder, "digest", 1)
    assert len(latents) == len(data)
    rows = np.array([3, 0, 7])
    draws = torch.stack([latents.unit_images(rows, torch.Generator().manual_seed(step)) for step in range(2_000)])
    assert draws.shape == (2_000, 3, 4, 4, 4)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws[5], latents.unit_images(rows, torch.Generator().manual_seed(5)))
    mean, std = autoencoder.encode(data.unit_images(rows))
    scale, shift = autoencoder.scale[:, None, None], autoencoder.shift[:, None, None]
    error = (draws.mean(0) - (mean - shift) * scale).abs() / (std * scale / 2_000**0.5)
    assert float(error.max()) < 5.5
    assert torch.allclose(draws.std(0) / (std * scale), torch.ones_like(std), atol=0.08)


def test_without_a_generator_an_image_has_the_same_noise_in_any_batch(data: TrainingSet, tmp_path: Path) -> None:
    latents = latent_set(tmp_path / "z.npy", data, untrained(), "digest", 1)
    whole = latents.unit_images(range(6))
    assert torch.equal(latents.unit_images([4, 2]), whole[[4, 2]])
    assert not torch.equal(whole, (torch.from_numpy(np.array(latents.pixels[:6, :4])).float()))


def test_mirrored_images_have_rows_of_their_own(data: TrainingSet, tmp_path: Path) -> None:
    autoencoder = untrained()
    latents = latent_set(tmp_path / "z.npy", data, autoencoder, "digest", 1)
    still = torch.Generator
    mirror = torch.tensor([True, False])
    some = latents.unit_images([1, 2], still().manual_seed(0), mirror)
    none = latents.unit_images([1, 2], still().manual_seed(0))
    assert torch.equal(some[1], none[1])
    assert not torch.allclose(some[0], none[0].flip(2), atol=0.01)  # latents are not mirrored by mirroring
    mean, _ = autoencoder.encode(data.unit_images([1]).flip(3))
    assert latents.mirrored is not None
    assert torch.allclose(torch.from_numpy(np.array(latents.mirrored[1, :4])).float(), mean[0], rtol=2e-3, atol=2e-3)
    plain = latent_set(tmp_path / "plain.npy", data, autoencoder, "digest", 1, mirrored=False)
    assert plain.mirrored is None
    with pytest.raises(ValueError, match="mirrored"):
        plain.unit_images([0], None, torch.tensor([True]))


def test_made_once_and_again_when_anything_changes(
    data: TrainingSet, make_cohort: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, autoencoder = tmp_path / "z.npy", untrained()
    encoded = 0
    encode = Autoencoder.encode

    def counted(self: Autoencoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal encoded
        encoded += 1
        return encode(self, x)

    monkeypatch.setattr(Autoencoder, "encode", counted)
    first = latent_set(file, data, autoencoder, "digest", 1)
    once = encoded
    assert isinstance(first.pixels, np.memmap)
    assert np.array_equal(latent_set(file, data, autoencoder, "digest", 1).pixels, first.pixels)
    assert encoded == once
    latent_set(file, data, autoencoder, "another", 1)
    assert encoded == 2 * once
    other = dataclasses.replace(data, pixels=np.array(data.pixels[:5]), conditions=data.conditions[:5])
    assert len(latent_set(file, other, autoencoder, "another", 1)) == 5

    def killed(self: Autoencoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Autoencoder, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        latent_set(tmp_path / "cut.npy", data, autoencoder, "digest", 1)
    assert not [path for path in tmp_path.iterdir() if "cut" in path.name]


def test_damage_and_sizes_are_said(data: TrainingSet, tmp_path: Path) -> None:
    file, autoencoder = tmp_path / "z.npy", untrained()
    latent_set(file, data, autoencoder, "digest", 1)
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    with pytest.raises(ArtifactError, match="cannot be read"):
        latent_set(file, data, autoencoder, "digest", 1)
    np.save(file, np.zeros(3))
    with pytest.raises(ArtifactError, match="float64"):
        latent_set(file, data, autoencoder, "digest", 1)
    odd = dataclasses.replace(data, pixels=np.zeros((2, 1, 16, 18), np.uint8))
    with pytest.raises(ConfigError, match="multiples of 4"):
        latent_set(tmp_path / "y.npy", odd, autoencoder, "digest", 1)
    for parameter in autoencoder.code_head.parameters():
        parameter *= 1e8
    with pytest.raises(InputError, match="finite"):
        latent_set(tmp_path / "x.npy", data, autoencoder, "digest", 1)


def test_a_joint_training_takes_latents_for_images(data: TrainingSet, tmp_path: Path) -> None:
    """Gray images of a color autoencoder are repeated; shapes group as before; an empty set stays one."""
    wide = TrainingSet(
        np.random.default_rng(0).integers(0, 256, (6, 3, 8, 24)).astype(np.uint8), data.conditions[:6], data.value_range
    )
    none = dataclasses.replace(data, pixels=data.pixels[:0], conditions=data.conditions[:0])
    joint = JointSet((data, wide, none), np.array([0.5, 0.5, 0.0]), 3, Vocabulary())
    latents = latent_sets(tmp_path / "z", joint, untrained(channels=3), "digest")
    assert latents.channels == 4
    assert latents.groups == joint.groups
    assert [len(part) for part in latents.sets] == [len(data), 6, 0]
    types, rows = latents.batch_rows(3, 8, seed=1)
    assert np.array_equal(rows, joint.batch_rows(3, 8, seed=1)[1])
    shape = {0: (8, 4, 4, 4), 1: (8, 4, 2, 6)}[int(types[0])]
    assert latents.unit_images(types, rows).shape == shape
    assert torch.equal(latents.condition(types, rows).labels, joint.condition(types, rows).labels)
    assert 0 < latents.std() < 10
