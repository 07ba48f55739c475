import json

import pytest

from synthcohort.cli.main import COMMANDS, main


def test_every_command_has_help_with_examples(capsys) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert f"synthcohort {name}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "required: COHORT"),
        (["run", "absent.toml", "--out", "o"], "configuration absent.toml: no such file"),
        (["evaluate", "--real", "absent", "--synthetic", "b", "--out", "o"], "no such file or folder"),
        (["generate", "absent", "--count", "3", "--out", "o"], "is not a run folder"),
        (["generate", "absent", "--count", "3", "--out", "o", "--where", "kl_grade"], "column=value"),
        (["ingest", "absent", "--out", "o"], "absent"),
        (["train", "absent", "--out", "o", "--set", "train.imagse=3"], "did you mean images?"),
        (["train", "absent", "--out", "o", "--set", "trian.images=3"], "did you mean train?"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_2(arguments, words, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_doctor_reports_json(capsys, tmp_path) -> None:
    code = main(["doctor", "--out", str(tmp_path)])
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert code == (0 if result["ok"] else 1)
    assert {"Python", "torchvision", "free disk"} <= {finding["what"] for finding in result["findings"]}
    assert "Python" in captured.err
