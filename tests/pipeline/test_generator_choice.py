"""A study names the kind of generator; what it trains goes through the same stages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import build
from synthcohort.core.errors import ConfigError
from synthcohort.models.generator import load_generator
from synthcohort.pipeline.config import Study, StudyConfig
from synthcohort.pipeline.forecast import _train_seconds
from synthcohort.pipeline.run import begun_with, set_budgets, train_generator, with_denoiser

TINY = {
    "images": 16, "size": 16, "batch": 8, "looks": 1, "guard_images": 0, "watch_images": 0,
    "network": {"latent": 4, "channels": 8, "most": 16, "embedding_width": 8},
}  # fmt: skip


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    writer = CohortWriter(tmp_path / "cohort", "noise", "real", [LabelColumn("grade", "ordinal", (0, 1))], {}, "f")
    random = np.random.default_rng(0)
    for n in range(130):
        own = {"image_id": f"i{n:03d}", "patient_id": f"p{n:03d}", "group_id": f"p{n:03d}", "grade": n % 2}
        split = "train" if n < 110 else "validation"
        pixels = random.integers(0, 256, (16, 16)).astype(np.uint8)
        writer.add(pixels, {**own, "split": split, "bits_stored": 8, "modality": "DX", "body_part": "KNEE"})
    writer.finish()
    return tmp_path / "cohort"


@pytest.mark.parametrize("kind", ["gan", "auto"])
def test_a_study_trains_a_gan_by_wish_or_because_it_suits(kind: str, cohort: Path, tmp_path: Path) -> None:
    study = build(StudyConfig, {"study": {"generator": kind}, "gan": TINY})
    found = train_generator(study, cohort, tmp_path / "run")
    assert found["images_seen"] == 16
    assert load_generator(tmp_path / "run").spec.kind == "gan"
    assert ("auto" in found) == (kind == "auto")
    assert with_denoiser(tmp_path / "run") is None  # white-box attacks need one


def test_what_differs_from_the_defaults_counts_as_set() -> None:
    study = build(StudyConfig, {"gan": {"images": 5, "size": 64}, "train": {"minutes": 3}})
    assert set_budgets(study) == {"gan.images", "train.minutes"}
    assert set_budgets(StudyConfig()) == set()


def test_the_choice_is_part_of_a_run_only_where_it_was_made() -> None:
    assert not {"generator", "minutes"} & set(begun_with(StudyConfig())["study"])
    assert begun_with(build(StudyConfig, {"study": {"generator": "gan"}}))["study"]["generator"] == "gan"
    assert begun_with(build(StudyConfig, {"study": {"generator": "auto"}}))["study"]["minutes"] == 20


def test_an_unknown_kind_and_no_time_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        Study(generator="vae", minutes=0.0)  # type: ignore[arg-type]
    assert len(error.value.problems) == 2


def test_the_forecast_knows_the_kind() -> None:
    def seconds(kind: str, **gan: Any) -> float:
        study = build(StudyConfig, {"study": {"generator": kind, "minutes": 7}, "train": {"images": 1_000}, "gan": gan})
        return _train_seconds(study, 0.5, (64, 64), 1)

    assert seconds("diffusion") == 500
    assert seconds("auto") == 420
    assert seconds("gan", minutes=2) == 120
    assert seconds("gan", images=20_000) == pytest.approx(2 * seconds("gan", images=10_000))
    assert StudyConfig().study.generator == "diffusion"
