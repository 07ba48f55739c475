import pytest

from synthcohort.pages.samples import minus, sample, shared

ROLES = {"train": 60, "test": 20}


def row(**more):
    return {"n_real": 12, "n_synthetic": 500, "split": "test", **more}


def test_what_texts_share_is_said_once():
    texts = [f"6 networks an arm, on {n} patients of the class; recall 0.{n}; paired by patient" for n in (10, 20)]
    assert shared(texts) == (
        "6 networks an arm; paired by patient",
        ["on 10 patients of the class; recall 0.10", "on 20 patients of the class; recall 0.20"],
    )
    assert shared(["one (a, b; c), two", "one (a, b; c), three"]) == ("one (a, b; c)", ["two", "three"])
    assert shared(["same, all"] * 3) == ("same, all", [""] * 3)
    assert shared([]) == ("", [])


def test_numbers_and_role_stand_before_the_details():
    assert sample([row()], ROLES, "all pairs", sized=True) == (
        "Computed on 500 synthetic images and 12 real ones of test patients. All pairs."
    )
    assert sample([row(), row(n_real=9)], ROLES, "", sized=False) == "Computed on real images of test patients."
    assert sample([row(n_real=None, split=None)], ROLES, "", sized=True) == "Computed on 500 synthetic images."
    assert sample([row(n_real=None, n_synthetic=None)], ROLES, "records", sized=True) == "Records."


@pytest.mark.parametrize(
    ("rows", "details"),
    [([row(n_real=21)], ""), ([row(), row(split="train")], ""), ([row()], "tested on 20 real test images")],
)
def test_no_role_is_claimed_that_the_numbers_contradict_or_the_details_tell(rows, details):
    assert "test patients" not in sample(rows, ROLES, details, sized=True)


def test_minus_signs_are_true_and_hyphens_stay():
    assert minus("-0.25 stops, from -1 to 1 (-0.04 to 2)") == "−0.25 stops, from −1 to 1 (−0.04 to 2)"
    assert minus("black-box of 2020-01-02, sha256-4") == "black-box of 2020-01-02, sha256-4"
