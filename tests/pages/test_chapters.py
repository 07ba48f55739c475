import re

import pytest

from synthcohort.pages.chapters import chapters, good
from synthcohort.pages.report import render_evidence

FLOOR = {"value": 0.5, "low": 0.47, "high": 0.53}


def blocks(scores, group):
    return next(chapter["blocks"] for chapter in chapters(scores) if chapter["group"].name == group)


def damage(make_score, kind, value):
    return make_score(
        f"damage_shift_{kind}", "fidelity", value, value - 0.02, value + 0.02, title=f"Images {kind} as a whole",
        family="image_damage", verdict="fail", floor=FLOOR, control=FLOOR, good="Good is close to 0.5: as often.",
    )  # fmt: skip


def test_a_row_never_wears_the_verdict_of_its_check(scores, make_score, sheets):
    scores["scores"] = [damage(make_score, "noisy", 0.107), damage(make_score, "blocky", 0.768)]
    scores["families"]["image_damage"] = {"verdict": "fail", "reason": "blocks", "figures": {}}
    scores["policy"]["thresholds"]["image_damage"] = {"max_shift": 0.2}
    (block,) = blocks(scores, "fidelity")
    assert [row.label for panel in block.panels for row in panel.rows] == ["Images noisy", "Images blocky"]
    assert (block.check.name, block.check.verdict) == ("image_damage", "fail")
    assert [limit.text for limit in block.limits] == ["at most 0.7"]
    page = render_evidence(scores, sheets)
    card = page[page.index('id="score-damage_shift"') :]
    card = card[: card.index("</article>")]
    assert card.count("badge fail") == 1, "once for the check, not in the rows"
    assert 'href="#check-image_damage"' in card
    assert "not of each row" in card


def test_attacks_are_rows_on_one_scale_under_a_title_that_names_none(scores, make_score):
    scores["scores"] = [
        make_score("membership_auc", "privacy", value, value - 0.03, value + 0.03, encoder=attack, family="membership",
                   title=f"Telling training from control images (black-box: {attack})", split="control",
                   computed_on="4294 training against 660 control images, by patient", n_real=4294, n_synthetic=None)
        for attack, value in (("nearest", 0.507), ("density", 0.46))
    ]  # fmt: skip
    (block,) = blocks(scores, "privacy")
    assert block.title == "Telling training from control images"
    (panel,) = block.panels
    assert [row.label for row in panel.rows] == ["black-box: nearest", "black-box: density"]
    assert [row.small for row in panel.rows] == ["", ""]
    assert "4294 training against 660 control images" in block.sample
    assert "of control patients" not in block.sample, "4,294 is the number of training images"


def test_rows_say_only_what_they_do_not_share(scores, make_score):
    scores["scores"] = [
        make_score("recall_lost_both", "utility", 0.1, 0.0, 0.2, subset=f"grade={grade}", n_real=n, n_synthetic=500,
                   computed_on=f"6 networks an arm, on {n} patients of the class; paired by patient")
        for grade, n in ((0, 15), (1, 9))
    ]  # fmt: skip
    (block,) = blocks(scores, "utility")
    assert block.sample.endswith("6 networks an arm; paired by patient.")
    assert [row.small for row in block.panels[0].rows] == ["on 15 patients of the class", "on 9 patients of the class"]


def test_what_an_encoder_needs_stands_under_its_own_panel(scores):
    for score, features in zip(scores["scores"][:2], (256, 1280), strict=True):
        score["computed_on"] = f"{features} features of each image; by patient"
    first = blocks(scores, "fidelity")[0]
    assert [panel.sample for panel in first.panels] == ["256 features of each image", "1280 features of each image"]
    assert first.sample.endswith("By patient.")


def test_an_unusual_level_is_named_at_its_row(scores, make_score):
    common = {"family": "coverage", "encoder": "self_trained"}
    scores["scores"] = [
        make_score("coverage_ratio", "fidelity", 0.98, 0.9, 1.0, **common),
        make_score("coverage_ratio", "fidelity", 0.97, 0.8, 1.0, subset="grade=0", confidence=0.99, **common),
    ]
    rows = blocks(scores, "fidelity")[0].panels[0].rows
    assert [row.small for row in rows] == ["", "99 % interval"]


