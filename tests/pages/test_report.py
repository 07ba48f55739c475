import html.parser
import re

import pytest

from synthcohort.evaluation.owner import MEANING
from synthcohort.pages.owner import Pair, render_owner
from synthcohort.pages.report import answer, flatten, render_evidence, sentence
from synthcohort.pages.words import FAMILIES

VOID = {"meta", "col", "img", "br", "link", "input", "hr", "line", "rect", "circle", "path"}


class Outline(html.parser.HTMLParser):
    """Tags that don't nest, ids, links, images, headings and tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.images: list[dict] = []
        self.headings: list[int] = []
        self.header_cells: list[dict] = []
        self.scripts = 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.targets.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "th":
            self.header_cells.append(values)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.scripts += tag == "script" or any(name.startswith("on") for name in values)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.faults == []
    assert parser.open == []
    return parser


def check_page(page: str) -> Outline:
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    assert all(target.startswith("#") and target[1:] in found.ids for target in found.targets)
    assert found.scripts == 0
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in found.images)
    assert found.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    assert "default-src 'none'" in page, "the page itself forbids every request"
    outside = re.findall(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//[^\"'\s]+", page)
    assert outside == []
    return found


def test_report_is_a_sound_self_contained_page(scores, sheets, decision):
    for made in (None, decision):
        found = check_page(render_evidence(scores, sheets, made))
        assert len(found.images) == len(sheets)
        cells = [cell for cell in found.header_cells if cell.get("class") != "none"]
        assert all(cell.get("scope") for cell in cells)


def test_the_same_input_gives_the_same_bytes(scores, sheets, decision):
    assert render_evidence(scores, sheets, decision) == render_evidence(scores, sheets, decision)


def test_every_score_and_check_is_there(scores, sheets):
    page = render_evidence(scores, sheets)
    for family in FAMILIES:
        assert family.question in page
    for text in ("3.06", "2.85 to 3.27", "41.0", "0.10", "0.04 to 0.17", "not measured", "near the floor. Lower"):
        assert text in page, text
    assert "kl_grade = 4" in page
    assert "Unheard of" in page, "a group the page does not know is shown all the same"
    assert scores["synthetic"]["digest"] in page
    assert "sampler.steps" in page


def test_a_check_that_is_not_named_is_inconclusive(scores, sheets):
    del scores["families"]["harm"]
    page = render_evidence(scores, sheets)
    assert "do not name this check" in page


def test_what_is_inconclusive_stands_under_untested(scores, sheets):
    scores["families"]["membership"] = {"verdict": "inconclusive", "reason": "not built yet", "figures": {}}
    page = render_evidence(scores, sheets)
    untested = page[page.index('id="untested"') :]
    assert "does not make this check yet" in untested[: untested.index("</section>")]


@pytest.mark.parametrize(("copies", "screened"), [("fail", True), ("pass", False), ("pass", None)])
def test_no_image_is_shown_that_could_be_a_patient(scores, sheets, copies, screened):
    scores["families"]["copies"]["verdict"] = copies
    scores["synthetic"]["screened"] = screened
    page = render_evidence(scores, sheets)
    assert check_page(page).images == []
    assert "No image is shown, because" in page


def test_names_from_outside_are_escaped(scores, sheets, decision):
    scores["synthetic"]["name"] = "<script>alert(1)</script>"
    scores["families"]["copies"]["reason"] = "<img src=x onerror=alert(1)>"
    decision["rules"][0]["reason"] = "<b>bold</b>"
    scores["scores"][0]["encoder"] = '"><svg onload=x>'
    page = render_evidence(scores, {'"><script>': next(iter(sheets.values()))}, decision)
    assert "<script" not in page
    check_page(page)


@pytest.mark.parametrize(
    ("verdict", "failed", "unclear", "words"),
    [
        ("pass", [], [], "every one of the seven checks passed"),
        ("fail", ["copies"], [], "1 check failed."),
        ("fail", ["copies", "harm"], ["membership"], "2 checks failed, and 1 check could not be concluded."),
        ("inconclusive", [], ["a", "b"], "no check failed, but 2 checks could not be concluded."),
    ],
)
def test_the_answer_says_the_verdict(scores, verdict, failed, unclear, words):
    scores.update(verdict=verdict, failed=failed, inconclusive=unclear)
    found = answer(scores, None)
    assert words in found["text"]
    assert found["tone"] == verdict


def test_the_answer_says_the_decision(scores, decision):
    found = answer(scores, decision)
    assert found["tone"] == "fail"
    assert "must not be shared" in found["text"]
    assert found["reasons"] == ["No license is stated."]
    decision.update(decision="release", rules=[{**rule, "passed": True} for rule in decision["rules"]])
    assert answer(scores, decision)["tone"] == "pass"


def test_small_words():
    assert "does not make this check yet" in sentence("not built yet")
    assert sentence("too few images") == "Too few images."
    assert sentence("") == "No reason was recorded."
    assert flatten({"b": {"c": 1, "a": [1, 2]}, "a": None}) == [("a", "not recorded"), ("b.a", "1, 2"), ("b.c", "1")]
    assert flatten({"a": {}, "b": True}) == [("a", "none"), ("b", "yes")]


def test_a_score_without_a_value_says_why(scores, sheets):
    made = {score["name"]: score for score in scores["scores"]}
    made["odd"]["computed_on"] = "only 3 images of this class"
    made["copies"].update(value=None, low=None, high=None, control=None, family="copies")
    scores["families"]["copies"].update(verdict="inconclusive", reason="the real cohort has no control patients")
    page = render_evidence(scores, sheets)
    check_page(page)
    for reason in ("only 3 images of this class", "the real cohort has no control patients"):
        assert f'not measured</strong> <span class="between">{reason}</span>' in page
    assert "Computed on only 3 images" not in page
    assert 'not measured</strong> <span class="between">no interval' not in page


def test_what_was_not_measured_is_said_once_and_never_passes(scores, sheets):
    one = {score["name"]: score for score in scores["scores"]}["copies"]
    rows = [
        {**one, "name": "rare", "title": "Rarely found", "value": None, "low": None, "high": None, "control": None,
         "family": "membership", "verdict": "pass", "encoder": attack, "computed_on": f"needs {needed} control images"}
        for attack, needed in (("nearest", 1000), ("density", 1000), ("loss", 500))
    ]  # fmt: skip
    scores["scores"] = rows
    page = render_evidence(scores, sheets)
    check_page(page)
    card = page[page.index("Rarely found") : page.index("</article>", page.index("Rarely found"))]
    assert "nearest, density: needs 1000 control images." in card
    assert card.count("needs 1000") == 1
    assert '<th role="rowheader" scope="row">loss</th>' in card
    assert 'not measured</strong> <span class="between">needs 500 control images' in card
    assert "badge pass" not in card


def test_the_power_of_the_copy_check_is_drawn_and_said(scores, sheets):
    figures = {
        "copies": 1, "synthetic_images": 1000, "control_hits": 1, "control_images": 900, "hits_needed": 9,
        "smallest_rate_caught": 0.0153, "detectable_rate": 0.02, "sensitivity": {"value": 0.97},
        "power": [{"leak_rate": 0.001, "fail_probability": 0.0}, {"leak_rate": 0.01, "fail_probability": 0.714},
                  {"leak_rate": 0.05, "fail_probability": 1.0}],
    }  # fmt: skip
    scores["families"]["copies"]["figures"] = figures
    page = render_evidence(scores, sheets)
    check_page(page)
    part = page[page.index('id="copy-power"') :]
    part = part[: part.index("</article>")]
    assert part.count("<polyline") == 2
    for text in ("0.1 %", "<td>71</td>", "1.53 % would have failed 95 times of 100", "at most 2 %",
                 "9 synthetic images or more", "Good is a curve", "finds 97 %", "this audit: 100 at 5 %"):  # fmt: skip
        assert text in part, text
    assert "could not be concluded" not in part


def test_a_copy_check_without_power_says_so_in_words(scores, sheets):
    found = {"verdict": "inconclusive", "reason": "only 40 images of control patients; the policy asks for 200 or more",
             "figures": {"copies": 0, "synthetic_images": 60, "control_hits": 0, "control_images": 40}}  # fmt: skip
    scores["families"]["copies"] = found
    page = render_evidence(scores, sheets)
    check_page(page)
    part = page[page.index('id="copy-power"') :]
    part = part[: part.index("</article>")]
    assert "<svg" not in part
    assert "could not be concluded: only 40 images of control patients" in part
    assert "0 of 60 synthetic images" in part
    found["figures"] |= {"power": [{"leak_rate": 0.1, "fail_probability": 0.2}], "smallest_rate_caught": None}
    assert "No share of copies would surely have failed" in render_evidence(scores, sheets)


def test_owner_page_carries_its_warning_and_the_pairs(sheets):
    png = next(iter(sheets.values()))
    pairs = [Pair(png, png, "synthetic-1", "real-1", 0.99, flagged=True), Pair(png, png, "synthetic-2", "real-2", 0.5)]
    control = {"value": 0.9, "low": 0.88, "high": 0.92}
    page = render_owner("toy", pairs, 0.95, control, meaning=MEANING, sheets={"kl_grade = 4": (png, png)})
    assert "the log odds that a pair is a copy" in page
    found = check_page(page)
    assert len(found.images) == 6
    assert "must never leave" in page
    assert page.count("Counts as a copy") == 1
