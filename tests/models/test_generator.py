"""The generator as others see it: what an image depends on, and what it does not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.run import RunFolder
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.models import load_generator
from synthcohort.models.checkpoint import ImageSpec, ModelSpec, save_model
from synthcohort.models.condition import IMAGE_TYPE, Vocabulary
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.generator import BATCH, Generator

NETWORK = NetworkConfig(
    channels=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=32
)
GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))
FEW_STEPS = SamplingConfig(steps=3)


def spec(channels: int = 1, dtype: str = "uint8", high: int = 255) -> ModelSpec:
    image = ImageSpec(rows=32, columns=32, channels=channels, dtype=dtype, low=0, high=high)
    return ModelSpec(NETWORK, (image,), Vocabulary.of([GRADE], {}), 0.5, "bfloat16")


def generator(channels: int = 1, dtype: str = "uint8", high: int = 255) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = spec(channels, dtype, high).build().eval()
        for parameter in denoiser.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return Generator(denoiser.requires_grad_(False), spec(channels, dtype, high), FEW_STEPS)


def test_an_image_does_not_depend_on_those_drawn_with_it() -> None:
    """Alone, at another place of a batch, in another batch, beside other seeds and labels: the same bits."""
    g = generator()
    conditions = [{"grade": i % 3} for i in range(BATCH + 5)]
    seeds = list(range(100, 100 + BATCH + 5))
    together = list(g.draw(conditions, seeds))
    for i in (0, 7, BATCH - 1, BATCH, BATCH + 4):
        assert np.array_equal(next(g.draw([conditions[i]], [seeds[i]])), together[i])
    backwards = list(g.draw(conditions[::-1], seeds[::-1]))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(together, backwards, strict=True))


def test_seed_and_condition_change_the_image() -> None:
    g = generator()
    a, b, c, d = g.draw([{"grade": 0}, {"grade": 0}, {"grade": 2}, {}], [1, 2, 1, 1])
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(c, d)


@pytest.mark.parametrize(("channels", "dtype", "high"), [(1, "uint8", 255), (3, "uint8", 255), (1, "uint16", 4095)])
def test_images_have_the_cohorts_type_and_range(channels: int, dtype: str, high: int) -> None:
    image = next(generator(channels, dtype, high).draw([{"grade": 1}], [5]))
    assert image.dtype == dtype
    assert image.shape == ((32, 32) if channels == 1 else (32, 32, 3))
    assert image.max() <= high
    assert len(np.unique(image)) > 20


def test_unknown_conditions_are_refused_before_drawing() -> None:
    with pytest.raises(InputError, match="unknown value 9"):
        generator().draw([{"grade": 9}], [1])


def test_model_round_trip_and_damage(tmp_path: Path) -> None:
    g = generator()
    run = RunFolder.open(tmp_path / "run", "diffusion", {})
    with pytest.raises(ArtifactError, match="not finished"):
        load_generator(run.path)
    save_model(run.path / "model", spec(), g.denoiser.state_dict(), {"images_seen": 7})
    loaded = load_generator(run.path, FEW_STEPS)
    assert np.array_equal(next(loaded.draw([{"grade": 1}], [3])), next(g.draw([{"grade": 1}], [3])))
    assert loaded.labels == {"grade": GRADE}
    assert loaded.facts == {"images_seen": 7}
    weights = run.path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="weights"):
        load_generator(run.path)


def joint_spec() -> ModelSpec:
    """Two image types of different shape, color and depth."""
    gray = ImageSpec(rows=32, columns=16, channels=1, dtype="uint16", low=0, high=4095, name="gray")
    color = ImageSpec(rows=16, columns=16, channels=3, dtype="uint8", low=0, high=255, name="color")
    kind = LabelColumn(IMAGE_TYPE, "nominal", ("gray", "color"))
    return ModelSpec(NETWORK, (gray, color), Vocabulary.of([kind, GRADE], {}, {IMAGE_TYPE: "type"}), 0.5, "float32")


def joint_generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = joint_spec().build().eval()
        for parameter in denoiser.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return Generator(denoiser.requires_grad_(False), joint_spec(), FEW_STEPS)


def test_a_joint_model_draws_each_type_in_its_own_shape_and_in_the_order_asked() -> None:
    g = joint_generator()
    conditions = [{IMAGE_TYPE: ("gray", "color")[i % 2], "grade": i % 3} for i in range(7)]
    images = list(g.draw(conditions, range(7)))
    assert [image.shape for image in images] == [(32, 16), (16, 16, 3)] * 3 + [(32, 16)]
    assert {image.dtype.name for image in images[::2]} == {"uint16"}
    assert {image.dtype.name for image in images[1::2]} == {"uint8"}
    assert np.array_equal(next(g.draw([conditions[5]], [5])), images[5])
    with pytest.raises(InputError, match="image_type: none given; allowed: gray, color"):
        g.draw([{"grade": 1}], [1])
    null = g.null_of(g.condition(conditions[:2]))
    assert null.labels[:, 0].tolist() == [0.0, 1.0]  # guidance keeps the image type
    assert null.labels[:, 1].isnan().all()


def test_pixels_survive_the_way_into_the_network_and_back() -> None:
    g = joint_generator()
    gray, color = joint_spec().images
    pixels = np.arange(32 * 16, dtype=np.uint16).reshape(32, 16) * 8
    unit = g.to_unit(pixels, gray)
    assert unit.shape == (3, 32, 16)
    assert np.array_equal(g.from_unit(unit, gray), pixels)
    rgb = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(g.from_unit(g.to_unit(rgb, color), color), rgb)


def test_models_of_an_older_version_are_named(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", "diffusion", {})
    g = generator()
    save_model(run.path / "model", spec(), g.denoiser.state_dict(), {})
    file = run.path / "model" / "model.json"
    for version, words in ((1, "older synthcohort"), (99, "newer synthcohort")):
        file.write_text(file.read_text().replace('"version": 2', f'"version": {version}'))
        with pytest.raises(ArtifactError, match=words):
            load_generator(run.path)
        file.write_text(file.read_text().replace(f'"version": {version}', '"version": 2'))


def test_one_column_alone_can_be_guided() -> None:
    plain = generator()
    strong = Generator(plain.denoiser, plain.spec, SamplingConfig(steps=3, guidance={"grade": 3.0}))
    a, b = next(plain.draw([{"grade": 2}], [1])), next(strong.draw([{"grade": 2}], [1]))
    assert not np.array_equal(a, b)
    assert np.array_equal(next(plain.draw([{}], [1])), next(strong.draw([{}], [1])))  # nothing said: nothing to guide
