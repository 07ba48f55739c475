"""Edits by a generator whose flow is known in closed form: each grade adds light to a known place."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.generation.edit import EditConfig, Subject, change, redraw, sweep
from synthcohort.models.checkpoint import ImageSpec, ModelSpec
from synthcohort.models.condition import Condition, Vocabulary
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.generator import Generator

SIDE, STD, LIGHT = 24, 0.2, 0.25
JOINT = np.zeros((SIDE, SIDE), bool)
JOINT[10:15, 6:18] = True
GRADE, SITE = LabelColumn("grade", "ordinal", (0, 1, 2)), LabelColumn("site", "nominal", ("a", "b"))
SAMPLING = SamplingConfig(steps=12, guidance_scale=1.0)


class Known(nn.Module):
    """The exact denoiser of smooth images whose mean is LIGHT higher in the joint for each grade."""

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(SIDE, dtype=torch.float32)
        values, vectors = torch.linalg.eigh(torch.exp(-((place[:, None] - place) ** 2) / 50))
        self.vectors = nn.Parameter(vectors, requires_grad=False)
        self.variances = nn.Parameter(STD**2 * values[:, None].clamp(min=0) * values.clamp(min=0), requires_grad=False)

    def forward(self, x: Tensor, sigma_B: Tensor, condition: Condition) -> Tensor:
        grade = condition.labels[:, 0].nan_to_num(1.0).view(-1, 1, 1, 1)
        mean = -0.3 + LIGHT * grade * torch.from_numpy(JOINT).float()
        gain = self.variances / (self.variances + sigma_B.view(-1, 1, 1, 1) ** 2)
        modes = self.vectors.T @ (x - mean) @ self.vectors
        return mean + self.vectors @ (gain * modes) @ self.vectors.T


def generator(channels: int = 1) -> Generator:
    image = ImageSpec(SIDE, SIDE, channels, "uint8", 0, 255)
    spec = ModelSpec(NetworkConfig(), (image,), Vocabulary.of([GRADE, SITE], {}), STD, "float32")
    return Generator(Known(), spec, SAMPLING)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made() -> Generator:
    return generator()


def real(made: Generator, grade: int = 1) -> Subject:
    """A "real" image: one that the model would hardly draw, with a bright mark."""
    pixels = next(made.draw([{"grade": grade}], [5])).copy()
    pixels[2:5, 18:22] = 250
    return Subject(made, {"grade": grade}, pixels)


def subjects(made: Generator) -> Iterator[Subject]:
    yield Subject(made, {"grade": 1}, seed=5)
    yield real(made)


def light(image: np.ndarray, original: np.ndarray, where: np.ndarray) -> float:
    """Mean change in units of LIGHT."""
    return float((image.astype(float) - original)[where].mean() / 127.5 / LIGHT)


def test_another_grade_changes_the_joint_by_what_the_grade_means_and_nothing_else(made: Generator) -> None:
    for subject in subjects(made):
        lower, same, higher = sweep(subject, "grade", EditConfig(strength=1.0))
        assert np.array_equal(same.image, subject.pixels)  # bit by bit
        assert light(higher.image, subject.pixels, JOINT) == pytest.approx(1.0, abs=0.1)
        assert light(lower.image, subject.pixels, JOINT) == pytest.approx(-1.0, abs=0.1)
        assert abs(light(higher.image, subject.pixels, ~JOINT)) < 0.05
        assert [edit.condition["grade"] for edit in (lower, same, higher)] == [0, 1, 2]


def test_a_drawn_image_under_the_new_condition_is_what_the_same_seed_draws(made: Generator) -> None:
    subject = Subject(made, {"grade": 0}, seed=9)
    (edit,) = change(subject, [{"grade": 2}], EditConfig(strength=1.0))
    drawn = next(made.draw([{"grade": 2}], [9]))
    assert np.abs(edit.image.astype(int) - drawn).max() <= 1  # batches of other sizes round differently


def test_less_strength_changes_less(made: Generator) -> None:
    for subject in subjects(made):
        found = [
            light(change(subject, [{"grade": 2}], EditConfig(strength=s))[0].image, subject.pixels, JOINT)
            for s in (0.25, 0.5, 1.0)
        ]
        assert found[0] < found[1] - 0.1 < found[2] - 0.1


def test_what_the_model_cannot_draw_of_a_real_image_stays(made: Generator) -> None:
    subject = real(made)
    (edit,) = change(subject, [{"grade": 2}], EditConfig(refine=0))
    assert np.abs(edit.image[2:5, 18:22].astype(int) - 250).max() <= 4


def test_a_mask_holds_the_rest_bit_by_bit(made: Generator) -> None:
    half = np.zeros((SIDE, SIDE), bool)
    half[:, : SIDE // 2] = True
    for subject in subjects(made):
        (edit,) = change(subject, [{"grade": 2}], mask=half)
        assert np.array_equal(edit.image[~half], subject.pixels[~half])
        assert light(edit.image, subject.pixels, JOINT & half) > 0.4
        again = redraw(subject, mask=half)
        assert np.array_equal(again.image[~half], subject.pixels[~half])
        assert not np.array_equal(again.image[half], subject.pixels[half])


def test_the_local_mask_finds_the_joint(made: Generator) -> None:
    subject = real(made)
    (edit,) = change(subject, [{"grade": 2}], EditConfig(strength=1.0, local=True))
    assert edit.mask is not None
    found = edit.mask > 0
    assert (found & JOINT).sum() > 0.9 * JOINT.sum()
    assert found.mean() < 0.25
    assert np.array_equal(edit.image[~found], subject.pixels[~found])


def test_redrawing_keeps_more_at_less_strength_and_varies_with_its_number(made: Generator) -> None:
    subject = real(made)
    moved = [
        np.abs(redraw(subject, None, EditConfig(strength=s)).image.astype(int) - subject.pixels).mean()
        for s in (0.25, 0.5, 1.0)
    ]
    assert moved[0] < moved[1] < moved[2]
    one, two, again = (redraw(subject, variation=number).image for number in (1, 2, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    assert light(redraw(subject, {"grade": 2}, EditConfig(strength=1.0)).image, subject.pixels, JOINT) > 0.3


def test_a_region_drawn_anew_fits_its_surroundings(made: Generator) -> None:
    """The step over the region's edge is no larger than that between neighbors in smooth images."""
    subject = Subject(made, {"grade": 0}, seed=3)
    square = np.zeros((SIDE, SIDE), bool)
    square[8:16, 8:16] = True

    def step(iterations: int) -> float:
        config = EditConfig(feather=0, strength=1.0, iterations=iterations)
        images = [redraw(subject, None, config, square, n).image.astype(float) for n in range(3)]
        return float(np.mean([np.abs(image[8, 8:16] - image[7, 8:16]).mean() for image in images]))

    assert step(5) < step(0) / 2


