import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.errors import InputError
from synthcohort.models.text import TextEncoder, load_text_encoder
from synthcohort.models.text_type import TypeGuess

FINDINGS = ("no abnormality", "a fracture", "osteoarthritis")
CAPTIONS = {
    "knees": tuple(f"A radiograph of the {side} knee, showing {f}." for side in ("left", "right") for f in FINDINGS),
    "chests": tuple(
        f"{a} of the chest, showing {f}." for a in ("A radiograph", "X-ray") for f in ("pneumonia", "none")
    ),
    "heads": ("MR image of the brain", "A brain MRI slice, showing a glioma.", "MRI slice of the brain, no tumor"),
    "moles": ("dermoscopy of the back, confirmed by histopathology", "Dermoscopy of a nevus", "dermoscopic image"),
}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder()


@pytest.fixture(scope="module")
def guess(encoder: TextEncoder) -> TypeGuess:
    return TypeGuess.fit(CAPTIONS, {name: encoder.sentences(texts) for name, texts in CAPTIONS.items()})


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("knee x-ray", "knees"),
        ("CXR of a 60-year-old man", "chests"),
        ("chest radiograph with a small heart", "chests"),
        ("magnetic resonance image of a head", "heads"),
        ("glioma", "heads"),
        ("pigmented nevus seen by dermoscopy", "moles"),
    ],
)
def test_a_prompt_tells_its_type(guess: TypeGuess, encoder: TextEncoder, prompt: str, name: str) -> None:
    assert guess.guess(prompt, encoder) == name


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a mammogram", r"not trained on \(mammogram; breast\)"),
        ("hand radiograph", r"not trained on \(radiograph; hand\)"),
        ("MRI of the knee", "not trained on"),
        (
            "skin histology",
            "not trained on",
        ),  # that lesions were confirmed by histology makes no histology of dermoscopy
        ("a dog on the beach", r"speaks of no image type that was trained on \(nearest: \w+ and \w+\)"),
        (" ", "does not say which image type"),
    ],
)
def test_an_absent_type_is_refused(guess: TypeGuess, encoder: TextEncoder, prompt: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        guess.guess(prompt, encoder)
    assert "allowed: image types knees, chests, heads, moles; say which one with image_type=" in str(caught.value)


def test_equally_near_types_must_be_told_apart(guess: TypeGuess, encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match=r"fits (knees and chests|chests and knees) about equally"):
        guess.guess("radiograph, X-ray of the knee and the chest, showing osteoarthritis and pneumonia", encoder)


def test_nothing_is_shown_of_the_prompt(guess: TypeGuess, encoder: TextEncoder) -> None:
    with pytest.raises(InputError) as caught:
        guess.guess("a mammogram of Madame Invented", encoder)
    assert "Invented" not in str(caught.value)


def test_it_survives_json(guess: TypeGuess, encoder: TextEncoder) -> None:
    text = json.dumps(guess.to_mapping())
    again = TypeGuess.from_mapping(json.loads(text))
    np.testing.assert_array_equal(again.means, guess.means)
    assert (again.names, again.thresholds, again.said, again.allowed) == (
        guess.names, guess.thresholds, guess.said, guess.allowed,
    )  # fmt: skip
    assert again.guess("knee x-ray", encoder) == "knees"
    assert "osteoarthritis" not in text


def test_types_without_captions_are_never_guessed_but_named(encoder: TextEncoder) -> None:
    some = {"heads": CAPTIONS["heads"], "silent": (), "blank": ("",)}
    guess = TypeGuess.fit(some, {name: encoder.sentences(texts) for name, texts in some.items()})
    assert guess.names == ("heads",)
    assert guess.guess("brain MRI", encoder) == "heads"
    with pytest.raises(InputError, match="image types heads, silent, blank"):
        guess.guess("blood smear", encoder)
    none = TypeGuess.fit({"silent": ()}, {})
    with pytest.raises(InputError, match=r"does not say which image type.*silent"):
        TypeGuess.from_mapping(none.to_mapping()).guess("brain MRI", encoder)


def test_captions_without_such_words_leave_it_to_likeness(encoder: TextEncoder) -> None:
    captions = {"a": ("a lymphocyte", "a monocyte", "a basophil"), "b": ("cataract", "glaucoma", "drusen")}
    guess = TypeGuess.fit(captions, {name: encoder.sentences(texts) for name, texts in captions.items()})
    assert not any(own.methods or own.parts for own in guess.said)
    assert guess.guess("an eosinophil, a lymphocyte", encoder) == "a"
    assert guess.guess("glaucoma and cataract of the eye", encoder) == "b"


@given(st.integers(0, 2**32 - 1))
def test_a_prompt_without_words_of_ours_has_the_nearest_type_or_none(seed: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = {name: draw.normal(size=(3, 4)).astype(np.float32) for name in "ab"}
    vectors = {name: own / np.linalg.norm(own, axis=1, keepdims=True) for name, own in vectors.items()}
    guess = TypeGuess.fit(dict.fromkeys("ab", ("one", "two", "three")), vectors)
    vector = draw.normal(size=4)
    vector /= np.linalg.norm(vector)
    likeness = guess.means.astype(np.float64) @ vector
    best = int(likeness.argmax())
    expected = likeness[best] >= guess.thresholds[best] and np.ptp(likeness) >= 0.06
    try:
        assert guess.of("four", vector) == "ab"[best]
        assert expected
    except InputError:
        assert not expected
