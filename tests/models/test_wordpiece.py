import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.errors import ConfigError
from synthcohort.models.wordpiece import WordPiece, load_wordpiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "knee", "radio", "##graph", "##s", "of", "the", "left", ",", "a", "##a"]


def tokenizer(*more: str, lower: bool = True) -> WordPiece:
    return WordPiece({piece: number for number, piece in enumerate([*PIECES, *more])}, lower)


def spelled(pieces: WordPiece, text: str) -> list[str]:
    names = {number: piece for piece, number in pieces.pieces.items()}
    return [names[number] for number in pieces(text)][1:-1]


def test_the_longest_piece_comes_first():
    pieces = tokenizer("rad", "##io", "##graphs")
    assert spelled(pieces, "radiographs of the knee") == ["radio", "##graphs", "of", "the", "knee"]


def test_a_text_stands_between_its_marks():
    assert tokenizer()("knee") == [2, 4, 3]
    assert tokenizer()("") == [2, 3]


def test_a_word_with_an_unknown_part_is_one_unknown_piece():
    assert spelled(tokenizer(), "radiographic knee") == ["[UNK]", "knee"]
    assert spelled(tokenizer(), "a" * 100) == ["a", *["##a"] * 99]
    assert spelled(tokenizer(), "a" * 101) == ["[UNK]"]


def test_case_accents_and_punctuation():
    assert spelled(tokenizer(), "KNÉE,the\u00a0Left\tknee") == ["knee", ",", "the", "left", "knee"]
    cased = tokenizer("Left", lower=False)
    assert spelled(cased, "Left left LEFT") == ["Left", "left", "[UNK]"]


def test_control_characters_vanish_and_ideographs_stand_alone():
    pieces = tokenizer("肺", "炎", "$")
    assert spelled(pieces, "kn\u200bee\x00 \ufffdof") == ["knee", "of"]
    assert spelled(pieces, "肺炎knee$") == ["肺", "炎", "knee", "$"]


def test_special_marks_in_a_prompt_are_plain_text():
    assert 3 not in tokenizer("[", "]", "sep")("[SEP] knee")[1:-1]


@given(st.text(max_size=60))
def test_any_text_has_pieces_and_blanks_around_it_change_nothing(text: str):
    pieces = tokenizer()
    numbers = pieces(text)
    assert numbers[0] == 2
    assert numbers[-1] == 3
    assert set(numbers) <= set(pieces.pieces.values())
    assert pieces(f" \n{text}\t ") == numbers


def write(folder: Path, vocabulary: list[str] | None = None, **described: object) -> Path:
    if vocabulary is not None:
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    for name, content in described.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_vocabulary_from_either_file(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "json").mkdir()
    text = load_wordpiece(write(tmp_path / "text", PIECES))
    model = {"vocab": {piece: number for number, piece in enumerate(PIECES)}}
    described = load_wordpiece(write(tmp_path / "json", tokenizer={"model": model, "normalizer": {"lowercase": True}}))
    assert text == described == tokenizer()


def test_windows_line_ends_are_no_part_of_a_piece(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(PIECES).encode())
    assert load_wordpiece(tmp_path).pieces == tokenizer().pieces


def test_capital_letters_are_kept_when_said_or_when_the_vocabulary_has_them(tmp_path):
    for number, (vocabulary, stated, lower) in enumerate(
        [
            (PIECES, None, True),
            ([*PIECES, "Left"], None, False),
            ([*PIECES, "Left"], True, True),
            (PIECES, False, False),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = {} if stated is None else {"tokenizer_config": {"do_lower_case": stated}}
        assert load_wordpiece(write(folder, vocabulary, **config)).lower is lower


@pytest.mark.parametrize(
    ("vocabulary", "described", "words"),
    [
        (None, {}, "no vocabulary of word pieces"),
        (None, {"model": {"type": "BPE", "vocab": ["a"]}}, "no vocabulary of word pieces"),
        (["knee"], {}, r"without \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
    ],
)
def test_another_kind_of_tokenizer_is_refused(tmp_path, vocabulary, described, words):
    with pytest.raises(ConfigError, match=words):
        load_wordpiece(write(tmp_path, vocabulary, tokenizer=described))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: cannot be read as JSON"):
        load_wordpiece(tmp_path)
