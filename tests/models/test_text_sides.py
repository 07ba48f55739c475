import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.models.text_sides import mirrored

SIDED = [
    ("A radiograph of the left knee.", "A radiograph of the right knee."),
    ("Left pleural effusion, RIGHT lung clear", "Right pleural effusion, LEFT lung clear"),
    ("right-sided, leftward shift to the rightmost edge", "left-sided, rightward shift to the leftmost edge"),
    ("knee, L; knee (R) R/L", "knee, R; knee (L) L/R"),
    ("OD 20/40, OS 20/20, OU normal", "OS 20/40, OD 20/20, OU normal"),
    ("O.D. and oculus sinister", "O.S. and oculus dexter"),
    ("Oculus Dexter. OCULUS SINISTER", "Oculus Sinister. OCULUS DEXTER"),
    ("RMLO and LCC views, opacity in the RLL", "LMLO and RCC views, opacity in the LLL"),
    ("levoscoliosis", "dextroscoliosis"),
    ("20/40 OD, 20/20 OS", "20/40 OS, 20/20 OD"),
]
UNSIDED = [
    "L-spine, L spine and L4 vertebra",
    "upright view, copyright, bright cleft lip, aleft",
    "at right angles to a left-angled cut",
    "2 L of fluid, R-R interval, L'image",
    "os calcis; ods; a sinister nodule; the lad",
    "a chest CT of a woman in her sixties",
    "rIGHT",
]


@pytest.mark.parametrize(("text", "other"), SIDED)
def test_sides_change(text: str, other: str):
    assert mirrored(text) == other
    assert mirrored(other) == text


@pytest.mark.parametrize("text", UNSIDED)
def test_what_is_no_side_stays(text: str):
    assert mirrored(text) == text


WORDS = [
    "left", "right", "Left", "RIGHT", "L", "R", "l", "OD", "OS", "os", "oculus", "Oculus", "dexter", "SINISTER", "R-R",
    "L-spine", "angle", "2", "RLL", "O.S.", "levocardia", "x",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(["", " ", "-", ". ", "/", "'", "\n", "é", "_"]))))
def test_twice_is_the_text_again(parts: list[tuple[str, str]]):
    text = "".join(word + between for word, between in parts)
    assert mirrored(mirrored(text)) == text


@given(st.text(max_size=80))
def test_twice_is_any_text_again(text: str):
    assert mirrored(mirrored(text)) == text