def test_gray_images_of_a_model_with_colors_are_edited(made: Generator) -> None:
    subject = Subject(generator(3), {"grade": 0}, seed=1)
    (edit,) = change(subject, [{"grade": 1}], EditConfig(strength=1.0))
    assert edit.image.shape == (SIDE, SIDE, 3)
    assert light(edit.image, subject.pixels, JOINT) == pytest.approx(1.0, abs=0.1)


def test_guided_parts_are_named(made: Generator) -> None:
    config = SamplingConfig(steps=4, guidance={"grade": 3.0})
    strong = Generator(made.denoiser, made.spec, config)
    subject = Subject(made, {"grade": 1}, real(made).pixels)
    guided = Subject(strong, {"grade": 1}, subject.pixels)
    plain, more = (change(s, [{"grade": 2}])[0] for s in (subject, guided))
    assert light(more.image, subject.pixels, JOINT) > light(plain.image, subject.pixels, JOINT) + 0.2


def test_what_cannot_be_edited_is_said(made: Generator) -> None:
    subject = real(made)
    with pytest.raises(InputError, match="10 x 12 pixels; allowed: 24 x 24"):
        change(subject, [{"grade": 2}], mask=np.ones((10, 12), bool))
    with pytest.raises(InputError, match="no pixel may change"):
        redraw(subject, mask=np.zeros((SIDE, SIDE), bool))
    with pytest.raises(InputError, match="'site' is nominal; allowed: grade"):
        sweep(subject, "site")
    with pytest.raises(InputError, match="unknown column 'color'"):
        sweep(subject, "color")
    with pytest.raises(InputError, match="0, 1, 2"):
        change(subject, [{"grade": 7}])
    with pytest.raises(InputError, match="uint8 of shape"):
        Subject(made, {}, np.zeros((8, 8), np.uint8))
    with pytest.raises(ConfigError, match=r"strength: 1\.5.*\n.*refine"):
        EditConfig(strength=1.5, refine=-1)
