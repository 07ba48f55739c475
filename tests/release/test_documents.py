"""The documents of a bundle: complete, true to the run, and open where only a person can answer."""

import json
import re
import tomllib
from dataclasses import replace

import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.core.files import read_artifact
from synthcohort.release import release
from synthcohort.release.questions import KEYS, QUESTIONS, read_answers, template

PAGES = ("summary", "data_card", "model_card", "scorecard", "standing_together", "regulation")


@pytest.fixture
def bundle(cohort, scores, save, config, key, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    return tmp_path / "bundle"


def page(bundle, name):
    return (bundle / "documents" / f"{name}.html").read_text(encoding="utf-8")


def test_scorecard_names_all_seven_criteria(bundle):
    card = read_artifact(bundle / "scorecard.json", "scorecard", 2)
    status = {item["name"]: item["status"] for item in card["criteria"]}
    criteria = "congruence coverage constraint completeness compliance comprehension consistency"
    assert list(status) == criteria.split()
    assert status["congruence"] == status["completeness"] == status["compliance"] == "evaluated"
    assert status["coverage"] == "not evaluated"
    assert all(item.get("reason") for item in card["criteria"] if item["status"] == "not evaluated")
    found = {item["name"]: item.get("figures") for item in card["criteria"]}
    assert found["compliance"]["rules_kept"] == found["compliance"]["rules"]
    assert found["compliance"]["images_marked_synthetic"] == 6
    keys = found["comprehension"]["keys"]
    assert list(keys) == [
        "code_repository", "environment", "generation_method", "hyperparameters", "initial_evaluation", "intended_use",
        "model_version", "not_intended_for", "preprocessing_steps", "privacy_method", "random_seed", "real_data_source",
    ]  # fmt: skip
    assert keys["random_seed"] == 7
    assert keys["preprocessing_steps"] is None, "what the run did not record is not made up"


def test_a_spread_between_groups_is_a_figure(cohort, scores, save, config, key, tmp_path):
    for grade, value in ((0, 0.9), (1, 0.5)):
        scores["scores"].append(
            {**scores["scores"][0], "name": "recall", "subset": f"kl_grade={grade}", "value": value}
        )
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    card = read_artifact(tmp_path / "bundle" / "scorecard.json", "scorecard", 2)
    spread = card["criteria"][-1]["spread"]["recall self"]
    assert (spread["lowest"], spread["lowest_group"], spread["highest"]) == (0.5, "kl_grade=1", 0.9)


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_sound_and_open_where_nobody_answered(bundle, name):
    text = page(bundle, name)
    assert text.count("<h1") == 1
    assert "{{" not in text
    assert "http://" not in re.sub(r'doi:|xmlns="[^"]*"', "", text)
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="([^"#]+)"', text):
        assert (bundle / "documents" / target).resolve().is_file(), target
    asked = text.count('<span class="blank">')
    assert (f"{asked} question" in text) == (asked > 0)


def test_answers_fill_the_blanks(cohort, scores, save, config, key, tmp_path):
    answers = tmp_path / "answers.toml"
    answers.write_text('ethics_approval = "Board of the example house, number 0."\ngdpr_anonymous = "<b>No.</b>"\n')
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key, answers=answers)
    bundle = tmp_path / "bundle"
    assert "Board of the example house" in page(bundle, "summary")
    assert "&lt;b&gt;No.&lt;/b&gt;" in page(bundle, "regulation")
    kept = tomllib.loads((bundle / "documents" / "answers.toml").read_text())
    assert tuple(kept) == KEYS
    assert kept["gdpr_anonymous"] == "<b>No.</b>"
    assert kept["license"] == "CC BY 4.0"
    assert kept["hipaa_path"] == ""


def test_the_template_reads_back_whatever_the_answers(tmp_path):
    answers = dict.fromkeys(KEYS) | {"harms": 'a "quoted" \\ back-slash\nand a line', "funding": "Ünïcode"}
    path = tmp_path / "answers.toml"
    path.write_text(template(answers), encoding="utf-8")
    assert read_answers(path) == {"harms": answers["harms"], "funding": "Ünïcode"}


def test_an_answer_to_no_question_is_named(tmp_path):
    path = tmp_path / "answers.toml"
    path.write_text('etics = "x"\nharms = 3\n')
    with pytest.raises(ConfigError) as error:
        read_answers(path)
    assert len(error.value.problems) == 2


def test_only_counsel_answers_questions_of_law():
    assert {question.topic for question in QUESTIONS if question.who == "counsel"} == {"law"}


def test_no_measurement_is_claimed_that_was_not_made(cohort, scores, save, config, key, tmp_path):
    scores["families"]["membership"] = {"verdict": "inconclusive", "reason": "not built yet", "figures": {}}
    scores.update(verdict="inconclusive", inconclusive=["membership"])
    scores["policy"]["name"] = "internal"
    release(cohort.path, save(scores), tmp_path / "bundle", config, "internal", key=key)
    text = page(tmp_path / "bundle", "regulation")
    assert "Without one: membership." in text
    assert "Nobody measured this." in text


def test_croissant_passes_its_validator(bundle):
    mlcroissant = pytest.importorskip("mlcroissant")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(str(bundle / "croissant.json"))
        assert not dataset.metadata.ctx.issues.errors
        rows = list(dataset.records("images"))
    assert len(rows) == 6
    assert rows[0]["images/image_id"] in (b"synthetic-0000", "synthetic-0000")


def test_croissant_says_that_all_is_synthetic(bundle):
    content = json.loads((bundle / "croissant.json").read_text())
    assert content["conformsTo"] == [
        "http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0",
    ]  # fmt: skip
    assert content["rai:hasSyntheticData"] is True
    assert content["rai:dataCollectionType"] == ["Synthetic"]
    assert any("OPEN QUESTION" in text for text in content["rai:dataBiases"])
    assert {item["@id"] for item in content["distribution"]} == {"metadata.csv", "dicom-files", "png-files"}


def test_pdf_without_its_library_says_what_to_do(cohort, scores, save, config, key, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ConfigError, match=r"synthcohort\[pdf\]"):
        release(cohort.path, save(scores), tmp_path / "bundle", replace(config, pdf=True), key=key)
    assert not (tmp_path / "bundle").exists()


def test_the_summary_is_one_page(bundle):
    weasyprint = pytest.importorskip("weasyprint")
    assert len(weasyprint.HTML(string=page(bundle, "summary")).render().pages) == 1
