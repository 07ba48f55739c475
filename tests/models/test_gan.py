"""The networks of a GAN: shapes of every kind, rows that do not touch each other, conditions that matter, files."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.models.checkpoint import ImageSpec, save_model
from synthcohort.models.condition import IMAGE_TYPE, Condition, TextSpec, Vocabulary
from synthcohort.models.gan import (
    BottleneckBlock,
    DiscriminatorNetwork,
    GanNetworkConfig,
    GeneratorNetwork,
    Preset,
    halved,
)
from synthcohort.models.gan_generator import GanGenerator, gan_generator
from synthcohort.models.gan_losses import squared_gradients
from synthcohort.models.gan_spec import GanSpec, load_gan

PRESETS: tuple[Preset, ...] = get_args(Preset)
TINY = GanNetworkConfig(latent=6, channels=8, most=16, embedding_width=8)
COLUMNS = [
    LabelColumn("sex", "nominal", ("F", "M")),
    LabelColumn("grade", "ordinal", (0, 1, 2)),
    LabelColumn("age", "continuous"),
]
VOCABULARY = Vocabulary.of(COLUMNS, {"age": [40.0, 60.0]})


def image_spec(rows: int, columns: int, channels: int = 1, dtype: str = "uint8", name: str = "image") -> ImageSpec:
    high = 255 if dtype == "uint8" else 4095
    return ImageSpec(rows, columns, channels, dtype, 0, high, name=name)


def gan(preset: Preset = "modern", image: ImageSpec | None = None, vocabulary: Vocabulary = VOCABULARY) -> GanSpec:
    return GanSpec(preset, TINY, (image or image_spec(16, 16),), vocabulary, "float32")


def made(spec: GanSpec, seed: int = 0) -> GeneratorNetwork:
    torch.manual_seed(seed)
    network = spec.build().eval()
    for block in network.modules():  # blocks add nothing at the start; here they do
        if isinstance(block, BottleneckBlock):
            torch.nn.init.normal_(block.wide.weight, std=0.2)
    return network.requires_grad_(False)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("size", "channels"), [((16, 16), 1), ((24, 66), 1), ((64, 8), 3), ((34, 18), 3)])
def test_every_shape_goes_out_and_in(preset: Preset, size: tuple[int, int], channels: int) -> None:
    torch.manual_seed(0)
    generator = GeneratorNetwork(preset, TINY, size, channels, VOCABULARY)
    discriminator = DiscriminatorNetwork(preset, TINY, size, channels, VOCABULARY)
    condition = Condition(torch.tensor([[0.0, 2.0, float("nan")], [float("nan")] * 3]))
    images = generator(torch.randn(2, TINY.latent), condition)
    assert images.shape == (2, channels, *size)
    assert images.dtype == torch.float32
    scores = discriminator(images, condition)
    assert scores.shape == (2,)
    assert scores.dtype == torch.float32
    scores.sum().backward()
    assert all(p.grad is not None for p in generator.parameters() if p is not generator.condition_embedding.null)


def test_large_sizes_keep_the_coarsest_stage_small() -> None:
    grids = GanNetworkConfig().grids((512, 384))
    assert grids == [(256, 192), (128, 96), (64, 48), (32, 24), (16, 12), (8, 6)]
    assert GanNetworkConfig().widths(6) == [64, 128, 256, 256, 256, 256]


@pytest.mark.parametrize("size", [(6, 64), (64, 63), (2048, 64)])
def test_sizes_that_cannot_be_drawn(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="image size"):
        TINY.check_size(*size)


def test_settings_are_all_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        GanNetworkConfig(latent=0, channels=12, patch=3)
    assert len(error.value.problems) == 3


def test_halving_is_the_mean_of_two_by_two() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    assert halved(x).tolist() == [[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]]


@torch.no_grad()
@pytest.mark.parametrize("preset", PRESETS)
def test_variance_is_kept_at_the_start(preset: Preset) -> None:
    torch.manual_seed(0)
    config = GanNetworkConfig(channels=16, most=64)
    generator = GeneratorNetwork(preset, config, (32, 32), 1, Vocabulary(), "float32")
    images = generator(torch.randn(64, config.latent), Condition(torch.zeros(64, 0)))
    assert 0.2 < float(images.std()) < 3
    scores = DiscriminatorNetwork(preset, config, (32, 32), 1, Vocabulary(), "float32")(
        torch.randn(64, 1, 32, 32), Condition(torch.zeros(64, 0))
    )
    assert 0.005 < float(scores.std()) < 20


@pytest.mark.parametrize("preset", PRESETS)
def test_a_score_depends_on_its_own_row_and_has_exact_penalties(preset: Preset) -> None:
    torch.manual_seed(0)
    network = DiscriminatorNetwork(preset, TINY, (16, 16), 1, Vocabulary.of(COLUMNS[:1], {}), "float32").double()
    condition = Condition(torch.tensor([[0.0], [1.0]]))
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    for block in network.modules():
        if isinstance(block, BottleneckBlock):
            torch.nn.init.normal_(block.wide.weight, std=0.3)
    (other,) = torch.autograd.grad(network(images, condition)[0], images)
    assert not other[1].any()
    penalty = squared_gradients(network(images, condition), images)
    direction = torch.autograd.grad(network(images, condition).sum(), images)[0]
    step = 1e-6 * direction
    with torch.no_grad():  # along its own gradient a score changes by the squared gradient
        rise = (network(images + step, condition) - network(images - step, condition)) / 2e-6
    torch.testing.assert_close(penalty.detach(), rise, rtol=1e-5, atol=1e-9)
    penalty.sum().backward()
    assert network.stem.weight.grad is not None
    assert network.stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_conditions_change_images_and_scores(preset: Preset) -> None:
    network = made(gan(preset))
    z = torch.randn(1, TINY.latent).expand(4, -1)
    nan = float("nan")
    labels = torch.tensor([[nan, nan, nan], [0.0, nan, nan], [nan, 2.0, nan], [nan, nan, 1.0]])
    images = network(z, Condition(labels))
    assert all((images[i] - images[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))
    torch.manual_seed(0)
    discriminator = DiscriminatorNetwork(preset, TINY, (16, 16), 1, VOCABULARY, "float32")
    scores = discriminator(images[:1].expand(4, -1, -1, -1), Condition(labels))
    assert len(set(scores.tolist())) == 4


def test_text_is_heard_and_null_text_is_its_own() -> None:
    vocabulary = Vocabulary((), TextSpec("packaged", "digest", 5, 3))
    network = made(gan(vocabulary=vocabulary))
    tokens = torch.randn(3, 3, 5)
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    images = network(torch.zeros(3, TINY.latent), Condition(torch.zeros(3, 0), tokens * mask[:, :, None], mask))
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (images[0] - images[2]).abs().max() > 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_image_is_the_same_bits_whatever_it_is_drawn_with(precision: str) -> None:
    spec = GanSpec("modern", TINY, (image_spec(16, 24, dtype="uint16"),), VOCABULARY, precision)  # type: ignore[arg-type]
    generator = GanGenerator(made(spec), spec)
    conditions = [{"grade": n % 3, "age": 30.0 + n} for n in range(40)]
    together = list(generator.draw(conditions, range(40)))
    assert together[0].dtype == np.uint16
    assert together[0].shape == (16, 24)
    for n in (0, 7, 39):
        assert np.array_equal(next(generator.draw([conditions[n]], [n])), together[n])
    assert not np.array_equal(together[0], next(generator.draw([conditions[0]], [1])))


def test_codes_give_the_drawn_images() -> None:
    spec = gan()
    generator = GanGenerator(made(spec), spec)
    condition = generator.condition([{"grade": 1}, {"grade": 2}])
    codes = generator.codes(condition, [3, 4])
    assert codes.shape == (2, TINY.latent + TINY.embedding_width)
    assert torch.equal(generator.images_of(codes), generator.draw_unit(condition, [3, 4], (16, 16)))


def test_color_and_gray_types_of_one_size() -> None:
    types = Vocabulary.of([LabelColumn(IMAGE_TYPE, "nominal", ("gray", "color"))], {}, {IMAGE_TYPE: "type"})
    images = (image_spec(16, 16, name="gray"), image_spec(16, 16, 3, name="color"))
    spec = GanSpec("modern", TINY, images, types, "float32")
    generator = GanGenerator(made(spec), spec)
    gray, color = generator.draw([{IMAGE_TYPE: "gray"}, {IMAGE_TYPE: "color"}], [1, 1])
    assert gray.shape == (16, 16)
    assert color.shape == (16, 16, 3)


def test_a_model_folder_gives_the_same_images_back(tmp_path: Path) -> None:
    spec = gan("wgan_gp", image_spec(16, 16, 3))
    network = made(spec)
    save_model(tmp_path, spec, network.state_dict(), {"label_counts": []})  # type: ignore[arg-type]
    again = gan_generator(tmp_path)
    assert again.spec == spec
    assert again.spec.kind == "gan"
    assert json.loads((tmp_path / "model.json").read_text())["kind"] == "gan"
    before = next(GanGenerator(network, spec).draw([{"grade": 1}], [5]))
    assert np.array_equal(next(again.draw([{"grade": 1}], [5])), before)
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(content | {"kind": "diffusion"}))
    with pytest.raises(ArtifactError, match="kind"):
        load_gan(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(content))
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        load_gan(tmp_path)
