"""Shadows: halves by patient that complement each other, said in every place, and of no other use."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.files import read_artifact
from synthcohort.core.run import RunFolder
from synthcohort.generation import generate
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.edit_cohort import EditRequest, edit
from synthcohort.imaging.canaries import CanaryConfig
from synthcohort.training import train
from synthcohort.training.canaries import asked_settings
from synthcohort.training.config import TrainConfig
from synthcohort.training.joint import open_types
from synthcohort.training.shadow import half, owners, shadow_types
from tests.training.conftest import TINY

NAMES = st.sets(st.text(max_size=4), min_size=2, max_size=40)


@given(NAMES, st.integers(0, 50))
def test_the_halves_of_a_pair_are_whole_and_apart_and_of_equal_size(names: set[str], pair: int) -> None:
    first, second = half(names, 2 * pair), half(names, 2 * pair + 1)
    assert first | second == names
    assert not first & second
    assert 0 <= len(first) - len(second) <= 1
    assert half(list(names) * 2, 2 * pair) == first  # whatever their order, and how many images they have


def test_pairs_split_anew_and_nobody_is_favored() -> None:
    names = [f"p{i}" for i in range(60)]
    halves = [half(names, 2 * pair) for pair in range(200)]
    assert len(set(halves)) == 200
    times = [sum(name in chosen for chosen in halves) for name in names]
    assert min(times) > 65
    assert max(times) < 135


def test_train_and_control_are_halved_together_by_patient(make_cohort: Callable[..., Path]) -> None:
    cohort = Cohort.open(make_cohort("many", count=120))
    types = open_types([cohort.path])
    pool = {owner for role in ("train", "control") for owner in owners(cohort.select(split=role))}
    sides = [shadow_types(types, number)[0] for number in (0, 1)]
    first, second = (set(owners(kind.train[0])) for kind in sides)
    assert first | second == pool
    assert not first & second
    for kind in sides:
        assert set(kind.train[0].column("split")) == {"train", "control"}
        assert kind.validation[0].image_ids == types[0].validation[0].image_ids
        assert kind.name == types[0].name


def test_a_patient_of_several_cohorts_stands_on_one_side(make_cohort: Callable[..., Path]) -> None:
    paths = [make_cohort("one", count=60), make_cohort("two", count=40)]
    kind = shadow_types(open_types(paths), 4)[0]
    known = {f"group p{n:03d}" for n in range(40)}
    assert len(kind.train) == 2
    assert set(owners(kind.train[1])) <= known
    assert set(owners(kind.train[0])) & known == set(owners(kind.train[1]))


def test_too_few_patients_are_said(make_cohort: Callable[..., Path]) -> None:
    path = make_cohort("uncontrolled", roles=("train", "validation", "test", "test"))
    with pytest.raises(InputError, match="no image has the role 'control'"):
        shadow_types(open_types([path]), 0)
    alone = make_cohort("alone", count=1)
    with pytest.raises(InputError, match="gets none of its images"):
        shadow_types(open_types([alone]), 1)


def test_settings_without_a_shadow_are_as_before(config: TrainConfig) -> None:
    assert "shadow" not in asked_settings(to_mapping(config))
    assert asked_settings(to_mapping(replace(config, shadow=0)))["shadow"] == 0
    with pytest.raises(ConfigError, match=r"train\.shadow: -1"):
        replace(config, shadow=-1)
    with pytest.raises(ConfigError, match=r"nothing where train\.canaries"):
        replace(config, shadow=0, canaries=CanaryConfig(count=12))


@pytest.fixture(scope="module")
def shadow_run(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("shadow") / "run"
    settings = TrainConfig(images=16, size=16, network=TINY, batch=8, validation_images=0, watch_images=0, shadow=1)
    train([cohort_path], run, settings)
    return run


def test_a_shadow_says_what_it_saw(shadow_run: Path, cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    kind = shadow_types(open_types([cohort_path]), 1)[0]
    said = read_artifact(shadow_run / "shadow.json", "shadow", 1)
    assert said["number"] == 1
    assert said["seen"] == [{"cohort": cohort.digest, "image_ids": sorted(kind.train[0].image_ids)}]
    info = RunFolder.read(shadow_run).info
    pool = len(cohort.select(split="train")) + len(cohort.select(split="control"))
    assert info["config"]["train"]["shadow"] == 1
    own = len(kind.train[0])  # one image a patient
    assert info["shadow"] == {"number": 1, "images": own, "of_images": pool, "patients": own, "of_patients": pool}
    facts = json.loads((shadow_run / "model" / "model.json").read_text())["facts"]
    assert facts["shadow"] == info["shadow"]
    assert facts["training_images"] == info["shadow"]["images"]


def test_nothing_is_made_from_a_shadow(
    shadow_run: Path, cohort_path: Path, config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="is shadow 1 of an audit"):
        generate(shadow_run, tmp_path / "made", GenerateConfig(), count=4)
    with pytest.raises(InputError, match="is shadow 1 of an audit"):
        edit(shadow_run, tmp_path / "edited", GenerateConfig(), EditRequest(seed=0, old={"grade": 1}, to={"grade": 2}))
    with pytest.raises(InputError, match="its weights saw control patients"):
        train([cohort_path], tmp_path / "tuned", config, start=shadow_run)
    assert not list(tmp_path.iterdir())
    asked = ["generate", str(shadow_run), "--count", "4", "--out", str(tmp_path / "made")]
    assert main(asked) == 2
    assert "it learned from control patients; allowed: a run without train.shadow" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--gan", "--autoencoder", "--auto"])
def test_other_models_are_no_shadows(
    option: str, cohort_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["train", str(cohort_path), option, "--out", str(tmp_path / "run"), "--set", "train.shadow=0"]
    assert main(asked) == 2
    assert f"setting train.shadow: given with {option}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
