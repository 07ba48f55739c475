"""Edits with a GAN: nothing said anew changes no bit, directions do what they say, projections come near."""

import dataclasses

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.generation.edit import EditConfig, Subject
from synthcohort.generation.gan_directions import Direction, apart, find_direction, fit_direction
from synthcohort.generation.gan_edit import GanSubject, gan_change, gan_edits, gan_move, gan_sweep
from synthcohort.generation.gan_project import ProjectConfig, project, unlikeness
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.gan import BottleneckBlock, GanNetworkConfig
from synthcohort.models.gan_generator import GanGenerator
from synthcohort.models.gan_spec import GanSpec

VOCABULARY = Vocabulary.of([LabelColumn("grade", "ordinal", (0, 1, 2)), LabelColumn("sex", "nominal", ("F", "M"))], {})
SAID = {"grade": 1, "sex": "F"}


@pytest.fixture(scope="module")
def generator() -> GanGenerator:
    config = GanNetworkConfig(latent=4, channels=8, most=16, embedding_width=8)
    spec = GanSpec("modern", config, (ImageSpec(16, 24, 1, "uint16", 0, 4095),), VOCABULARY, "float32")
    torch.manual_seed(0)
    network = spec.build().eval()
    for block in network.modules():
        if isinstance(block, BottleneckBlock):
            torch.nn.init.normal_(block.wide.weight, std=0.2)
    with torch.no_grad():
        network.head.weight.mul_(0.3)
    return GanGenerator(network.requires_grad_(False), spec)


@pytest.fixture
def drawn(generator: GanGenerator) -> GanSubject:
    return GanSubject(Subject(generator, SAID, seed=3))


def test_the_same_condition_changes_no_bit_and_another_does(drawn: GanSubject) -> None:
    same, other = gan_change(drawn, [{}, {"grade": 2}])
    assert np.array_equal(same.image, drawn.subject.pixels)
    assert not np.array_equal(other.image, drawn.subject.pixels)
    assert other.condition == {"grade": 2, "sex": "F"}
    expected = next(drawn.generator.draw([other.condition], [3]))  # the same seed under the other condition
    inside = (drawn.subject.pixels > 0) & (drawn.subject.pixels < 4095)  # what was cut off is not known any more
    assert inside.mean() > 0.5
    assert np.abs(other.image.astype(int) - expected.astype(int))[inside].max() <= 1


def test_outside_a_mask_nothing_changes(drawn: GanSubject) -> None:
    mask = np.zeros((16, 24), bool)
    mask[4:12, 6:18] = True
    (edit,) = gan_change(drawn, [{"grade": 2}], mask)
    assert np.array_equal(edit.image[~mask], drawn.subject.pixels[~mask])
    assert not np.array_equal(edit.image[mask], drawn.subject.pixels[mask])
    for wrong in (np.ones((3, 3), bool), np.zeros((16, 24), bool)):
        with pytest.raises(InputError, match="mask"):
            gan_change(drawn, [{"grade": 2}], wrong)


def test_a_sweep_goes_through_the_values_with_steps_between(drawn: GanSubject) -> None:
    edits = gan_sweep(drawn, "grade", between=1)
    assert [edit.condition["grade"] for edit in edits] == [0, 0, 1, 1, 2] or [
        edit.condition["grade"] for edit in edits
    ] == [0, 0, 1, 2, 2]
    plain = gan_sweep(drawn, "grade")
    assert [edit.condition["grade"] for edit in plain] == [0, 1, 2]
    for fine, coarse in zip(edits[::2], plain, strict=True):
        assert np.array_equal(fine.image, coarse.image)
    ends = plain[0].image.astype(float), plain[1].image.astype(float)
    for end in ends:  # a step between lies nearer to both than they to each other
        assert np.abs(edits[1].image - end).mean() < np.abs(ends[0] - ends[1]).mean()
    with pytest.raises(InputError, match="sex"):
        gan_sweep(drawn, "sex")


