"""What a hospital fears, tried by the command line: each is refused with its reason, exit 1, and nothing is left."""

import getpass
import gzip
import json
import socket

import pyarrow.parquet as pq
import pytest

from synthcohort.cli.main import main
from synthcohort.core.files import write_artifact
from synthcohort.core.signing import load_private, sign_file

STATED = [
    "--set", "release.license=CC BY 4.0", "--set", "release.intended_use=Research.",
    "--set", "release.not_intended_for=Diagnosis.", "--set", "release.contact=The desk.",
]  # fmt: skip


def verdict(scores, family, word, reason="the reason stands here"):
    scores["families"][family] = {"verdict": word, "reason": reason, "figures": {}}
    names = {"fail": "failed", "inconclusive": "inconclusive"}
    scores[names[word]] = [family]
    scores["verdict"] = word


def planted_copies(scores):
    verdict(scores, "copies", "fail", "9 of 6 synthetic images are as near to a training image as a copy")
    scores["scores"][1].update(value=0.2, low=0.1, high=0.3)


def no_privacy_evidence(scores):
    for family in ("copies", "membership"):
        del scores["families"][family]
    del scores["scores"][1:]


def too_wide(scores):
    scores["scores"][1].update(low=0.0, high=0.019)
    scores["scores"][2].update(low=0.4)


CASES = {
    "planted copies": (planted_copies, STATED, "Failed to show that no image copies"),
    "missing privacy evidence": (no_privacy_evidence, STATED, "No evidence: that no image copies"),
    "too wide an interval": (too_wide, STATED, "its interval begins at 0.4, and 0.8 is the least"),
    "no license": (lambda scores: None, STATED[2:], "No license is stated"),
    "nobody answers for it": (lambda scores: None, STATED[:-2], "Nobody has stated who answers"),
}


def asked(cohort, evidence, key, out):
    return [
        "release",
        "--synthetic",
        str(cohort.path),
        "--evidence",
        str(evidence),
        "--key",
        str(key),
        "--out",
        str(out),
    ]


@pytest.mark.parametrize("name", CASES)
def test_bad_evidence_is_refused(cohort, scores, save, key, tmp_path, capsys, name):
    change, stated, words = CASES[name]
    change(scores)
    evidence = save(scores)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main([*asked(cohort, evidence, key, tmp_path / "bundle"), *stated]) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "no bundle, nor half of one"


def test_scores_edited_after_evaluation_are_refused(cohort, scores, save, key, tmp_path, capsys):
    verdict(scores, "harm", "inconclusive")
    evidence = save(scores)
    path = evidence / "scores.json"
    content = json.loads(path.read_text())
    content["families"]["harm"]["verdict"] = content["verdict"] = "pass"
    content["inconclusive"] = []
    write_artifact(path, "scores", 1, content)
    assert main([*asked(cohort, evidence, key, tmp_path / "bundle"), *STATED]) == 1
    assert "The scores were changed or signed by another key" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    (evidence / "scores.sig").unlink()
    assert main([*asked(cohort, evidence, key, tmp_path / "bundle"), *STATED]) == 1
    assert "The scores are not signed" in capsys.readouterr().err


def test_an_image_made_from_a_real_one_is_refused_whatever_the_reason(
    make_cohort, scores_of, save, key, tmp_path, capsys
):
    cohort = make_cohort(derived_from_real=True)
    command = [*asked(cohort, save(scores_of(cohort)), key, tmp_path / "bundle"), *STATED]
    assert main(command) == 1
    reason = "not_derived_from_real=The patient said that it is all right."
    assert main([*command, "--override", reason]) == 1
    assert "No written reason sets this rule aside" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("level", ["internal", "partner", "open"])
@pytest.mark.parametrize("place", ["cohort", "scores", "parts"])
def test_images_of_a_run_with_canaries_are_refused_at_every_level(
    make_cohort, scores_of, save, key, tmp_path, capsys, level, place
):
    plain = make_cohort("plain").info["provenance"]
    told = plain | {"canaries": {"images": 12, "settings": {"count": 12}, "started_from": None}}
    cohort = make_cohort(made={"cohort": told, "scores": plain, "parts": {"parts": [plain, told]}}[place])
    scores = scores_of(cohort)
    if place == "scores":
        scores["synthetic"]["provenance"] = told
    command = [*asked(cohort, save(scores), key, tmp_path / "bundle"), *STATED, "--policy", level]
    assert main(command) == 1
    assert "Canaries were planted in the training images" in capsys.readouterr().err
    assert main([*command, "--override", "no_canaries=We planted them to audit this."]) == 1
    assert "No written reason sets this rule aside" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


PLANTED = {
    "patient_id": "PLANTED-PATIENT", "group_id": "PLANTED-GROUP", "series_id": "PLANTED-SERIES", "site": "PLANTED-SITE",
    "manufacturer": "PLANTED-MAKER", "source_digest": "sha256:PLANTED-SOURCE", "ethnicity": "PLANTED-ETHNICITY",
    "phrasings": ["PLANTED-PHRASE"],
}  # fmt: skip


def test_no_trace_of_the_source_in_any_byte(make_cohort, scores_of, save, config, key, tmp_path):
    """Records, paths, host and user of this machine: looked for in every file, also inside what is compressed."""
    from dataclasses import replace

    from synthcohort.release import release

    cohort = make_cohort(**PLANTED)
    every = replace(config, formats=("dicom", "png", "nifti", "parquet", "classes"))
    release(cohort.path, save(scores_of(cohort)), tmp_path / "bundle", every, key=key)
    words = [b"PLANTED", str(tmp_path).encode(), str(key.parent).encode(), socket.gethostname().encode()]
    words += [getpass.getuser().encode()] if len(getpass.getuser()) > 4 else []  # `root` is a word of English
    words = [word for word in words if len(word) > 4 and word != b"localhost"]
    files = [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data += gzip.decompress(data)
        if path.suffix == ".parquet":
            data += str(pq.read_table(path).to_pylist()).encode()
        for word in words:
            assert word not in data, (path.name, word)
            assert word not in path.relative_to(tmp_path / "bundle").as_posix().encode()


def test_keys_and_verify_by_the_command_line(cohort, scores, save, tmp_path, capsys):
    assert main(["keys", "--out", str(tmp_path / "own.key")]) == 0
    made = json.loads(capsys.readouterr().out)
    evidence = save(scores, sign=False)
    sign_file(evidence / "scores.json", load_private(tmp_path / "own.key"))
    out = tmp_path / "bundle"
    assert main([*asked(cohort, evidence, tmp_path / "own.key", out), *STATED]) == 0
    assert json.loads(capsys.readouterr().out)["signed_by"] == made["fingerprint"]
    assert main(["verify", str(out), "--public-key", made["public"]]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] == f"valid: {made['fingerprint']}"
    (out / "metadata.csv").write_text("changed")
    assert main(["verify", str(out), "--public-key", made["public"]]) == 1
    assert "metadata.csv was changed" in capsys.readouterr().out
