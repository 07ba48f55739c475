"""A reader study in the documents: its figures where there is one, a plain word where there is none."""

import pytest

from synthcohort.core.files import read_artifact
from synthcohort.release import release

PAGES = ("summary", "data_card", "model_card", "scorecard")


@pytest.fixture
def made(cohort, scores, save, config, key, tmp_path):
    """Makes a bundle and returns its pages and its scorecard."""

    def made(name: str):
        release(cohort.path, save(scores), tmp_path / name, config, key=key)
        folder = tmp_path / name / "documents"
        pages = {page: (folder / f"{page}.html").read_text(encoding="utf-8") for page in PAGES}
        return pages, read_artifact(tmp_path / name / "scorecard.json", "scorecard", 2)["criteria"]

    return made


def with_study(scores: dict) -> None:
    auc = {
        **scores["scores"][0], "name": "readers_auc", "title": "Readers: area", "group": "readers", "encoder": None,
        "value": 0.55, "low": 0.48, "high": 0.62, "floor": None,
    }  # fmt: skip
    scores["scores"] += [auc, {**auc, "name": "readers_accuracy", "subset": "kl_grade=1"}]
    same = {"equivalent": True, "margin": 0.15}
    told = {"kind": "origin", "label": "kl_grade", "readers": 5, "cases": {"real": 30, "synthetic": 30}, "pairs": None}
    graded = {**told, "kind": "grade", "equivalence": same}
    pairs = {**told, "kind": "pairs", "cases": {}, "pairs": 12, "equivalence": None}
    phases = [graded, {**told, "equivalence": {**same, "equivalent": False}}, pairs]
    scores["figures"] = {"reader_study": {"digest": "sha256:11", "phases": phases}}


def test_figures_stand_in_every_card(made, scores):
    with_study(scores)
    pages, criteria = made("bundle")
    for page in ("summary", "data_card", "model_card"):
        assert "Readers: area" in pages[page]
        assert "0.55" in pages[page]
        assert "5 readers graded kl grade (30 real, 30 synthetic): shown to be graded alike" in pages[page]
        assert "not shown to be no better than chance" in pages[page]
        assert "chose the real one of two (12 pairs)." in pages[page]
    congruence = criteria[0]["scores"]
    assert congruence[0]["name"] == "readers_auc", "before what networks see"
    assert [item["subset"] for item in congruence if item["name"] == "readers_accuracy"] == []
    figures = {item["name"]: item.get("figures") for item in criteria}
    assert figures["comprehension"]["reader_study"]["digest"] == "sha256:11"
    assert "5 readers graded" in pages["scorecard"]


def test_without_one_every_card_says_so(made):
    pages, criteria = made("bundle")
    assert all("No reader study is part of the evidence." in pages[page] for page in PAGES)
    assert "reader_study" not in {item["name"]: item.get("figures") for item in criteria}["comprehension"]
