"""Canaries in training: the right pixels, as often as asked, said in every place, and audited afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import apply_overrides, build
from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.core.run import RunFolder
from synthcohort.generation import generate
from synthcohort.generation.config import GenerateConfig
from synthcohort.imaging.canaries import CanaryConfig, canary, canary_hosts
from synthcohort.imaging.intensity import ValueRange
from synthcohort.models.gan import GanNetworkConfig
from synthcohort.pipeline.config import StudyConfig
from synthcohort.pipeline.run import begun_with
from synthcohort.training import diffusion, train
from synthcohort.training import gan as gan_loop
from synthcohort.training.config import TrainConfig
from synthcohort.training.gan import train_gan
from synthcohort.training.gan_config import GanConfig
from synthcohort.training.joint import JointSet, image_specs, joint_set, open_types, vocabulary_of

MARKS = CanaryConfig(count=8, repeats=3, strength=0.3)


def prepared(cohort: Path, config: TrainConfig, folder: Path) -> tuple[Cohort, JointSet]:
    types = open_types([cohort])
    vocabulary = vocabulary_of(types, config, None)
    data = joint_set(folder, [types[0].train], image_specs(types, config), vocabulary, config, canaries=config.canaries)
    return types[0].train[0], data


def test_hosts_are_replaced_by_their_canaries_and_drawn_more_often(
    cohort_path: Path, config: TrainConfig, tmp_path: Path
) -> None:
    view, data = prepared(cohort_path, replace(config, canaries=MARKS), tmp_path)
    hosts = set(canary_hosts(view.image_ids, MARKS).tolist())
    pixels = data.sets[0].pixels
    assert len(pixels) == len(view)
    for i, image_id in enumerate(view.image_ids):
        image = view.image(i)
        wanted = canary(image, image_id, ValueRange(0, 255), MARKS) if i in hosts else image
        assert np.array_equal(pixels[i, 0], wanted)
        assert np.array_equal(pixels[i, 0], image) == (i not in hosts)
    total = len(view) + 2 * MARKS.count  # as if each canary stood there three times
    drawn = np.bincount(data.sets[0].batch_indices(0, 40 * total, 0), minlength=len(view))
    assert all(abs(n / 40 - (3 if i in hosts else 1)) < 0.15 for i, n in enumerate(drawn))


def test_without_canaries_nothing_is_otherwise_and_kept_pixels_are_used_again(
    cohort_path: Path, config: TrainConfig, tmp_path: Path
) -> None:
    view, plain = prepared(cohort_path, config, tmp_path)
    assert plain.sets[0].weights is None
    assert np.array_equal(plain.sets[0].pixels[:, 0], np.stack([view.image(i) for i in range(len(view))]))
    key = (tmp_path / "00.json").read_bytes()
    prepared(cohort_path, replace(config, canaries=MARKS), tmp_path)
    assert (tmp_path / "00.json").read_bytes() != key
    prepared(cohort_path, config, tmp_path)
    assert (tmp_path / "00.json").read_bytes() == key


def test_a_run_says_that_canaries_were_planted_and_so_do_its_images(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(config, images=8, validation_images=0, watch_images=0, canaries=MARKS)
    train([cohort_path], tmp_path / "run", config, seed=0)
    assert "warning: 8 canaries are planted" in capsys.readouterr().err
    info = RunFolder.read(tmp_path / "run").info
    assert info["canaries"]["images"] == 8
    assert build(CanaryConfig, info["canaries"]["settings"]) == MARKS
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text())["facts"]["canaries"] == info["canaries"]
    generate(tmp_path / "run", tmp_path / "made", GenerateConfig(), count=2)
    assert Cohort.open(tmp_path / "made").info["provenance"]["canaries"] == info["canaries"]

    child = replace(config, canaries=CanaryConfig())
    train([cohort_path], tmp_path / "child", child, seed=0, start=tmp_path / "run")  # its weights remember them
    inherited = RunFolder.read(tmp_path / "child").info["canaries"]
    assert (inherited["settings"], inherited["started_from"]) == (None, info["canaries"])
    assert "release refuses" in capsys.readouterr().err


def test_a_run_from_before_there_were_canaries_goes_on(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, images=16, validation_images=0, watch_images=0, checkpoint_images=8)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "_finish", kill)
        with pytest.raises(KeyboardInterrupt):
            train([cohort_path], tmp_path / "run", config, seed=0)
    assert "canaries" not in RunFolder.read(tmp_path / "run").info["config"]["train"]
    with pytest.raises(ArtifactError, match=r"train\.canaries"):
        train([cohort_path], tmp_path / "run", replace(config, canaries=MARKS), seed=0)
    assert train([cohort_path], tmp_path / "run", config, seed=0)["resumed"]
    assert "canaries" not in RunFolder.read(tmp_path / "run").info


def test_a_gan_is_trained_on_canaries_too(cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = GanNetworkConfig(latent=8, channels=8, most=16, embedding_width=8)
    config = GanConfig(
        images=16, size=16, network=network, batch=8, looks=1, guard_images=0, watch_images=0, precision="float32",
        canaries=MARKS,
    )  # fmt: skip
    seen: list[JointSet] = []
    real = gan_loop.joint_set

    def spy(*args: object, **options: object) -> JointSet:
        seen.append(real(*args, **options))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(gan_loop, "joint_set", spy)
    train_gan([cohort_path], tmp_path / "gan", config, seed=0)
    assert seen[0].sets[0].weights is not None
    assert seen[1].sets[0].weights is None  # validation images are as they are
    assert RunFolder.read(tmp_path / "gan").info["canaries"]["images"] == 8


@pytest.mark.parametrize(
    ("setting", "words"),
    [("train.canaries.count=3", "count 0, or 8 or more"), ("train.canaries.strength=2", "at most 0.5"),
     ("train.canaries.cuont=9", "did you mean count"), ("gan.canaries.count=3", "count 0, or 8 or more")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_said(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(StudyConfig, apply_overrides({}, [setting]))


def test_settings_reach_the_trainer_and_more_canaries_than_images_are_refused(
    make_cohort: Callable[..., Path], config: TrainConfig, tmp_path: Path
) -> None:
    asked = build(StudyConfig, apply_overrides({}, ["train.canaries.count=40", "train.canaries.repeats=5"]))
    assert asked.train.canaries == CanaryConfig(count=40, repeats=5)
    assert begun_with(asked)["train"]["canaries"]["count"] == 40
    assert not any("canaries" in begun_with(StudyConfig())[section] for section in ("train", "gan"))
    with pytest.raises(ConfigError, match="28 training images"):
        train([make_cohort("few")], tmp_path / "run", replace(config, canaries=asked.train.canaries), seed=0)
    assert not (tmp_path / "run").exists()
