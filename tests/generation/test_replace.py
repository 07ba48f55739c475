"""Drawing again: the same image from its seed, and others in place of those that are too near."""

import json
from pathlib import Path

import numpy as np
import pytest

from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.files import read_json, write_artifact
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.generation import generate
from synthcohort.generation.again import Asked, draw_again
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.replace import read_names, replace

CONFIG = GenerateConfig(sampling=SamplingConfig(steps=2), tries=2)


@pytest.fixture(scope="module")
def drawn(noise_run, tmp_path_factory) -> Cohort:
    out = tmp_path_factory.mktemp("drawn") / "cohort"
    generate(noise_run, out, CONFIG, 5, count=9, balance="grade")
    return Cohort.open(out)


def test_any_image_is_drawn_again_bit_for_bit(noise_run, drawn):
    chosen = [8, 0, 3]
    asked = Asked.of(drawn.info["provenance"])
    seeds = drawn.column("seed")
    images = draw_again(noise_run, asked, [(drawn.image_ids[i], seeds[i]) for i in chosen])
    assert all(np.array_equal(image, drawn.image(i)) for image, i in zip(images, chosen, strict=True))


def test_another_model_or_an_unknown_image_is_refused(noise_run, drawn):
    made = drawn.info["provenance"]
    with pytest.raises(ArtifactError, match="which drew the images"):
        draw_again(noise_run, Asked.of({**made, "model_digest": "sha256:0"}), [("synthetic-000000", 1)])
    for name in ("synthetic-000009", "edit-000000", "synthetic-x"):
        with pytest.raises(InputError, match="was not drawn"):
            draw_again(noise_run, Asked.of(made), [(name, 1)])
    with pytest.raises(ArtifactError, match=r"lacks count, config\.sampling"):
        Asked.of({"model_digest": "sha256:0", "seed": 1, "config": {}})


def test_named_images_are_drawn_anew_and_the_others_stay(noise_run, drawn, tmp_path):
    names = ["synthetic-000002", "synthetic-000007"]
    result = replace(noise_run, drawn.path, names, tmp_path / "new", 2)
    new = Cohort.open(tmp_path / "new")
    assert result["count"] == len(new) == len(drawn)
    assert result["replaced"] == 2
    assert new.digest != drawn.digest
    assert new.verify() == []
    for i, name in enumerate(drawn.image_ids):
        same = np.array_equal(new.image(i), drawn.image(i))
        assert same != (name in names), name
        assert (new.record(i)["seed"] == drawn.record(i)["seed"]) != (name in names)
        assert new.record(i)["grade"] == drawn.record(i)["grade"], "the condition stays"
    asked = Asked.of(new.info["provenance"])
    again = draw_again(noise_run, asked, [(names[0], new.column("seed")[2])])[0]
    assert np.array_equal(again, new.image(2)), "a replaced image is traced like any other"


def test_each_round_has_seeds_of_its_own_and_is_repeatable(noise_run, drawn, tmp_path):
    names = ["synthetic-000001"]
    replace(noise_run, drawn.path, names, tmp_path / "a")
    replace(noise_run, drawn.path, names, tmp_path / "b")
    first, second = Cohort.open(tmp_path / "a"), Cohort.open(tmp_path / "b")
    assert first.digest == second.digest
    replace(noise_run, tmp_path / "a", names, tmp_path / "c")
    third = Cohort.open(tmp_path / "c")
    assert len({cohort.column("seed")[1] for cohort in (drawn, first, third)}) == 3
    assert [item["images"] for item in third.info["provenance"]["replaced"]] == [names, names]


def test_what_is_too_near_whatever_the_seed_is_left_out(noise_run, drawn, tmp_path, monkeypatch):
    from synthcohort.generation.screen import Screen

    monkeypatch.setattr(Screen, "near_copies", lambda self, images, types: np.full(len(images), 0.99))
    result = replace(noise_run, drawn.path, ["synthetic-000004"], tmp_path / "new", 1)
    new = Cohort.open(tmp_path / "new")
    assert (result["count"], result["replaced"], result["screened_out"]) == (8, 0, 2)
    assert "synthetic-000004" not in new.image_ids
    assert len(read_json(tmp_path / "new" / "screened.json")["images"]) == 2


def test_names_are_read_from_the_owners_list_or_from_text(tmp_path):
    near = {"synthetic_digest": "sha256:0", "images": [{"image_id": "synthetic-000003", "similarity": 0.9}]}
    write_artifact(tmp_path / "near.json", "near", 1, near)
    (tmp_path / "names.txt").write_text("synthetic-000003\n\n")
    assert read_names(tmp_path / "near.json") == read_names(tmp_path / "names.txt") == ["synthetic-000003"]


def test_requests_that_make_no_sense_are_errors(noise_run, drawn, tmp_path, capsys):
    with pytest.raises(InputError, match=r"is not in .* \(2 such names\)"):
        replace(noise_run, drawn.path, ["synthetic-000099", "x"], tmp_path / "new")
    with pytest.raises(InputError, match="names no image"):
        replace(noise_run, drawn.path, [], tmp_path / "new")
    (tmp_path / "names.txt").write_text("synthetic-000003\n")
    asked = ["generate", str(noise_run), "--replace", str(tmp_path / "names.txt"), "--out", str(tmp_path / "new")]
    assert main(asked) == 2
    assert main([*asked, "--of", str(drawn.path), "--count", "3"]) == 2
    assert "given with --count" in capsys.readouterr().err


def test_the_command_line_refills(noise_run, drawn, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("synthetic-000003\n")
    asked = ["generate", str(noise_run), "--of", str(drawn.path), "--replace", str(tmp_path / "names.txt")]
    assert main([*asked, "--out", str(tmp_path / "new")]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] == 1
    assert Path(tmp_path / "new" / "cohort.json").is_file()
