import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from synthcohort.core.errors import ArtifactError, ConfigError, InputError
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.evaluation import evaluate, scorecard
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig, UtilityConfig
from synthcohort.evaluation.entries import without_folders
from synthcohort.evaluation.part_config import MeasurementConfig

ROOT = Path(__file__).parents[2]
CONFIG = EvaluateConfig(
    encoders=("self_trained",),
    min_class_images=6,
    folds=8,
    bootstrap=60,
    threads=1,
    grader=GraderConfig(steps=40, batch=16),
    utility=UtilityConfig(images=40, seeds=1, steps=4, batch=8),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, toys):
    """Two cohorts and their evaluation, made once."""
    folder = tmp_path_factory.mktemp("study")
    toys.cohort(folder / "real", num=112, roles=("train", "train", "validation", "control", "test", "test"))
    toys.cohort(folder / "synthetic", "synthetic", num=30, screened=True)
    result = evaluate(folder / "real", folder / "synthetic", folder / "evidence", CONFIG, policy="internal", seed=3)
    return folder, result


@pytest.fixture
def scores(made):
    return json.loads((made[0] / "evidence" / "scores.json").read_text())


def test_the_answer_of_the_command(made):
    folder, result = made
    assert result["scores"] == (folder / "evidence" / "scores.json").as_posix()
    assert result["verdict"] in ("inconclusive", "fail")
    assert {"membership", "image_damage", "subgroups", "harm"} <= set(result["inconclusive"])


def test_scores_have_the_documented_form(scores):
    assert (scores["format"], scores["version"]) == ("synthcohort.scores", 1)
    assert set(scores["families"]) == set(FAMILIES)
    assert scores["policy"]["digest"] == load_policy("internal").digest
    assert scores["settings"]["seed"] == 3
    assert scores["synthetic"]["screened"] is True
    assert scores["real"]["images"]["test"] == 2 * scores["real"]["patients"]["test"]
    names = {item["name"] for item in scores["scores"]}
    assert {"frechet_distance", "coverage_ratio", "prompt_kappa", "copy_rate", "utility_ratio"} <= names
    for item in scores["scores"]:
        assert set(item) == {
            *("name", "title", "group", "family", "encoder", "subset", "value", "low", "high", "confidence", "floor"),
            *("control", "n_real", "n_synthetic", "split", "better", "computed_on", "good", "verdict"),
        }
        assert item["group"] in ("fidelity", "alignment", "privacy", "utility", "fairness", "stress")
        assert item["good"].startswith("Good is ")
        if item["low"] is not None:
            assert item["low"] <= item["value"] <= item["high"], item["name"]
        if item["family"]:
            assert item["verdict"] == scores["families"][item["family"]]["verdict"]
    assert all(item["reason"] for item in scores["families"].values())


def test_nothing_of_single_patients_or_of_this_machine_is_public(made):
    folder, _ = made
    public = "".join((folder / "evidence" / name).read_text() for name in ("scores.json", "report.html"))
    assert folder.as_posix() not in public
    assert "r0-00" not in public  # image ids of the real cohort
    assert "p001" not in public
    assert sorted(path.name for path in (folder / "evidence").iterdir()) == ["owner", "report.html", "scores.json"]
    assert "r0-00" in (folder / "evidence" / "owner" / "report.html").read_text()


def test_the_same_evaluation_elsewhere_gives_the_same_bytes_and_counts_once(made, tmp_path, monkeypatch):
    """Killed between steps and begun again in another folder: every byte is the same, and it is one use of the test."""
    folder, _ = made

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scorecard.Evaluation, "_utility", kill)
        with pytest.raises(KeyboardInterrupt):
            evaluate(folder / "real", folder / "synthetic", tmp_path / "evidence", CONFIG, "internal", 3)
    assert not (tmp_path / "evidence" / "scores.json").exists()
    evaluate(folder / "real", folder / "synthetic", tmp_path / "evidence", CONFIG, "internal", 3)
    for name in ("scores.json", "report.html", "owner/report.html"):
        assert (tmp_path / "evidence" / name).read_bytes() == (folder / "evidence" / name).read_bytes(), name
    assert len(json.loads((folder / "real" / "test_uses.json").read_text())["uses"]) == 1


