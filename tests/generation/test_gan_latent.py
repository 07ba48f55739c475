"""Moves along what a column of a cohort says, steps between grades, projection: as `synthcohort edit` asks for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError
from synthcohort.generation import gan_readings
from synthcohort.generation.edit import EditConfig, Subject
from synthcohort.generation.edit_cohort import EditRequest
from synthcohort.generation.gan_latent import LatentRequest, latent_edits
from synthcohort.generation.gan_readings import Scale, reading
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.gan import BottleneckBlock, GanNetworkConfig
from synthcohort.models.gan_generator import GanGenerator
from synthcohort.models.gan_spec import GanSpec

GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))
SAID = {"grade": 1}


@pytest.fixture(scope="module")
def generator() -> GanGenerator:
    config = GanNetworkConfig(latent=4, channels=8, most=16, embedding_width=8)
    spec = GanSpec("modern", config, (ImageSpec(16, 16, 1, "uint8", 0, 255),), Vocabulary.of([GRADE], {}), "float32")
    torch.manual_seed(0)
    network = spec.build().eval()
    for block in network.modules():
        if isinstance(block, BottleneckBlock):
            assert isinstance(block.wide.weight, torch.Tensor)
            torch.nn.init.normal_(block.wide.weight, std=0.2)
    with torch.no_grad():
        network.head.weight.mul_(0.3)
    return GanGenerator(network.requires_grad_(False), spec)


@pytest.fixture(scope="module")
def cohort(generator: GanGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose brightness is their patients' age in years, more or less, and whose sex is its half."""
    path = tmp_path_factory.mktemp("latent") / "cohort"
    writer = CohortWriter(path, "bright", "real", [GRADE], {}, "fingerprint")
    images = np.stack(list(generator.draw([SAID] * 120, range(1_000, 1_120))))
    means = images.reshape(len(images), -1).mean(1)
    ages = 20 + 60 * (means - means.min()) / np.ptp(means)
    for n, (image, age) in enumerate(zip(images, ages, strict=True)):
        own = {"image_id": f"i{n:03d}", "patient_id": f"p{n:03d}", "group_id": f"p{n:03d}", "split": "train"}
        sex = "M" if age > np.median(ages) else "F"
        writer.add(image, {**own, "bits_stored": 8, "grade": n % 3, "age": float(age), "sex": sex})
    writer.finish()
    return path


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_readings, "STEPS", 60)


@pytest.mark.usefixtures("few_steps")
def test_a_move_along_age_makes_it_read_older_and_forgets_nothing_else(
    generator: GanGenerator, cohort: Path, tmp_path: Path
) -> None:
    subject = Subject(generator, SAID, seed=3)
    request = LatentRequest(along="age", by=(-4.0, 0.0, 4.0), cohort=cohort)
    (younger, same, older), known = latent_edits(tmp_path, subject, request)
    assert np.array_equal(same.image, subject.pixels)
    assert younger.image.mean() < same.image.mean() < older.image.mean()
    facts = known["direction"]
    assert facts["explained"] > 0.3
    assert not facts["faint"]
    assert facts["read_after"][0] < facts["read_before"] == facts["read_after"][1] < facts["read_after"][2]
    assert older.condition == SAID
    (reader,) = (tmp_path / "readers").iterdir()
    again = latent_edits(tmp_path, subject, request)  # with the reader that was kept
    assert [reader] == list((tmp_path / "readers").iterdir())
    assert np.array_equal(again[0][2].image, older.image)
    with pytest.raises(InputError) as error:  # both amounts are said at once
        latent_edits(tmp_path, subject, LatentRequest(along="age", by=(900.0, 4.0, -900.0), cohort=cohort))
    assert len(error.value.problems) == 2
    with pytest.raises(InputError, match="mixture"):
        latent_edits(tmp_path, subject, LatentRequest(along="age", by=(1.0,), keep=("age",), cohort=cohort))


