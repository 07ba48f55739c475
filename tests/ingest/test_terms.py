import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.ingest.terms import (
    find_terms,
    is_missing,
    is_placeholder_id,
    own_words,
    placeholder_ids,
    shared_captions,
    split_terms,
)


def rows_of(values, column="words"):
    return [{column: value} for value in values]


FUNDUS = (["normal fundus"] * 40 + ["glaucoma，cataract"] * 25 + ["glaucoma, drusen"] * 25 + ["cataract"] * 10
          + ["glaucoma, seen once"])  # fmt: skip


def test_terms_between_separators():
    assert split_terms("a | b|a| ", "|") == ["a", "b"]
    assert split_terms("lens dust，  lens   dust、drusen, unknown", ",，、") == ["lens dust", "drusen"]
    found = find_terms("words", rows_of(FUNDUS), range(len(FUNDUS)))
    assert found.common == ("glaucoma", "normal fundus", "cataract", "drusen")
    assert found.frequent == found.common
    nih = ["No Finding"] * 30 + ["Mass|Nodule, small"] * 30 + ["Mass"] * 30
    assert find_terms("words", rows_of(nih), range(90)).common == ("Mass", "No Finding", "Nodule, small")


@pytest.mark.parametrize(
    "values",
    [
        ["Seen today, all well."] * 30 + ["Fell, and it hurts."] * 30,
        ["63,5", "70,1"] * 30,
        ["a", "b"] * 30,
        [f"lesion {i}, seen {i}" for i in range(60)],
        ["Dr Mockup, glaucoma", "Dr Muster, drusen"] * 3 + ["x"] * 60,
        ["2021-03-01, 2021-03-02", "2021-03-03, 2021-03-04"] * 30,
        [],
    ],
    ids=["sentences", "decimal commas", "no separator", "free text", "few", "dates", "nothing"],
)
def test_what_is_no_list_of_terms(values):
    assert find_terms("words", rows_of(values), range(len(values))) is None


def test_terms_that_one_patient_repeats_are_not_shared():
    values = ["Ada, falls"] * 30 + ["Bo, hurts"] * 30
    assert find_terms("words", rows_of(values), [0] * 30 + [1] * 30) is None
    assert find_terms("words", rows_of(values), range(60)) is None
    patients = [f"patient {i}" for i in range(60)]
    assert find_terms("words", rows_of(values), patients) is None  # Ada may be somebody's name
    assert find_terms("words", rows_of(values), patients, asked=True) is not None
    assert find_terms("words", rows_of([value.lower() for value in values]), patients) is not None


CLASSES = ("benign", "malignant", "normal")
TEMPLATES = ("Ultrasound of the breast with {} signs.", "A scan, consistent with {}.", "The breast, {} in appearance.")


def test_templated_captions_are_kept():
    values = [template.format(c) for template in TEMPLATES for c in CLASSES for _ in range(6)] + ["Ada's left breast"]
    words = own_words("words", (), rows_of(values), range(len(values)))
    assert words.text(values[0]) == values[0]
    assert words.text("  " + values[0].replace(" ", "  ")) == values[0]
    assert words.text("Ada's left breast") is None
    [said] = words.said(rows_of(values))
    assert "left out of 1 captions" in said
    assert "Ada" not in said


def test_a_report_repeated_for_all_slices_of_one_patient_is_not_kept():
    values = [f"The lung of {name} shows a mass." for name in ("Muster", "Mockup", "Beispiel") for _ in range(30)]
    assert shared_captions("words", rows_of(values), range(90)) is None
    assert shared_captions("words", rows_of([f"Report {i} of a knee" for i in range(90)]), range(90)) is None


def test_own_words_are_terms_where_there_is_no_caption():
    words = own_words(None, ["other", "words"], [{"other": "x", **row} for row in rows_of(FUNDUS)], range(101))
    assert (words.column, words.text("glaucoma，cataract")) == ("words", "glaucoma, cataract")
    assert words.text("glaucoma, seen once") == "glaucoma"
    assert words.text("seen once") is None
    assert words.said(rows_of(FUNDUS)) != []
    assert own_words(None, ["words"], rows_of(["a", "b"] * 30), range(60)) is None


@given(st.lists(st.sampled_from(["a", "b, c", "c, d", "Ada, c", ""]), max_size=60), st.integers(1, 9))
def test_nothing_enters_that_fewer_than_five_patients_share(values, patients):
    rows, groups = rows_of(values), [i % patients for i in range(len(values))]
    words = own_words(None, ["words"], rows, groups)
    for term in words.kept if words else ():
        assert len({g for row, g in zip(rows, groups, strict=True) if term in row["words"].split(", ")}) >= 5


def test_missing():
    assert all(map(is_missing, ["", " NA ", "unknown", "NaN", "-"]))
    assert not any(map(is_missing, ["none", "0", "no", "normal"]))


def test_captions_that_name_one_patient_in_several_sentences_are_not_kept():
    values = [f"A scan of {part} of Anna Beispiel." for part in ("breast", "lung") for _ in range(9)]
    values += [f"{word} of {part}." for word in ("A scan", "Image") for part in ("breast", "lung") for _ in range(50)]
    for groups in (range(len(values)), [f"patient {i}" for i in range(len(values))]):
        words = own_words("words", (), rows_of(values), groups)
        assert words.text(values[0]) is None
        assert words.text("Image of lung.") == "Image of lung."


@pytest.mark.parametrize(
    "value", ["ANONYMOUS", "Anonymized", "anon.", "Unknown", "NONE", "test", "0", "000", "XXX", "Removed", "", "^"]
)
def test_words_that_are_no_ids(value):
    assert is_placeholder_id(value)
    assert placeholder_ids(["P1", "P2", value, value, value, value]) == {value}


def test_ids_that_name_somebody():
    assert not any(map(is_placeholder_id, ["P0", "anon17", "10", "test-12", "Muster", "A"]))
    assert placeholder_ids(["0", "0", "1", "1", "2"]) == set()
    assert placeholder_ids(["0"] * 9 + ["1", "2"]) == placeholder_ids(["0"] * 9) == {"0"}
