from synthcohort.pages.document import Document, Item, Section, name_of, render_document

ITEMS = (
    Item("Asked?", "<b>said</b>", "stated"),
    Item("Measured?", "0.5 (0.4 to 0.6)", "evidence", "scores.json"),
    Item("Who knows?", "", "open", "answers key “contact”"),
    Item("Is it legal?", "", "counsel"),
    Item("Seen?", "Nobody measured this.", "none"),
)
DOCUMENT = Document("card", "A card", "What it is.", (Section("One", ITEMS, "A lead."),), "a form")


def test_open_questions_are_counted_and_visible():
    assert DOCUMENT.open == 2
    page = render_document(DOCUMENT, "knees")
    assert "2 questions wait for a person" in page
    assert page.count('class="blank"') == 2
    assert "counsel has to answer" in page


def test_a_page_without_open_questions_does_not_ask():
    page = render_document(Document("card", "A card", "", (Section("One", ITEMS[:2]),)), "knees")
    assert "for a person" not in page


def test_what_people_wrote_is_escaped():
    page = render_document(DOCUMENT, "<i>knees</i>", notes=["<script>", "second"])
    assert "<li>second</li>" in page
    assert "<b>said" not in page
    assert "<i>knees" not in page
    assert "&lt;script&gt;" in page


def test_evidence_is_never_marked_as_good():
    """What the run says may be bad news: no tick stands beside it."""
    assert "✓" not in render_document(DOCUMENT, "knees")


def test_names():
    assert name_of("synthetic") == "Synthetic cohort"
    assert name_of("knees") == "Synthetic cohort knees"