@pytest.mark.usefixtures("few_steps")
def test_a_moved_label_is_not_said_of_the_image_any_more(generator: GanGenerator, cohort: Path, tmp_path: Path) -> None:
    subjects = [Subject(generator, SAID, seed=seed) for seed in range(20)]
    read = reading(tmp_path, cohort, "sex=M", subjects[0].spec)([subject.pixels for subject in subjects])
    assert ((read >= 0) & (read <= 1)).all()
    nearest = int(np.abs(read - 0.5).argmin())  # of the others the reader is too sure for a small move
    subject, by = subjects[nearest], 0.1 if read[nearest] < 0.5 else -0.1
    (edit,), known = latent_edits(tmp_path, subject, LatentRequest(along="sex=M", by=(by,), cohort=cohort))
    assert edit.condition == SAID  # the model knows no sex
    assert (known["direction"]["read_after"][0] - known["direction"]["read_before"]) * by > 0


def test_columns_become_numbers(cohort: Path) -> None:
    from synthcohort.core.cohort import Cohort

    train = Cohort.open(cohort)
    assert Scale.of(train, "grade").numbers.tolist() == [0, 1, 2]
    ages = Scale.of(train, "age")
    assert len(ages.numbers) == 5
    assert np.bincount(ages.classes).min() >= 20
    assert np.all(np.diff(ages.numbers) > 0)
    assert Scale.of(train, "sex=M").numbers.tolist() == [0, 1]
    for asked, words in (
        ("sex", "no order; say which, for example sex=M"),
        ("colour", "unknown column 'colour'"),
        ("patient_id", "unknown column"),
        ("sex=X", "fewer than 10"),
    ):
        with pytest.raises(InputError, match=words):
            Scale.of(train, asked)


def test_a_projection_and_how_near_it_comes(generator: GanGenerator, tmp_path: Path) -> None:
    pixels = next(generator.draw([SAID], [11]))
    subject = Subject(generator, SAID, pixels)
    (nearest,), known = latent_edits(tmp_path, subject, LatentRequest(project=True))
    found = known["projection"]
    assert found["error"] < found["error_of_the_nearest_start"]
    apart = (nearest.image.astype(float) - pixels) / 255
    assert float(np.sqrt((apart**2).mean())) == pytest.approx(found["error"], abs=0.02)
    with pytest.raises(InputError, match="drawn image"):
        latent_edits(tmp_path, Subject(generator, SAID, seed=3), LatentRequest(project=True))
    with pytest.raises(InputError, match="--strength"):
        latent_edits(tmp_path, subject, LatentRequest(project=True), config=EditConfig(strength=0.3))


def test_steps_between_the_values_of_a_sweep(generator: GanGenerator, tmp_path: Path) -> None:
    edits, known = latent_edits(tmp_path, Subject(generator, SAID, seed=3), LatentRequest(between=1), "grade")
    assert len(edits) == 5
    assert known == {}


@pytest.mark.parametrize(
    ("wrong", "count"),
    [
        ({"by": (1.0,), "keep": ("sex",)}, 2),
        ({"along": "age"}, 2),
        ({"along": "age", "by": (1.0,), "cohort": Path("c"), "project": True}, 1),
        ({"between": -1}, 1),
    ],
)
def test_what_does_not_go_together_is_said_at_once(wrong: dict[str, Any], count: int) -> None:
    with pytest.raises(InputError) as error:
        LatentRequest(**wrong)
    assert len(error.value.problems) == count


@pytest.mark.parametrize(
    ("latent", "others", "words"),
    [
        ({"project": True}, {"seed": 1}, "--project: given without --image"),
        ({"between": 2}, {"seed": 1, "to": {"grade": 2}}, "--between: given without --sweep"),
        ({"along": "age", "by": (1.0,), "cohort": Path("c")}, {"seed": 1, "sweep": "grade"}, "--along: given with"),
    ],
)
def test_a_request_with_parts_that_exclude_each_other(
    latent: dict[str, Any], others: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        EditRequest(**others, latent=LatentRequest(**latent))
