"""`train --auto`: the recommendation is carried out, kept, said, and overruled by what is given."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthcohort.cli.main import main
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.files import read_json
from synthcohort.core.run import RunFolder
from synthcohort.imaging.canaries import CanaryConfig
from synthcohort.training.auto import choose
from synthcohort.training.auto_train import recommendation, said, settled, train_auto
from synthcohort.training.config import TrainConfig
from synthcohort.training.gan_config import GanConfig

TINY = [
    "gan.images=16", "gan.batch=8", "gan.looks=1", "gan.guard_images=0", "gan.watch_images=0", "gan.network.latent=4",
    "gan.network.channels=8", "gan.network.most=16", "gan.network.embedding_width=8",
]  # fmt: skip
MANY: dict[str, Any] = {"count": 180, "size": 32}


@pytest.fixture
def cohort(make_cohort: Callable[..., Path]) -> Path:
    return make_cohort("discs", **MANY)


def recommended(cohort: Path, out: Path, **wish: Any) -> Any:
    return recommendation([cohort], out, TrainConfig(), GanConfig(), **wish)


def test_few_images_train_a_gan_and_the_same_command_goes_on(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["train", str(cohort), "--auto", "--minutes", "5", "--out", str(tmp_path / "run"), *settings]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "auto: a GAN of 32 x 32 pixels, with gan.images as set, because" in printed.err
    assert "memorizes less" in printed.err
    assert "--diffusion" in printed.err
    assert '"engine": "gan"' in printed.out
    run = RunFolder.read(tmp_path / "run")
    assert run.info["kind"] == "gan"
    assert (run.info["config"]["gan"]["size"], run.info["config"]["gan"]["images"]) == ([32, 32], 16)
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)  # on another machine
    assert main(command) == 0
    assert '"resumed": true' in capsys.readouterr().out
    assert main([*command[:4], "7", *command[5:]]) == 2
    assert "was begun with other minutes" in capsys.readouterr().err


def test_options_overrule(cohort: Path, tmp_path: Path) -> None:
    assert recommended(cohort, tmp_path / "a").engine == "gan"
    assert recommended(cohort, tmp_path / "b", engine="diffusion").engine == "diffusion"
    sized = recommendation([cohort], tmp_path / "c", TrainConfig(), GanConfig(size=16), given=["gan.size"])
    assert sized.size == (16, 16)
    assert sized.reasons[:2] == (recommended(cohort, tmp_path / "d").reasons[0], "16 x 16 pixels: as asked")
    other = recommendation([cohort], tmp_path / "e", TrainConfig(size=16), GanConfig(), given=["train.size"])
    assert other.size == (32, 32)  # said of the engine that was not chosen


def test_minutes_come_from_the_option_the_settings_or_the_default(cohort: Path, tmp_path: Path) -> None:
    config = GanConfig(minutes=3.0)
    named = recommendation([cohort], tmp_path / "a", TrainConfig(), config, given=["gan.minutes"])
    assert named.minutes <= 3
    recommended(cohort, tmp_path / "b")
    assert read_json(tmp_path / "b" / "auto.json")["asked"]["minutes"] == 20
    with pytest.raises(ConfigError, match=r"beside gan\.minutes"):
        recommendation([cohort], tmp_path / "c", TrainConfig(), config, minutes=2, given=["gan.minutes"])
    with pytest.raises(ConfigError, match="more than 0"):
        recommended(cohort, tmp_path / "d", minutes=0)
    assert not (tmp_path / "d").exists()


def test_too_few_images_are_refused_with_the_way_out(cohort_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --auto"):
        recommended(cohort_path, tmp_path / "run")


def test_the_budget_is_in_minutes_unless_far_fewer_images_are_wanted() -> None:
    facts: dict[str, Any] = {"images": 5_000, "channels": 1, "size": (64, 64), "cores": 2}
    short, long = choose(minutes=20, **facts), choose(minutes=6_000, **facts)
    config = TrainConfig()
    assert settled(config, short, ()) == dataclasses.replace(config, size=(64, 64), minutes=short.minutes)
    assert settled(config, long, ()) == dataclasses.replace(config, size=(64, 64), images=long.images)
    given = ["train.size", "train.images"]
    assert settled(config, long, given) == config
    assert "with train.images as set" in said(long, given)[0]
    assert f"about {short.minutes:g} minutes" in said(short)[0]


def test_what_does_not_go_with_auto(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["train", str(cohort), "--out", str(tmp_path / "x")]
    for wrong, words in (
        (["--auto", "--from", "run"], "--from and --auto: given together"),
        (["--gan", "--diffusion"], "--gan and --diffusion: given together"),
        (["--auto", "--autoencoder"], "--autoencoder and --auto: given together"),
        (["--gan", "--minutes", "3"], "use --auto, or --set gan.minutes=…"),
    ):
        assert main([*start, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_canaries_of_the_other_engine_are_not_lost_in_silence(cohort: Path, tmp_path: Path) -> None:
    marked = TrainConfig(canaries=CanaryConfig(count=8))
    with pytest.raises(ConfigError, match=r"train\.canaries.*--auto chose.*gan\.canaries too"):
        train_auto([cohort], tmp_path / "run", marked, GanConfig(), minutes=5)
    assert not (tmp_path / "run" / "run.json").exists()
