"""A diffusion model on latents: trained, resumed bit by bit, stored with its decoder, drawn from, edited, refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ArtifactError, ConfigError
from synthcohort.core.run import RunFolder
from synthcohort.generation.edit import EditConfig, Subject, change, redraw
from synthcohort.models.autoencoder import AutoencoderConfig
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.generator import Generator, load_generator
from synthcohort.training import train
from synthcohort.training.autoencoder import train_autoencoder
from synthcohort.training.autoencoder_config import AutoencoderTraining
from synthcohort.training.config import TrainConfig
from synthcohort.training.state import TrainingState

TINY = AutoencoderConfig(patch=2, channels=(8,), encoder_blocks=(1,), decoder_blocks=(1,), latent_channels=4)
SETTINGS = AutoencoderTraining(images=32, size=16, network=TINY, batch=8, crop=8, report_images=4)
LONG = "a knee " + "with and without " * 40 + "osteophytes"


@pytest.fixture(scope="module")
def autoencoder(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("autoencoder") / "run"
    train_autoencoder([cohort_path], out, SETTINGS, seed=1)
    return out


@pytest.fixture
def latent(config: TrainConfig, autoencoder: Path) -> TrainConfig:
    return dataclasses.replace(config, latent=autoencoder)


@pytest.fixture(scope="module")
def generator(cohort_path: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    out = tmp_path_factory.mktemp("latent") / "run"
    network = NetworkConfig(
        channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16
    )
    config = TrainConfig(
        images=320, size=16, network=network, batch=16, validation_images=0, watch_images=0, latent=autoencoder
    )
    train([cohort_path], out, config, seed=0)
    return load_generator(out)


def test_trained_resumed_and_drawn(
    cohort_path: Path, latent: TrainConfig, autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train([cohort_path], tmp_path / "whole", latent, seed=1)
    update = TrainingState.update

    def killed(self: TrainingState, images: Tensor, *rest: object) -> Tensor:
        assert images.shape[1:] == (4, 8, 8)
        if self.step == 5:
            raise KeyboardInterrupt
        return update(self, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train([cohort_path], tmp_path / "cut", latent, seed=1)
    monkeypatch.undo()
    moved = dataclasses.replace(latent, latent=Path(shutil.copytree(autoencoder, tmp_path / "elsewhere")))
    assert train([cohort_path], tmp_path / "cut", moved, seed=1)["resumed"]  # the same one, wherever it lies
    for name in ("model/weights.safetensors", "model/model.json", "model/autoencoder/weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    weights = (autoencoder / "autoencoder" / "weights.safetensors").read_bytes()
    assert (tmp_path / "whole" / "model" / "autoencoder" / "weights.safetensors").read_bytes() == weights
    own = json.loads((autoencoder / "reconstruction.json").read_text())["images"]
    assert RunFolder.read(tmp_path / "whole").info["reconstruction"] == own
    assert RunFolder.read(autoencoder).info["reconstruction"] == own
    assert not (tmp_path / "whole" / "data").exists()
    watched = [line for line in RunFolder.read(tmp_path / "whole").read_log() if line["event"] == "watch"]
    assert all(line["drawn"] == 32 and -1 <= line["largest_similarity"] <= 1 for line in watched)  # of pixels

    generator = load_generator(tmp_path / "whole")
    assert generator.spec.kind == "latent"
    assert generator.spec.sigma_data == pytest.approx(1, abs=0.1)
    images = list(generator.draw([{"grade": n % 3} for n in range(3)], [1, 2, 3]))
    assert all(image.shape == (16, 16) and image.dtype == np.uint8 for image in images)
    assert np.array_equal(next(generator.draw([{"grade": 1}], [2])), images[1])  # whatever else is drawn
    unit = generator.to_unit(images[0], generator.spec.image)
    assert unit.shape == (4, 8, 8)
    back = generator.from_unit(unit, generator.spec.image)
    assert np.abs(back.astype(int) - images[0]).mean() < 30


def test_commands_train_both(cohort_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").write_text("""
[autoencoder]
images = 32
size = 16
batch = 8
crop = 8
report_images = 4
network = {patch = 2, channels = [8], encoder_blocks = [1], decoder_blocks = [1], latent_channels = 4}
[train]
images = 16
size = 16
batch = 8
watch_images = 0
validation_images = 0
network = {channels = [8, 16], encoder_blocks = [1, 1], decoder_blocks = [1, 1], attention_levels = [1]}
""")
    space, run = tmp_path / "space", tmp_path / "run"
    given = ["train", str(cohort_path), "--config", str(tmp_path / "study.toml")]
    assert main([*given, "--autoencoder", "--out", str(space)]) == 0
    assert json.loads(capsys.readouterr().out)["images_seen"] == 32
    assert main([*given, "--autoencoder", "--out", str(space)]) == 0
    assert json.loads(capsys.readouterr().out)["resumed"]
    assert main([*given, "--out", str(run), "--set", f"train.latent={space}"]) == 0
    assert load_generator(run).spec.kind == "latent"
    assert main([*given, "--autoencoder", "--from", str(run), "--out", str(tmp_path / "x")]) == 2
    assert "--autoencoder and --from: given together" in capsys.readouterr().err


def test_tuning_goes_on_in_the_space_of_the_other_run(
    make_cohort: Callable[..., Path], generator: Generator, config: TrainConfig, autoencoder: Path, tmp_path: Path
) -> None:
    other = make_cohort("other", count=60)
    short = dataclasses.replace(config, images=8, watch_images=0, validation_images=0)
    train([other], tmp_path / "start", dataclasses.replace(short, latent=autoencoder))
    train([other], tmp_path / "tuned", short, 5, tmp_path / "start")
    tuned = load_generator(tmp_path / "tuned")
    assert tuned.spec.latent == generator.spec.latent
    # the autoencoder was trained on other patients: what it loses of these is measured anew
    own = RunFolder.read(tmp_path / "tuned").info["reconstruction"]
    assert own != RunFolder.read(autoencoder).info["reconstruction"]
    assert own["discs"]["count"] == len(Cohort.open(other).select(split="validation"))
    assert (tmp_path / "tuned" / "owner" / "reconstructions.png").exists()
    train([other], tmp_path / "pixels", short)
    with pytest.raises(ConfigError, match="the run to start from is a model of pixels"):
        train([other], tmp_path / "a", dataclasses.replace(short, latent=autoencoder), 0, tmp_path / "pixels")
    assert not (tmp_path / "a").exists()


def write_colors(path: Path) -> Path:
    """Color images of another shape, with captions that are too long for the text encoder."""
    writer = CohortWriter(path, path.name, "real", [LabelColumn("dx", "nominal", ("a", "b"))], {}, "fingerprint")
    random = np.random.default_rng(0)
    for n in range(24):
        split = ("train", "train", "validation", "test")[n % 4]
        image = random.integers(0, 120, (8, 16, 3)).astype(np.uint8)
        image[:, :, n % 2] += 120
        own = {"image_id": f"e{n:03d}", "patient_id": f"q{n:03d}", "group_id": f"q{n:03d}", "split": split}
        writer.add(image, own | {"dx": "ab"[n % 2], "modality": "OP", "bits_stored": 8, "caption": LONG})
    writer.finish()
    return path


def test_types_of_several_shapes_and_colors_and_text(
    cohort_path: Path, config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohorts = [cohort_path, write_colors(tmp_path / "colors")]
    train_autoencoder(cohorts, tmp_path / "space", dataclasses.replace(SETTINGS, size=None))
    settings = dataclasses.replace(
        config, latent=tmp_path / "space", size=None, text="packaged", images=32, watch_images=8
    )
    train(cohorts, tmp_path / "run", settings, seed=0)
    found = "warning: captions: 1 of 1 are longer than the text encoder reads"
    assert capsys.readouterr().err.count(found) == 1
    made = load_generator(tmp_path / "run")
    assert (made.spec.channels, made.spec.size) == (4, (8, 8))
    conditions: list[dict[str, Any]] = [{"image_type": "discs", "grade": 1}, {"image_type": "colors", "prompt": LONG}]
    conditions *= 2
    images = list(made.draw(conditions, [1, 2, 3, 4]))
    assert [image.shape for image in images] == [(16, 16), (8, 16, 3)] * 2
    said = capsys.readouterr().err
    assert said.count("warning: prompts: 1 of 1 are longer") == 1  # once for a prompt, and without it
    assert "osteophytes" not in said
    assert np.array_equal(next(made.draw(conditions[1:2], [2])), images[1])
    gray = tmp_path / "gray"
    train_autoencoder([cohort_path], gray, dataclasses.replace(SETTINGS, report_images=0))
    with pytest.raises(ConfigError, match="an autoencoder of gray images, for color ones"):
        train(cohorts, tmp_path / "a", dataclasses.replace(settings, latent=gray))


def test_edits_hold_what_they_do_not_change(cohort_path: Path, generator: Generator) -> None:
    view = Cohort.open(cohort_path).select(split="test")
    pixels, grade = view.image(0), view.column("grade")[0]
    subject = Subject(generator, {"grade": grade}, pixels)
    lost = generator.from_unit(subject.unit[0], subject.spec)
    assert not np.array_equal(lost, pixels)  # the autoencoder alone would change the image
    same, other = change(subject, [{"grade": grade}, {"grade": (grade + 1) % 3}], EditConfig(refine=0))
    assert np.array_equal(same.image, pixels)
    assert not np.array_equal(other.image, pixels)
    mask = np.zeros((16, 16), bool)
    mask[3:9, 5:12] = True  # not on the grid of the latents
    drawn = redraw(subject, None, EditConfig(iterations=1), mask)
    assert (drawn.image[mask] != pixels[mask]).mean() > 0.5
    for edit in (drawn, change(subject, [{"grade": (grade + 1) % 3}], EditConfig(refine=0), mask)[0]):
        assert edit.mask is not None
        assert np.array_equal(edit.mask > 0, mask)
        assert np.array_equal(edit.image[~mask], pixels[~mask])
    whole = redraw(subject, None, EditConfig(strength=0.5))
    assert whole.image.shape == pixels.shape
    local = change(subject, [{"grade": (grade + 1) % 3}], EditConfig(refine=0, local=True))[0]
    assert local.mask is not None
    assert local.mask.shape == pixels.shape
    assert np.array_equal(local.image[local.mask == 0], pixels[local.mask == 0])


def test_refusals(cohort_path: Path, latent: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="augment"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, augment=0.1))
    with pytest.raises(ArtifactError, match="no run"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, latent=tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="multiples of 2"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, size=17))
    assert not (tmp_path / "a").exists()
    train([cohort_path], tmp_path / "b", latent)
    file = tmp_path / "b" / "model" / "autoencoder" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="not the file"):
        load_generator(tmp_path / "b")
    run = RunFolder.read(tmp_path / "b")
    run.update(done=False)
    with pytest.raises(ArtifactError, match="its training is not finished"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, latent=tmp_path / "b"))
    unfinished = dataclasses.replace(latent, latent=None)
    train([cohort_path], tmp_path / "c", unfinished)
    with pytest.raises(ArtifactError, match="holds no autoencoder"):
        train([cohort_path], tmp_path / "a", dataclasses.replace(latent, latent=tmp_path / "c"))
