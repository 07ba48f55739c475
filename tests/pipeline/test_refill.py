"""Images too near to a patient are drawn anew until the audit holds: on a run whose first draw holds planted copies.

The copies are training images put into the cohort after it was drawn; everything else is as always: the evaluation
finds them, the release refuses, others are drawn, and only then is there a bundle.
"""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom

from synthcohort import generation
from synthcohort.cli.main import main
from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, ConfigError, InputError
from synthcohort.core.files import read_artifact, read_json, remove
from synthcohort.core.run import RunFolder
from synthcohort.core.signing import fingerprint, load_private, make_key, public_path
from synthcohort.generation import replace as drawing
from synthcohort.generation.replace import read_names
from synthcohort.pipeline.config import Study, StudyConfig
from synthcohort.pipeline.refill import audit
from synthcohort.pipeline.run import release_request, run_study
from synthcohort.release import Judged, assess, verify
from synthcohort.release.rules import Rule

PLANTED = [f"synthetic-{number:06d}" for number in (1, 4, 9, 16, 20, 25, 28)]
STATED = {"license": "CC0-1.0", "intended_use": "Tests.", "not_intended_for": "All else.", "contact": "The desk."}
AFTER = ["audit", "refill 1", "evaluate 1", "audit 1", "release", "report"]


class Killed(BaseException):
    """What a kill is to the program: nothing after it happens."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of images, a policy and a key. Each patient's image is a field of its own, so that a copy stands out."""
    folder = tmp_path_factory.mktemp("refill")
    random = np.random.default_rng(3)
    (folder / "scans").mkdir()
    with open(folder / "scans" / "table.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "patient_id", "grade"])
        for number in range(120):
            pixels = 128 + 50 * zoom(random.normal(size=(7, 7)), 32 / 7, order=3)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "scans" / f"{number:03d}.png")
            table.writerow([f"{number:03d}.png", f"p{number:03d}", number % 2])
    text = (resources.files("synthcohort") / "policies" / "internal.toml").read_text(encoding="utf-8")
    asked = {"detectable_rate = 0.02": "detectable_rate = 0.4", "min_control_images = 50": "min_control_images = 10",
             "must_be_signed = false": "must_be_signed = true"}  # fmt: skip
    for old, new in asked.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "house.toml").write_text(text, encoding="utf-8")
    make_key(folder / "owner.key")
    return folder


def study_of(place: Path, **settings: Any) -> StudyConfig:
    return build(
        StudyConfig,
        {
            "study": {"count": 30, "policy": (place / "house.toml").as_posix(), "threads": 1, **settings},
            "ingest": {"key": "seed", "size": 32, "pixel_text": "unchecked",
                       "shares": {"train": 0.52, "validation": 0.14, "control": 0.2, "test": 0.14}},
            "train": {"size": 32, "images": 32, "batch": 16, "validation_images": 0, "checkpoint_images": 16,
                      "network": {"channels": [8, 16], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1],
                                  "attention_levels": [], "embedding_width": 16}},
            "generate": {"sampling": {"steps": 2}},
            "evaluate": {"parts": ["copies"], "encoders": ["self_trained"], "grader": {"steps": 2}},
            "release": {**STATED, "formats": ["png"]},
        },
    )  # fmt: skip


def run(place: Path, out: Path, **settings: Any) -> dict[str, Any]:
    return run_study(study_of(place, **settings), place / "scans", out, key=place / "owner.key")


def plant(cohort: Path, real: Path, names: list[str]) -> None:
    """Puts training images in the place of these."""
    drawn, train = Cohort.open(cohort), Cohort.open(real).select(split="train")
    made, extra = drawn.info["provenance"], (cohort / "screened.json").read_text()
    writer = CohortWriter(cohort.with_name("planted"), drawn.name, "synthetic", list(drawn.labels.values()), made, "p")
    for i, name in enumerate(drawn.image_ids):
        pixels = train.image(names.index(name)) if name in names else drawn.image(i)
        record = {key: value for key, value in drawn.record(i).items() if key not in drawing._COMPUTED}
        writer.add(pixels, {key: value for key, value in record.items() if value is not None})
    writer.finish(extra_files={"screened.json": extra}, screened=True)
    remove(cohort)
    cohort.with_name("planted").rename(cohort)


