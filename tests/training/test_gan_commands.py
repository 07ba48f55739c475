"""A GAN through the commands: train, generate, edit; nobody downstream knows which engine made an image."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError
from synthcohort.models.checkpoint import load_model
from synthcohort.models.gan_generator import GanGenerator
from synthcohort.models.generator import load_generator

SMALL = [
    "gan.size=16", "gan.images=32", "gan.batch=8", "gan.looks=1", "gan.guard_images=0", "gan.watch_images=0",
    "gan.network.latent=4", "gan.network.channels=8", "gan.network.most=16", "gan.network.embedding_width=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gan") / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert main(["train", str(cohort_path), "--gan", "--out", str(out), *settings]) == 0
    return out


def test_the_run_is_a_generator_like_any_other(run: Path) -> None:
    generator = load_generator(run)
    assert isinstance(generator, GanGenerator)
    assert generator.labels.keys() == {"grade"}
    assert next(generator.draw([{"grade": 1}], [0])).shape == (16, 16)
    with pytest.raises(ArtifactError, match="gan"):
        load_model(run / "model")


def test_generate_makes_the_same_cohort_twice(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        asked = ["--count", "12", "--where", "grade=2", "--set", "generate.screen=false"]
        assert main(["generate", str(run), *asked, "--out", str(tmp_path / name)]) == 0
    a, b = Cohort.open(tmp_path / "a"), Cohort.open(tmp_path / "b")
    assert all(np.array_equal(a.image(i), b.image(i)) for i in range(12))
    assert a.column("grade") == [2] * 12
    assert "adversarial" in json.loads((tmp_path / "a" / "cohort.json").read_text())["provenance"]["method"]


def test_a_sweep_of_a_drawn_image(run: Path, tmp_path: Path) -> None:
    asked = ["--seed", "3", "--from", "grade=0", "--sweep", "grade", "--set", "generate.screen=false"]
    assert main(["edit", str(run), *asked, "--out", str(tmp_path / "sweep")]) == 0
    cohort = Cohort.open(tmp_path / "sweep")
    assert cohort.column("grade") == [0, 1, 2]
    expected = next(load_generator(run).draw([{"grade": 0}], [3]))
    assert np.array_equal(cohort.image(0), expected)


def test_a_real_image_is_projected_for_its_owner_and_a_sweep_has_steps_between(
    run: Path, cohort_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(Cohort.open(cohort_path).image(0)).save(tmp_path / "own.png")
    asked = ["--image", str(tmp_path / "own.png"), "--from", "grade=0", "--project"]
    assert main(["edit", str(run), *asked, "--out", str(tmp_path / "near")]) == 0
    known = json.loads(capsys.readouterr().out)["projection"]
    assert known["error"] <= known["error_of_the_nearest_start"]
    near = Cohort.open(tmp_path / "near")
    assert near.column("derived_from_real") == [True]
    assert not (tmp_path / "near" / "strip.png").exists()  # it shows the real image: the owner's folder holds it
    assert (tmp_path / "near" / "owner" / "strip.png").exists()
    asked = ["--seed", "3", "--from", "grade=0", "--sweep", "grade", "--between", "1", "--set", "generate.screen=false"]
    assert main(["edit", str(run), *asked, "--out", str(tmp_path / "strip")]) == 0
    assert len(Cohort.open(tmp_path / "strip")) == 5


def test_what_does_not_fit_together_is_said(
    run: Path, cohort_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["train", str(cohort_path), "--gan", "--from", str(run), "--out", str(tmp_path / "x")]
    assert main(wrong) == 2
    assert "--gan and --from: given together" in capsys.readouterr().err
    wrong = ["edit", str(run), "--seed", "1", "--from", "grade=0", "--to", "grade=1", "--local"]
    assert main([*wrong, "--out", str(tmp_path / "y")]) == 2
    assert "--local: given for a GAN" in capsys.readouterr().err
    assert main(["train", str(cohort_path), "--from", str(run), "--out", str(tmp_path / "z")]) == 2
    assert "is of kind 'gan'" in capsys.readouterr().err
