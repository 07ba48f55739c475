"""A reader study becomes evidence: only a closed one, only of these cohorts, and without its readers' codes."""

import copy
import json

import pytest

from synthcohort.core.errors import InputError
from synthcohort.core.files import write_artifact
from synthcohort.evaluation.reader_study import add_study, read_study, reader_study


def figure(name: str, value: float, subset: str | None = None, reader: str | None = None, method: str = "or") -> dict:
    return {
        "name": name, "title": name, "reader": reader, "subset": subset, "value": value, "low": value - 0.1,
        "high": value + 0.1, "confidence": 0.95, "cases": 60, "readers": 1 if reader else 5, "method": method,
    }  # fmt: skip


def part(kind: str, figures: list[dict], equivalence: dict | None = None, **more) -> dict:
    return {
        "kind": kind, "label": "grade", "readers": ["north-1"] * 5, "unfinished": ["north-9"], "repeats": 6,
        "cases": {"real": 30, "synthetic": 30, "degraded": 3}, "pairs": None, "figures": figures,
        "equivalence": equivalence,
    } | more  # fmt: skip


def equal(figure: str, difference: float, p: float, equivalent: bool) -> dict:
    return {
        "figure": figure, "difference": difference, "low": difference - 0.05, "high": difference + 0.05, "margin": 0.15,
        "alpha": 0.05, "p": p, "equivalent": equivalent, "df": 9.0, "error": 0.03,
    }  # fmt: skip


@pytest.fixture
def content(cohorts) -> dict:
    real, synthetic = cohorts
    grades = [
        figure("accuracy", 0.70), figure("accuracy", 0.72, "real"), figure("accuracy", 0.68, "synthetic"),
        figure("accuracy", 0.9, "synthetic", "north-1"), figure("kappa_between", 0.6, "synthetic", method="jackknife"),
    ]  # fmt: skip
    told = [figure("auc", 0.55), figure("d_prime", 0.2), figure("accuracy", 0.53), figure("accuracy", 0.5, "grade=1")]
    return {
        "title": "Knees", "closed": True, "cohorts": {"real": real.digest, "synthetic": synthetic.digest},
        "design": "sha256:00", "seed": 7, "margin": 0.15, "methods": "Five readers graded 60 images.",
        "phases": [
            part("grade", grades, equal("accuracy", 0.04, 0.001, True)),
            part("origin", told, equal("auc minus 0.5", 0.05, 0.2, False)),
            part("pairs", [figure("found_real", 0.6)], cases={}, pairs=12),
        ],
    }  # fmt: skip


@pytest.fixture
def save(tmp_path):
    def save(content: dict):
        write_artifact(tmp_path / "study.json", "study", 1, content)
        return tmp_path / "study.json"

    return save


def test_figures_of_all_readers_become_entries(content, save, cohorts):
    found = reader_study(read_study(save(content), *cohorts))
    by_name = {(item["name"], item["subset"]): item for item in found["scores"]}
    assert all(item["group"] == "readers" for item in found["scores"])
    assert by_name["readers_accuracy", None]["value"] == 0.68
    told = [item for item in found["scores"] if item["name"] == "readers_told_apart"]
    assert [(item["value"], item["floor"]) for item in told] == [(0.53, None), (0.5, None)]
    assert found["scores"][0]["floor"] == {"value": 0.72, "low": 0.62, "high": pytest.approx(0.82)}
    assert (found["scores"][0]["n_real"], found["scores"][0]["n_synthetic"]) == (30, 30)
    assert by_name["readers_auc", None]["value"] == 0.55
    assert by_name["readers_found_real", None]["n_real"] == 12
    same = by_name["readers_grading_difference", None]
    assert (same["value"], same["confidence"]) == (0.04, pytest.approx(0.9))
    assert "shown to be within ± 0.15" in same["computed_on"]
    assert "not shown to be within" in by_name["readers_auc_beyond_chance", None]["computed_on"]
    assert "these readers" in by_name["readers_kappa_between", None]["computed_on"]
    facts = found["figures"]["reader_study"]
    assert [phase["readers"] for phase in facts["phases"]] == [5, 5, 5]
    assert "north" not in json.dumps(found), "readers' codes stay in study.json"


def test_what_is_there_already_stays(content, save, cohorts):
    scores = {"scores": [{"name": "first"}], "figures": {"criteria": {}}}
    add_study(scores, read_study(save(content), *cohorts))
    assert scores["scores"][0] == {"name": "first"}
    assert set(scores["figures"]) == {"criteria", "reader_study"}


def test_no_other_study_is_taken(content, save, cohorts):
    def refused(match: str, **changes) -> None:
        with pytest.raises(InputError, match=match):
            read_study(save(copy.deepcopy(content) | changes), *cohorts)

    refused("before the study was closed", closed=False)
    digests = content["cohorts"]
    refused("another synthetic cohort", cohorts={**digests, "synthetic": "sha256:00"})
    refused("another real cohort", cohorts={**digests, "real": "sha256:00"})
    refused("another synthetic cohort", cohorts={})
    refused("nobody finished", phases=[{**phase, "readers": []} for phase in content["phases"]])
    assert read_study(save(content | {"cohorts": {"synthetic": digests["synthetic"]}}), *cohorts)["closed"]


def test_answers_that_do_not_vary_have_no_interval(content, save, cohorts):
    content["phases"][0]["equivalence"] |= {"low": None, "high": None}
    names = [item["name"] for item in reader_study(read_study(save(content), *cohorts))["scores"]]
    assert "readers_grading_difference" not in names
    assert "readers_auc_beyond_chance" in names
