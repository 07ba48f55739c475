import pytest

from synthcohort.models.image_words import METHODS, PARTS, cues


@pytest.mark.parametrize(
    ("text", "methods", "parts"),
    [
        ("A radiograph of the left knee.", {"radiograph"}, {"knee"}),
        ("Chest X-RAY, PA", {"radiograph"}, {"chest"}),
        ("H&E-stained section of colonic tissue", {"histology"}, {"colon"}),
        ("Computed  tomography\nof the thorax", {"CT"}, {"chest"}),
        ("US image of the breast", {"ultrasound"}, {"breast"}),
        ("PET of the whole body", {"PET"}, {"whole body"}),
        ("CXR", {"radiograph"}, {"chest"}),
        ("mammography", {"mammogram"}, {"breast"}),
        ("cervical spine", set(), {"spine"}),
        ("MRI of the thoracic spine", {"MRI"}, {"spine"}),
    ],
)
def test_methods_and_parts_are_found(text: str, methods: set[str], parts: set[str]) -> None:
    found = cues(text)
    assert (found.methods, found.parts) == (methods, parts)


@pytest.mark.parametrize(
    "text",
    ["show us a pet", "october", "a kneeling brainy person", "a direct act", "handsome", "bloody", "mr. Smith", ""],
)
def test_words_inside_words_and_small_abbreviations_are_none(text: str) -> None:
    found = cues(text)
    assert not found.methods
    assert not found.parts


def test_every_word_of_the_tables_names_its_group() -> None:
    for place, table in (("methods", METHODS), ("parts", PARTS)):
        for name, words in table.items():
            for word in words.split(", "):
                assert name in getattr(cues(f"see {word.removesuffix('-')}."), place), word