def test_another_seed_is_another_use_of_the_test_patients(made):
    folder, _ = made
    inputs = scorecard.open_inputs(folder / "real", folder / "synthetic", None, folder / "scratch")
    before = (folder / "real" / "test_uses.json").read_bytes()
    asked = {"evaluate": {}, "seed": 4}
    assert [scorecard.count_test_use(inputs, asked) for _ in range(2)] == [2, 2]
    (folder / "real" / "test_uses.json").write_text("{")
    with pytest.raises(ArtifactError, match="count of test uses is damaged"):
        scorecard.count_test_use(inputs, asked)
    (folder / "real" / "test_uses.json").write_bytes(before)


def test_damaged_caches_are_made_anew(made):
    folder, _ = made
    cache = folder / "evidence" / "owner" / "cache"
    before = (folder / "evidence" / "scores.json").read_bytes()
    (folder / "evidence" / "scores.json").unlink()
    for path in [*cache.glob("alignment-*.json"), *cache.glob("read-*.npy")]:
        path.write_bytes(path.read_bytes()[:20])
    evaluate(folder / "real", folder / "synthetic", folder / "evidence", CONFIG, policy="internal", seed=3)
    assert (folder / "evidence" / "scores.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"policy": "opne"}, ConfigError), ({"synthetic": Path("nowhere")}, ArtifactError), ({"out": "file"}, InputError)],
)
def test_mistakes_leave_nothing_behind(made, tmp_path, arguments, error):
    folder, _ = made
    (tmp_path / "file").write_text("")
    asked = {"real": folder / "real", "synthetic": folder / "synthetic", "out": tmp_path / "out", **arguments}
    if arguments.get("out") == "file":
        asked["out"] = tmp_path / "file" / "out"
    with pytest.raises(error):
        evaluate(**asked)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def documented() -> list[re.Pattern[str]]:
    """The names of docs/formats.md, "Figures by name"; a word in capitals in a name stands for any."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    section = text.partition("### Figures by name")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = {name for cell in cells for name in re.findall("`([^` ]+)`", cell)}
    return [re.compile(re.sub("[A-Z]+", "[a-z0-9_]+", re.escape(name))) for name in sorted(names)]


def names_in_code() -> set[str]:
    """Names of scores that stand in the code as they are: first arguments of entry(...), keys of FIGURES."""
    found = set()
    for path in (ROOT / "src" / "synthcohort" / "evaluation").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "entry" and node.args:
                found |= {node.args[0].value} if _is_text(node.args[0]) else set()
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "FIGURES":
                assert isinstance(node.value, ast.Dict)
                found |= {key.value for key in node.value.keys if _is_text(key)}
    return found


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_score_is_documented(scores):
    known = documented()
    names = {score["name"] for score in scores["scores"]} | set(scores["figures"])
    assert len(names) > 40
    assert len(names_in_code()) > 40
    missing = sorted(n for n in names | names_in_code() if not any(known_one.fullmatch(n) for known_one in known))
    assert missing == [], "describe them in docs/formats.md, Figures by name"


def test_scores_name_no_folder_of_this_machine(made, tmp_path):
    (tmp_path / "mine.py").write_text("def brightness(image, record):\n    return float(image.mean())\n")
    asked = MeasurementConfig(function=f"{tmp_path / 'mine.py'}:brightness", margins={"value": 5.0})
    config = replace(CONFIG, parts=("measurements",), measurements=asked)
    result = evaluate(made[0] / "real", made[0] / "synthetic", tmp_path / "evidence", config, policy="internal", seed=3)
    text = Path(result["scores"]).read_text()
    function = json.loads(text)["settings"]["evaluate"]["measurements"]["function"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}:brightness", function)
    assert tmp_path.as_posix() not in text
    assert made[0].as_posix() not in text
    assert (
        without_folders(ArtifactError(f"run {tmp_path}: no model"), tmp_path, None) == f"run {tmp_path.name}: no model"
    )