def killed_at(stage: str, recorded: bool) -> Callable[..., None]:
    """In place of RunFolder.update: the call is killed when the stage's work is done, before or after its record."""
    update = RunFolder.update

    def change(self: RunFolder, **facts: Any) -> None:
        last = list(facts.get("stages", {"": None}))[-1] == stage
        if recorded or not last:
            update(self, **facts)
        if last:
            raise Killed

    return change


@pytest.fixture(scope="module")
def evaluated(place: Path) -> Path:
    """A run that was killed after its first evaluation; copies were planted in what it drew."""
    draw, out = generation.generate, place / "base"

    def draw_copies(source: Path, to: Path, *given: Any, **settings: Any) -> dict[str, Any]:
        found = draw(source, to, *given, **settings)
        plant(to, out / "cohort", PLANTED)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "generate", draw_copies)
        patch.setattr(RunFolder, "update", killed_at("evaluate", recorded=True))
        with pytest.raises(Killed):
            run(place, out)
    return out


@pytest.fixture(scope="module")
def whole(place: Path, evaluated: Path) -> tuple[Path, dict[str, Any]]:
    shutil.copytree(evaluated, place / "whole")
    return place / "whole", run(place, place / "whole")


def stages(out: Path) -> list[str]:
    return [json.loads(line)["stage"] for line in (out / "pipeline" / "log.jsonl").read_text().splitlines()]


