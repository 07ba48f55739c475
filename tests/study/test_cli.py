import json

import pytest

from synthcohort.cli.main import main

TOML = """
title = "Knees"
readers = ["a-1", "b-2"]
[[phases]]
kind = "grade"
label = "kl_grade"
question = "Kellgren-Lawrence grade"
real = 6
synthetic = 6
"""


def test_two_commands_from_cohorts_to_a_study_and_back(cohorts, tmp_path, capsys):
    real, synthetic = map(str, cohorts)
    (tmp_path / "design.toml").write_text(TOML)
    design, study = str(tmp_path / "design.toml"), str(tmp_path / "study")
    assert main(["study", "create", "--real", real, "--synthetic", synthetic, "--design", design, "--out", study]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["phases"] == [{"kind": "grade", "cases": 12, "training": 3}]
    assert result["next"] == f"synthcohort study serve {study}"
    assert len((tmp_path / "study" / "invitations.txt").read_text().splitlines()) == 3
    assert main(["study", "backup", study, "--out", str(tmp_path / "b.zip")]) == 0
    assert main(["study", "restore", str(tmp_path / "b.zip"), "--out", str(tmp_path / "again")]) == 0
    capsys.readouterr()
    out = str(tmp_path / "results")
    assert main(["study", "analyze", study, "--before-the-end", "--out", out]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == [{"kind": "grade", "readers": 0, "unfinished": 2}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "absent"], "is not a study's folder"),
        (["analyze", "absent", "--out", "o"], "is not a study's folder"),
        (["restore", "absent.zip", "--out", "o"], "cannot be read"),
        (["create", "--synthetic", "absent", "--out", "o"], "is not a cohort folder"),
        (["create", "--synthetic", "absent", "--set", "sede=3", "--out", "o"], "did you mean seed?"),
        (["plan"], "invalid choice"),
        ([], "ACTION"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("error: ")
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_sessions_do_not_go_over_the_network_unprotected(whole, capsys):
    assert main(["study", "serve", str(whole), "--host", "0.0.0.0"]) == 2
    assert "unprotected" in capsys.readouterr().err
