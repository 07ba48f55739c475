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


def test_figures_say_what_is_good_and_what_guessing_reaches(cohort, scores, save, config, key, tmp_path):
    attack = {
        **scores["scores"][1], "name": "membership_auc", "title": "Telling training from control images", "value": 0.58,
        "low": 0.49, "high": 0.66, "family": "membership", "floor": {"value": 0.5, "low": None, "high": None},
        "good": "Good is 0.5.",
    }  # fmt: skip
    scores["scores"] += [{**attack, "encoder": "first_eyes"}, {**attack, "encoder": "second_eyes"}]
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    text = page(tmp_path / "bundle", "regulation")
    assert "0.58 (0.49 to 0.66 at 95%); guessing reaches 0.5\nGood is 0.5." in text
    assert text.count("Good is 0.5.") == 1, "once for figures of one kind"
    assert "no interval" not in text
    assert "floor, real against real, 0.20 (0.10 to 0.30)" in page(tmp_path / "bundle", "scorecard")


def test_the_scorecard_page_speaks_in_words_and_says_who_spoke(cohort, scores, save, config, key, tmp_path):
    for name, title in (("recall", "Recall"), ("group_gap_blur", "Gap: blurred"), ("stress_blur", "Blur")):
        for part, value in (("kl_grade=0", 0.9), ("kl_grade=1", 0.5)):
            part = "2 pixels" if name == "stress_blur" else part
            item = {"name": name, "title": title, "subset": part, "encoder": "self_trained", "value": value}
            scores["scores"].append({**scores["scores"][0], **item})
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    card = read_artifact(tmp_path / "bundle" / "scorecard.json", "scorecard", 2)
    assert list(card["criteria"][-1]["spread"]) == ["recall self_trained"], "a gap is a spread; a level is no group"
    text = page(tmp_path / "bundle", "scorecard")
    assert "Spread: Recall (self trained)" in text
    assert "from 0.5 (kl grade = 1) to 0.9 (kl grade = 0) over 2 groups and classes" in text
    assert "Every check passed." in text
    assert "sampling.steps: 12" in text
    assert re.search(r"Research on graders\.\s*<span class=\"by\">.*stated by the owner", text)


def test_what_was_set_aside_is_said_in_words_on_page_site_and_readme(cohort, scores, save, config, key, tmp_path):
    scores["families"]["harm"].update(verdict="fail", reason="one class is lost " * 12)
    scores.update(verdict="fail", failed=["harm"])
    reason = "The partner measures this itself, see the contract."
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key, overrides={"family:harm": reason})
    text, title = page(tmp_path / "bundle", "summary"), "Training with the images leaves no class worse off"
    assert f"“{title}” does not hold. The reason given: “{reason}”" in text
    assert "family:harm" not in text
    assert "Failed, and set aside" in text, "a check that failed stands among what was found"
    readme = (tmp_path / "bundle" / "README.txt").read_text()
    assert f"- {title}: does not hold.\n  The reason given: {reason}\n  What was found:" in readme
    assert max(map(len, readme.splitlines())) <= 130
    assert re.search(r"Open questions: +22 wait for a person", readme)
    assert "1 rule of the policy does not hold" in (tmp_path / "bundle" / "index.html").read_text()


def test_the_data_card_counts_what_the_screen_did(cohort, scores, save, config, key, tmp_path):
    (cohort.path / "screened.json").write_text('{"drawn": 8, "images": [{"image_id": "a"}, {"image_id": "b"}]}')
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    text = page(tmp_path / "bundle", "data_card")
    assert "2 of 8 drawn were too near to one." in text
    assert "count 6; seed 7" in text
    assert "{}" not in text