def content(out: Path) -> dict[str, bytes]:
    """What has to be equal: cohort, scores, bundle, report."""
    files = [out / "evidence" / "scores.json", out / "report.html"]
    files += [path for name in ("synthetic", "bundle") for path in (out / name).rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_copies_are_drawn_anew_until_the_release_holds(place: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    out, result = whole
    assert (result["decision"], result["refills"], result["reasons"]) == ("release", 1, [])
    assert stages(out)[-6:] == AFTER
    assert set(read_names(out / "rounds" / "0" / "near.json")) == set(PLANTED)
    was = read_artifact(out / "rounds" / "0" / "scores.json", "scores", 1)
    assert was["families"]["copies"]["verdict"] == "fail"
    assert was["synthetic"]["digest"] == Cohort.open(out / "rounds" / "0" / "synthetic").digest
    digests = set(Cohort.open(out / "cohort").column("pixels_digest"))
    assert digests & set(Cohort.open(out / "rounds" / "0" / "synthetic").column("pixels_digest"))
    assert not digests & set(Cohort.open(out / "synthetic").column("pixels_digest"))
    found = verify(out / "bundle", public_path(place / "owner.key"))
    assert found["ok"], found["problems"]
    request = next(link for link in read_json(out / "bundle" / "provenance.json")["chain"] if link["link"] == "seeds")
    assert [item["images"] for item in request["request"]["replaced"]] == [PLANTED]
    signer = fingerprint(load_private(place / "owner.key").public_key())
    done = RunFolder.read(out / "pipeline").info["stages"]
    assert [done[name]["signed_by"] for name in ("evaluate", "evaluate 1", "release")] == 3 * [signer]


def test_the_same_command_again_does_nothing_and_other_settings_are_named(place, whole) -> None:
    out, result = whole
    before = content(out), stages(out)
    assert run(place, out) == result
    assert (content(out), stages(out)) == before
    with pytest.raises(ArtifactError, match=r"study\.refill_rounds is 1; allowed: 3"):
        run(place, out, refill_rounds=1)


def test_code_stands_in_the_chain(whole) -> None:
    chain = {link["link"]: link for link in read_json(whole[0] / "bundle" / "provenance.json")["chain"]}
    for step in ("bundle", "generation", "training"):
        assert chain["code"][step]["source_digest"].startswith("sha256:"), step
        assert chain["code"][step]["version"], step


def test_killed_within_and_after_each_step_it_ends_in_the_same_bits(place, evaluated, whole) -> None:
    out = place / "killed"
    shutil.copytree(evaluated, out)

    def killed(stage: str, recorded: bool) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunFolder, "update", killed_at(stage, recorded))
            with pytest.raises(Killed):
                run(place, out)

    killed("audit", False)
    killed("audit", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "replace", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(place, out)
    assert not (out / "synthetic").exists(), "put aside, and nothing drawn yet"
    for stage in AFTER[1:]:
        killed(stage, False)
        killed(stage, True)
    result = run(place, out)
    assert result == {**whole[1], "out": out.as_posix(), "report": (out / "report.html").as_posix()}
    assert content(out) == content(whole[0])


def test_a_generator_that_goes_on_copying_is_told_apart(place, evaluated, monkeypatch) -> None:
    out, draw = place / "copying", drawing.replace
    shutil.copytree(evaluated, out)

    def copy_again(source: Path, of: Path, names: Any, to: Path, tries: int) -> dict[str, Any]:
        found = draw(source, of, names, to, tries)
        plant(to, out / "cohort", PLANTED)
        return found

    monkeypatch.setattr(drawing, "replace", copy_again)
    result = run(place, out)
    assert (result["decision"], result["refills"]) == ("refuse", 1)
    assert not (out / "bundle").exists()
    assert "7, then 7 images were too near" in result["reasons"][-1]
    assert "train on more images" in result["reasons"][-1]
    said = study_of(place)
    said = replace(said, release=replace(said.release, license=""))
    again = run_study(said, place / "scans", out, key=place / "owner.key")
    assert any("license" in reason for reason in again["reasons"]), "what is stated may change without another run"


def test_what_no_new_image_changes_is_said(place, evaluated) -> None:
    study = study_of(place)
    request = release_request(study, place / "owner.key")
    judged = assess(evaluated / "synthetic", evaluated / "evidence", study.release, request)
    assert audit(judged, (), 3)["again"]
    assert audit(judged, (9,), 3)["again"], "7 after 9: it falls"
    assert "after 1 rounds" in audit(judged, (9,), 1)["reason"]
    assert "refill_rounds is 0" in audit(judged, (), 0)["reason"]
    broken = Rule("family:harm", "", "", False, None, "No.")
    assert "family:harm" in audit(_with(judged, broken), (), 3)["reason"]
    assert audit(_with(judged, replace(broken, name="license")), (), 3)["again"], "a statement is no matter of images"
    nothing = replace(judged, evidence=replace(judged.evidence, near=()))
    assert not audit(nothing, (), 3)["again"]
    assert "too little is known" in audit(nothing, (), 3)["reason"]


def _with(judged: Judged, rule: Rule) -> Judged:
    return replace(judged, decision=replace(judged.decision, rules=(*judged.decision.rules, rule)))


def test_a_written_reason_lets_a_run_go_on_and_stays_visible(place: Path, evaluated: Path) -> None:
    """A check that fails beside the copies: no images are drawn anew, until a reason sets that check aside."""
    out = place / "set-aside"
    shutil.copytree(evaluated, out)
    policy = place / "strict.toml"
    text = (place / "house.toml").read_text(encoding="utf-8")
    asked = {'must_pass = ["copies"]': 'must_pass = ["copies", "harm"]', '"subgroups", "harm"]': '"subgroups"]'}
    for old, new in asked.items():
        assert old in text
        text = text.replace(old, new)
    policy.write_text(text, encoding="utf-8")
    record = RunFolder.read(out / "pipeline")  # as if the run had been begun with this policy
    begun = record.info["config"]
    record.update(config=begun | {"study": begun["study"] | {"policy": policy.as_posix()}})
    study = study_of(place, policy=policy.as_posix())

    def go(**reasons: str) -> dict[str, Any]:
        told = replace(study, release=replace(study.release, overrides={f"family:{k}": v for k, v in reasons.items()}))
        return run_study(told, place / "scans", out, key=place / "owner.key")

    first = go(copies="We do not mind these copies.")
    assert (first["decision"], first["refills"]) == ("refuse", 0)
    assert any("No written reason sets this rule aside" in reason for reason in first["reasons"])
    harm, signer = "The house tests for this.", public_path(place / "owner.key")
    found = go(harm=harm)
    assert (found["decision"], found["refills"], found["reasons"]) == ("release", 1, [])
    assert verify(out / "bundle", signer)["overrides"] == {"family:harm": harm}
    assert harm in (out / "bundle" / "README.txt").read_text(encoding="utf-8")
    assert harm in (out / "report.html").read_text(encoding="utf-8")
    before = content(out), stages(out)
    assert go(harm=harm) == found
    assert (content(out), stages(out)) == before, "the same reason: nothing is done again"
    other = go(harm="Somebody else tests for this.")
    assert (other["decision"], other["refills"]) == ("release", 1)
    assert verify(out / "bundle", signer)["overrides"] == {"family:harm": "Somebody else tests for this."}
    assert stages(out)[len(before[1]) :] == ["audit 1", "release", "report"], "what led to a round stays"
    assert go()["decision"] == "refuse"
    assert not (out / "bundle").exists()


def test_a_written_reason_that_cannot_be_one_stops_before_any_work(place: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "study.toml").write_text('[study]\npolicy = "internal"\n[release]\nlicense = "CC0-1.0"\n')
    asked = ["run", str(tmp_path / "study.toml"), "--source", str(place / "scans"), "--out", str(tmp_path / "out")]
    for text, words in {
        "family:harm": "RULE=REASON",
        "family:harm=because": "its reason says nothing",
        "family:beauty=They look very nice.": "is no rule of the policy 'internal'",
    }.items():
        assert main([*asked, "--override", text]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert words in said[0]
    (tmp_path / "study.toml").write_text('[release.overrides]\n"family:harm" = 3\n')
    assert main(asked) == 2
    assert "release.overrides.family:harm" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_be_signed_says_so_before_any_work(place: Path, tmp_path: Path) -> None:
    for policy in ("open", "partner", (place / "house.toml").as_posix()):
        with pytest.raises(InputError, match=r"synthcohort keys --out owner\.key"):
            run_study(study_of(place, policy=policy), place / "scans", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_a_shadow_model_is_refused_before_any_work(place: Path, tmp_path: Path) -> None:
    study = study_of(place)
    shadow = replace(study, train=replace(study.train, shadow=0))
    with pytest.raises(InputError, match="shadow model"):
        run_study(shadow, place / "scans", tmp_path / "out", key=place / "owner.key")
    assert not (tmp_path / "out").exists()


def test_the_command_says_so_too(place: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "study.toml").write_text('[release]\nlicense = "CC0-1.0"\n')
    asked = ["run", str(tmp_path / "study.toml"), "--source", str(place / "scans"), "--out", str(tmp_path / "out")]
    assert main(asked) == 2
    assert "error: key: none given, and the policy 'open' refuses scores" in capsys.readouterr().err
    assert main([*asked, "--key", str(tmp_path / "no.key")]) == 2
    assert "private key" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_key_of_the_study_counts_and_the_commands_goes_before(place: Path) -> None:
    study = study_of(place, key="own.key", answers="own.toml")
    assert release_request(study).key == Path("own.key")
    found = release_request(study, Path("b.key"), Path("b.toml"))
    assert (found.key, found.answers, found.policy) == (Path("b.key"), Path("b.toml"), study.study.policy)
    with pytest.raises(ConfigError, match=r"study\.refill_rounds"):
        Study(refill_rounds=-1)
