"""Generation end to end on a tiny run: repeatable, resumable, screened."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError, Refused
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.generation import generate
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.screen import Screen, ScreenedOut
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.training import train
from synthcohort.training.config import TrainConfig

CONFIG = GenerateConfig(sampling=SamplingConfig(steps=3), tries=3)
COUNT = 150  # two chunks


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained for two steps: its images are noise, which is all that is needed here."""
    folder = tmp_path_factory.mktemp("run")
    writer = CohortWriter(
        folder / "cohort", "noise", "real", [LabelColumn("grade", "ordinal", (0, 1, 2))], {}, "fingerprint"
    )
    random = np.random.default_rng(0)
    for n in range(36):
        writer.add(
            random.integers(0, 4096, (24, 24)).astype(np.uint16),
            {
                "image_id": f"i{n:02d}",
                "patient_id": f"p{n:02d}",
                "group_id": f"p{n:02d}",
                "grade": n % 4 % 3,
                "split": "train" if n < 24 else "validation",
                "bits_stored": 12,
                "modality": "DX",
                "body_part": "KNEE",
            },
        )
    writer.finish()
    network = NetworkConfig(
        channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(), embedding_width=16
    )
    train(
        [folder / "cohort"],
        folder / "run",
        TrainConfig(images=16, batch=8, size=24, network=network, validation_images=0),
        0,
    )
    return folder / "run"


def pixels(cohort: Path) -> np.ndarray:
    return Cohort.open(cohort).images()


def test_cohort_holds_what_was_asked(run: Path, tmp_path: Path) -> None:
    result = generate(run, tmp_path / "out", CONFIG, seed=3, count=40)
    cohort = Cohort.open(tmp_path / "out")
    assert result == {"cohort": (tmp_path / "out").as_posix(), "count": 40, "screened_out": 0}
    assert cohort.origin == "synthetic"
    assert cohort.info["screened"] is True
    assert cohort.image_ids[0] == "synthetic-000000"
    assert cohort.column("patient_id") == cohort.image_ids
    assert len(set(cohort.column("seed"))) == 40
    assert Counter(cohort.column("grade")) == {0: 20, 1: 10, 2: 10}  # the training proportions
    assert set(cohort.column("split")) == {None}
    assert set(cohort.column("derived_from_real")) == {False}
    assert set(cohort.column("modality")) == {"DX"}
    assert set(cohort.column("bits_stored")) == {12}
    assert pixels(tmp_path / "out").dtype == np.uint16
    assert int(pixels(tmp_path / "out").max()) <= 4095
    assert str(tmp_path) not in json.dumps(cohort.info)
    assert json.loads((tmp_path / "out" / "screened.json").read_text())["images"] == []


def test_repeat_and_kill_end_in_the_same_bits(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(run, tmp_path / "whole", CONFIG, seed=3, count=COUNT)
    flush = CohortWriter.flush
    flushed: list[int] = []

    def killed(self: CohortWriter) -> None:
        flush(self)
        flushed.append(1)
        if len(flushed) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(CohortWriter, "flush", killed)
    with pytest.raises(KeyboardInterrupt):
        generate(run, tmp_path / "cut", CONFIG, seed=3, count=COUNT)
    monkeypatch.undo()
    assert not (tmp_path / "cut").exists()
    generate(run, tmp_path / "cut", CONFIG, seed=3, count=COUNT)
    files = sorted(f.relative_to(tmp_path / "whole") for f in (tmp_path / "whole").rglob("*") if f.is_file())
    assert files == sorted(f.relative_to(tmp_path / "cut") for f in (tmp_path / "cut").rglob("*") if f.is_file())
    assert all((tmp_path / "whole" / f).read_bytes() == (tmp_path / "cut" / f).read_bytes() for f in files)


def test_seed_decides_the_images_and_count_does_not(run: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        generate(run, tmp_path / name, CONFIG, seed=seed, count=8, where={"grade": 1})
    generate(run, tmp_path / "longer", CONFIG, seed=1, count=40, where={"grade": 1})
    assert not np.array_equal(pixels(tmp_path / "a"), pixels(tmp_path / "b"))
    assert np.array_equal(pixels(tmp_path / "a"), pixels(tmp_path / "longer")[:8])


def test_where_and_balance(run: Path, tmp_path: Path) -> None:
    generate(run, tmp_path / "one", CONFIG, count=6, where={"grade": "2"})
    assert set(Cohort.open(tmp_path / "one").column("grade")) == {2}
    generate(run, tmp_path / "even", CONFIG, count=9, balance="grade")
    assert Counter(Cohort.open(tmp_path / "even").column("grade")) == {0: 3, 1: 3, 2: 3}
    with pytest.raises(InputError, match="0, 1, 2"):
        generate(run, tmp_path / "wrong", CONFIG, count=6, where={"grade": 7})
    assert not list(tmp_path.glob("wrong*"))


def test_near_copies_are_replaced_listed_and_never_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(run, tmp_path / "plain", CONFIG, seed=3, count=COUNT)
    planted = Cohort.open(tmp_path / "plain")
    seeds, images = planted.column("seed"), [planted.image(i) for i in range(COUNT)]

    def near_copies(self: Screen, drawn: Any, types: Any) -> np.ndarray:
        """Images 5 and 140 of the plain cohort are called copies."""
        bad = [images[5], images[140]]
        return np.array([0.97 if any(np.array_equal(image, b) for b in bad) else np.nan for image in drawn])

    monkeypatch.setattr(Screen, "near_copies", near_copies)
    result = generate(run, tmp_path / "out", CONFIG, seed=3, count=COUNT)
    assert result["count"] == COUNT
    assert result["screened_out"] == 2
    screened = json.loads((tmp_path / "out" / "screened.json").read_text())
    assert screened["drawn"] == COUNT + 2
    assert [ScreenedOut(**item) for item in screened["images"]] == [
        ScreenedOut(f"synthetic-{n:06d}", seeds[n], 0.97, True) for n in (5, 140)
    ]
    cohort = Cohort.open(tmp_path / "out")
    changed = [n for n in range(COUNT) if not np.array_equal(cohort.image(n), images[n])]
    assert changed == [5, 140]
    assert cohort.column("grade") == planted.column("grade")
    assert cohort.column("seed")[5] != seeds[5]


def test_a_generator_of_copies_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Screen, "near_copies", lambda self, drawn, types: np.full(len(drawn), 0.99))
    with pytest.raises(Refused, match="near copies"):
        generate(run, tmp_path / "out", CONFIG, count=8)
    assert not list(tmp_path.glob("out*"))


def test_unscreened_says_so(run: Path, tmp_path: Path) -> None:
    generate(run, tmp_path / "out", GenerateConfig(sampling=SamplingConfig(steps=2), screen=False), count=4)
    assert Cohort.open(tmp_path / "out").info["screened"] is False
