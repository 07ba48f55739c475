"""One image traced from the source's digest to its pixels."""

import json
from dataclasses import replace

import pytest

from synthcohort.cli.main import main
from synthcohort.core.errors import InputError
from synthcohort.release import release
from synthcohort.release.trace import trace


@pytest.fixture
def bundle(cohort, scores, save, config, key, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    return tmp_path / "bundle"


def test_the_chain_runs_from_the_source_to_the_image(bundle, cohort, capsys):
    assert main(["trace", str(bundle), "images/dicom/000000/synthetic-0003.dcm"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["image"] == "synthetic-0003"
    links = [item["link"] for item in found["chain"]]
    assert links == ["source", "code", "configuration", "seeds", "model", "evaluation", "images", "image"]
    chain = {item["link"]: item for item in found["chain"]}
    assert chain["source"]["learned_from"] == ["sha256:" + "12" * 32]
    assert chain["model"]["digest"] == "sha256:" + "cd" * 32
    assert chain["code"]["bundle"]["source_digest"].startswith("sha256:")
    assert chain["images"]["synthetic_digest"] == cohort.digest
    assert chain["image"]["seed"] == "103"
    assert set(chain["image"]["files"]) == {
        "images/dicom/000000/synthetic-0003.dcm", "images/png/000000/synthetic-0003.png",
    }  # fmt: skip


def test_a_changed_or_missing_image_is_told(bundle, capsys):
    path = bundle / "images" / "png" / "000000" / "synthetic-0001.png"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    assert trace(bundle, "synthetic-0001").problems == ("images/png/000000/synthetic-0001.png was changed",)
    path.unlink()
    assert main(["trace", str(bundle), "synthetic-0001"]) == 1
    assert "missing" in json.loads(capsys.readouterr().out)["problems"][0]
    with pytest.raises(InputError, match="is not in the bundle"):
        trace(bundle, "synthetic-9999")
    with pytest.raises(InputError, match="is no bundle"):
        trace(bundle / "images", "synthetic-0001")


@pytest.mark.parametrize("formats", [("dicom",), ("png",), ("classes",)])
def test_signed_pixels_are_compared_whatever_the_format(volume_cohort, scores_of, save, config, key, tmp_path, formats):
    bundle = tmp_path / "bundle"
    scores = scores_of(volume_cohort)
    release(volume_cohort.path, save(scores), bundle, replace(config, formats=formats), key=key)
    assert trace(bundle, "synthetic-0002").problems == ()
    text = (bundle / "metadata.csv").read_text()
    digest = volume_cohort.column("pixels_digest")[2]
    (bundle / "metadata.csv").write_text(text.replace(digest, "sha256:" + "0" * 64))
    assert "do not give the digest" in trace(bundle, "synthetic-0002").problems[0]


def test_the_request_holds_what_a_second_drawing_needs(bundle):
    asked = trace(bundle, "synthetic-0000").request
    assert asked["model_digest"] == "sha256:" + "cd" * 32
    assert (asked["seed"], asked["count"]) == (7, 6)
    assert asked["config"] == {"sampling": {"steps": 12}}