def test_what_only_diffusion_can_do_is_refused_at_once(drawn: GanSubject) -> None:
    (other,), known = gan_edits(drawn.subject, {"grade": 2})
    assert known == {}
    assert np.array_equal(other.image, gan_change(drawn, [{"grade": 2}])[0].image)
    assert len(gan_edits(drawn.subject, {}, "grade")[0]) == 3
    with pytest.raises(InputError) as error:
        gan_edits(drawn.subject, {"grade": 2}, fresh=True, config=EditConfig(local=True, strength=0.4))
    assert len(error.value.problems) == 3


def test_regression_finds_the_direction_and_says_how_well() -> None:
    random = np.random.default_rng(0)
    latents, true = random.normal(size=(400, 8)), np.array([3.0, 4.0, 0, 0, 0, 0, 0, 0])
    clear = fit_direction(latents, latents @ true + random.normal(0, 0.1, 400) + 7)
    assert clear.vector @ true / 5 == pytest.approx(1, abs=1e-3)
    assert clear.slope == pytest.approx(5, rel=0.01)
    assert clear.explained > 0.99
    assert fit_direction(latents, random.normal(size=400)).explained < 0.05
    with pytest.raises(ValueError, match="needed"):
        fit_direction(latents[:10], np.arange(10.0))
    with pytest.raises(ValueError, match="equal"):
        fit_direction(latents, np.ones(400))


def test_directions_apart_leave_the_other_reading_alone() -> None:
    severity = Direction(np.array([1.0, 0.0]), 2.0, 0.9)
    age = Direction(np.array([0.6, 0.8]), 10.0, 0.8)
    alone = apart(age, [severity])
    assert alone.vector.tolist() == pytest.approx([0, 1])
    assert alone.slope == pytest.approx(8)
    with pytest.raises(ValueError, match="mixture"):
        apart(severity, [severity])


def test_moving_along_a_found_direction_changes_the_reading(generator: GanGenerator, drawn: GanSubject) -> None:
    def brightness(images: object) -> np.ndarray:
        return np.array([image.mean() for image in images])  # type: ignore[attr-defined]

    direction = find_direction(generator, SAID, brightness, count=64)
    amount = 0.5 * direction.slope
    darker, same, brighter = gan_move(drawn, direction, [-amount, 0.0, amount])
    assert np.array_equal(same.image, drawn.subject.pixels)
    assert darker.image.mean() < same.image.mean() < brighter.image.mean()
    with pytest.raises(InputError, match="standard deviations"):
        gan_move(drawn, direction, [100 * direction.slope])
    with pytest.raises(InputError, match="equal"):
        find_direction(generator, SAID, lambda images: np.zeros(len(images)), count=64)


def test_projection_finds_an_image_of_the_generator(generator: GanGenerator) -> None:
    pixels = next(generator.draw([SAID], [11]))
    config = ProjectConfig(starts=2, steps=60)
    found = project(generator, pixels, SAID, config)
    assert found.error < 0.4 * found.error_before
    assert torch.equal(found.code, project(generator, pixels, SAID, config).code)
    subject = GanSubject(Subject(generator, SAID, pixels), config)
    same, other = gan_change(subject, [{}, {"grade": 2}])
    assert np.array_equal(same.image, pixels)  # what it cannot draw stays
    assert not np.array_equal(other.image, pixels)


def test_unlikeness_sees_structure_beside_pixels() -> None:
    blank = torch.zeros(1, 1, 8, 8)
    noise = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    assert float(unlikeness(noise, blank)) == pytest.approx(1 / 3)
    assert float(unlikeness(torch.ones(1, 1, 8, 8), blank)) == pytest.approx(1)


def test_projection_settings_are_checked() -> None:
    with pytest.raises(ConfigError) as error:
        ProjectConfig(starts=0, steps=0, rate=0.0)
    assert len(error.value.problems) == 3
    assert dataclasses.asdict(ProjectConfig())["steps"] == 200