def test_a_learning_curve_is_drawn_and_its_rows_named_by_numbers(scores, make_score):
    scores["scores"] = [
        make_score("learning_curve", "utility", value, value - 0.05, value + 0.05, n_real=real, n_synthetic=made,
                   subset=f"probe: {share}% of the real images, {times} times as many synthetic", floor=FLOOR)
        for share, real, times, made, value in ((5, 215, 0, 0, 0.25), (5, 215, 1, 215, 0.29), (5, 215, 5, 997, 0.31),
                                               (100, 4294, 0, 0, 0.44), (100, 4294, 1, 1000, 0.41))
    ]  # fmt: skip
    (block,) = blocks(scores, "utility")
    assert [row.label for row in block.panels[0].rows] == [
        "215 real + 215 synthetic", "215 real + 997 synthetic", "4,294 real + 1,000 synthetic",
    ]  # fmt: skip
    assert block.chart.count("<polyline") == 2, "no line for 5 times as many, which was computed at one share only"


def test_a_class_that_the_reader_never_finds_proves_nothing(scores, make_score):
    blind = {"value": 0.0, "low": 0.0, "high": 0.02}
    scores["scores"] = [
        make_score("prompt_recall", "alignment", 0.0, 0.0, 0.02, subset="grade=1", floor=blind, better="higher"),
        make_score("prompt_recall", "alignment", 0.5, 0.4, 0.6, subset="grade=2", floor=FLOOR, better="higher"),
    ]
    rows = blocks(scores, "alignment")[0].panels[0].rows
    assert ["proves nothing" in row.small for row in rows] == [True, False]


def test_two_figures_of_one_title_are_told_apart(scores, make_score):
    scores["scores"] = [
        make_score("prompt_accuracy", "alignment", 0.5, title="Label read"),
        make_score("prompt_recall", "alignment", 0.5, title="Label read", subset="grade=1"),
    ]
    assert [block.title for block in blocks(scores, "alignment")] == ["Label read", "Label read, by grade"]


def test_a_probe_without_power_says_so_beside_its_figure_and_in_the_end(scores, make_score, sheets):
    reason = "too weak to say more: no leak rate would have been seen"
    scores["scores"] = [
        make_score("reidentified_rate", "privacy", 0.01, 0.0, 0.02, computed_on=f"best match: {reason}")
    ]
    scores["figures"] = {"reidentification": {"verdict": "inconclusive", "reason": reason}}
    block = blocks(scores, "privacy")[0]
    assert block.probe == ("inconclusive", "Too weak to say more: no leak rate would have been seen.")
    assert reason not in block.sample
    page = render_evidence(scores, sheets)
    assert "Re-identification:" in page[page.index('id="untested"') :]


def test_what_has_no_number_is_listed_under_untested(scores, sheets):
    scores["scores"][-1].update(
        title="Rarely found (attack x)", computed_on="40 images; not estimable: needs 1000 more"
    )
    page = render_evidence(scores, sheets)
    listed = page[page.index('id="untested"') :]
    assert re.search(r"Rarely found:</strong> Not estimable, needs 1000 more\.", listed)


@pytest.mark.parametrize(
    ("text", "better", "said"),
    [
        ("Good is close to the floor: alike.", "lower", 
         "Good is close to the floor: alike. Lower is better, down to the floor."),
        ("Good is close to 0.5: as often.", "lower", "Good is close to 0.5: as often."),
        ("Good is 0 or less.", "lower", "Good is 0 or less. Lower is better."),
        ("How sharp its eyes are", "none", "How to read it: how sharp its eyes are."),
        ("near the floor", "higher", "Good looks like this: near the floor. Higher is better."),
        ("", "higher", "Higher is better."),
    ],
)  # fmt: skip
def test_good_never_contradicts_its_direction(text, better, said):
    assert good({"good": text, "better": better}) == said
