"""Edits from the command line on a tiny run: what is written, marked, kept private, screened and refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError, Refused
from synthcohort.core.policy import load_policy
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.edit import EditConfig
from synthcohort.generation.edit_cohort import EditRequest, edit
from synthcohort.generation.screen import Screen
from synthcohort.models import load_generator
from synthcohort.models.checkpoint import load_model, save_model
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.decision import decide
from synthcohort.training import train
from synthcohort.training.config import TrainConfig

CONFIG = GenerateConfig(sampling=SamplingConfig(steps=4))
FEW = ["--set", "generate.sampling.steps=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, whose weights are then moved away from zero so that conditions matter."""
    folder = tmp_path_factory.mktemp("edit")
    labels = [LabelColumn("grade", "ordinal", (0, 1, 2)), LabelColumn("side", "nominal", ("L", "R"))]
    writer = CohortWriter(folder / "cohort", "noise", "real", labels, {}, "fingerprint")
    random = np.random.default_rng(0)
    for n in range(30):
        name = f"i{n:02d}"
        split = "train" if n < 24 else "validation"
        writer.add(
            random.integers(0, 256, (24, 24)).astype(np.uint8),
            {"image_id": name, "patient_id": name, "group_id": name, "grade": n % 3, "side": "LR"[n % 2],
             "split": split, "modality": "DX"},
        )  # fmt: skip
    writer.finish()
    network = NetworkConfig(
        channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=16
    )
    config = TrainConfig(images=16, batch=8, size=24, network=network, validation_images=0)
    train([folder / "cohort"], folder / "run", config, 0)
    model = folder / "run" / "model"
    denoiser, spec, content = load_model(model)
    noise = torch.Generator().manual_seed(0)
    weights = {k: v + 0.1 * torch.randn(v.shape, generator=noise) for k, v in denoiser.state_dict().items()}
    save_model(model, spec, weights, content["facts"])
    return folder / "run"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A "real" image, whose name must appear nowhere."""
    rows = np.linspace(40, 220, 24)[:, None] + np.random.default_rng(3).normal(0, 8, (24, 24))
    Image.fromarray(rows.clip(0, 255).astype(np.uint8)).save(tmp_path / "Invented Person.png")
    return tmp_path / "Invented Person.png"


def asked(run: Path, out: Path, *arguments: str, capsys: Any) -> dict[str, Any]:
    assert main(["edit", str(run), *arguments, *FEW, "--out", str(out)]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_edits_of_a_drawn_image_are_a_screened_cohort(run: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    result = asked(run, out, "--seed", "7", "--from", "grade=0", "--to", "grade=2", capsys=capsys)
    assert result == {"cohort": out.as_posix(), "count": 1, "screened_out": 0}
    cohort = Cohort.open(out)
    assert cohort.verify() == []
    record = cohort.record(0)
    assert (record["grade"], record["seed"], record["derived_from_real"]) == (2, 7, False)
    assert record["modality"] == "DX"
    assert cohort.info["screened"] is True
    assert cohort.info["private"] == []
    assert "strip.png" in cohort.info["files"]
    assert cohort.info["provenance"]["edit"]["to"] == {"grade": 2}
    again = asked(run, tmp_path / "again", "--seed", "7", "--from", "grade=0", "--to", "grade=2", capsys=capsys)
    assert again["count"] == 1
    assert Cohort.open(tmp_path / "again").digest == cohort.digest


def test_edits_of_a_real_image_are_marked_private_and_never_released(
    run: Path, tmp_path: Path, picture: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    result = asked(run, out, "--image", str(picture), "--from", "grade=1", "--sweep", "grade", capsys=capsys)
    assert result["count"] == 2  # the value it has would give the real image back
    cohort = Cohort.open(out)
    assert cohort.column("derived_from_real") == [True, True]
    assert cohort.column("grade") == [0, 2]
    assert cohort.column("seed") == [None, None]
    assert cohort.info["screened"] is False
    assert cohort.info["private"] == ["owner/strip.png"]
    assert (out / "owner" / "strip.png").is_file()
    assert list(out.rglob("*.png")) == [out / "owner" / "strip.png"]
    assert all("Invented" not in f.read_bytes().decode("latin-1") for f in out.rglob("*") if f.is_file())
    rules = {rule.name: rule.passed for rule in decide({}, cohort, load_policy(), ReleaseConfig()).rules}
    assert rules["not_derived_from_real"] is False
    assert rules["screened"] is False
    (out / "owner" / "strip.png").unlink()  # the owner's alone: may be taken away
    assert Cohort.open(out).verify() == []


def test_masks_variations_and_strength(run: Path, tmp_path: Path, picture: Path, capsys: Any) -> None:
    mask = np.zeros((24, 24), np.uint8)
    mask[6:18, 6:18] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    original = np.asarray(Image.open(picture))
    source = ["--image", str(picture), "--mask", str(tmp_path / "mask.png")]
    asked(run, tmp_path / "redrawn", *source, capsys=capsys)
    redrawn = Cohort.open(tmp_path / "redrawn").image(0)
    assert np.array_equal(redrawn[mask == 0], original[mask == 0])
    assert not np.array_equal(redrawn, original)
    for number in ("0", "1"):
        asked(run, tmp_path / number, *source, "--variation", number, "--strength", "0.9", capsys=capsys)
    zero, one = (Cohort.open(tmp_path / number).image(0) for number in ("0", "1"))
    assert not np.array_equal(zero, one)
    assert np.array_equal(one[mask == 0], original[mask == 0])


def test_near_copies_are_left_out_or_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = EditRequest(seed=7, old={"grade": 0}, sweep="grade")
    calls: list[list[float]] = [[np.nan, np.nan, 0.97, np.nan], [0.99, np.nan, np.nan, np.nan], [np.nan, 0.9, 0.9, 0.9]]
    monkeypatch.setattr(Screen, "near_copies", lambda self, images, types: np.array(calls.pop(0)))
    result = edit(run, tmp_path / "out", CONFIG, request)
    assert (result["count"], result["screened_out"]) == (2, 1)
    cohort = Cohort.open(tmp_path / "out")
    assert cohort.image_ids == ["edit-000000", "edit-000002"]
    assert cohort.column("grade") == [0, 2]
    screened = json.loads((tmp_path / "out" / "screened.json").read_text())
    assert screened["images"] == [{"image_id": "edit-000001", "replaced": False, "seed": 7, "similarity": 0.97}]
    for words in ("draws a near copy", "every edit is a near copy"):
        with pytest.raises(Refused, match=words):
            edit(run, tmp_path / "none", CONFIG, request)
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "grade=1"], ["--image and --seed: not given"]),
        (["--seed", "1", "--image", "x.png", "--to", "grade=1"], ["given together"]),
        (["--seed", "1"], ["nothing says what is to change", "--variation"]),
        (["--seed", "-1", "--variation", "-2"], ["--seed: -1", "--variation: -2"]),
        (["--seed", "1", "--from", "grade=7", "--to", "color=2"], ["unknown value '7'", "0, 1, 2", "'color'"]),
        (["--seed", "1", "--sweep", "side"], ["'side' is nominal", "allowed: grade"]),
        (["--seed", "1", "--sweep", "grade", "--to", "grade=1"], ["alone or with --mask"]),
        (["--seed", "1", "--from", "grade=1", "--to", "grade=1"], ["nothing would change"]),
        (["--seed", "1", "--to", "grade=1", "--strength", "0"], ["strength: 0.0", "more than 0, up to 1"]),
        (["--seed", "1", "--to", "grade=1", "--local", "--variation", "1"], ["--local"]),
        (["--seed", "1", "--to", "grade"], ["column=value"]),
        (["--image", "absent.png", "--to", "grade=1"], ["no such file"]),
        (["--seed", "1", "--to", "grade=1", "--mask", "absent.png"], ["no such file"]),
        (["--seed", "1", "--prompt", "a knee"], ["without text"]),
    ],
)
def test_wrong_requests_are_said_and_leave_nothing(
    run: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["edit", str(run), *arguments, *FEW, "--out", "out"]) == 2
    captured = capsys.readouterr()
    assert all(line.startswith("error: ") for line in captured.err.strip().splitlines())
    assert all(word in captured.err for word in words), captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_unfinished_runs_and_taken_places_are_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["edit", str(tmp_path / "absent"), "--seed", "1", "--to", "grade=1", "--out", str(tmp_path / "o")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    assert main(["edit", str(run), "--seed", "1", "--to", "grade=1", "--out", str(tmp_path / "taken")]) == 2
    assert "already exists" in capsys.readouterr().err


def test_an_edit_of_a_real_image_that_changes_nothing_is_not_written(
    run: Path, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthcohort.generation import edit_cohort

    def unchanged(subject: Any, *rest: Any) -> list[Any]:
        return [edit_cohort.Edit(subject.pixels, subject.pixels, dict(subject.said))]

    monkeypatch.setattr(edit_cohort, "change", unchanged)
    with pytest.raises(InputError, match="changed nothing"):
        edit(run, tmp_path / "out", CONFIG, EditRequest(image=picture, to={"grade": 1}), EditConfig())
    assert not (tmp_path / "out").exists()


def test_the_original_is_the_image_that_generate_draws(run: Path, tmp_path: Path) -> None:
    generator = load_generator(run, CONFIG.sampling)
    edit(run, tmp_path / "out", CONFIG, EditRequest(seed=11, old={"grade": 1}, sweep="grade"))
    cohort = Cohort.open(tmp_path / "out")
    assert np.array_equal(cohort.image(1), next(generator.draw([{"grade": 1}], [11])))
