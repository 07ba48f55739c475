from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthcohort.core.errors import InputError
from synthcohort.models import text_table as table_module
from synthcohort.models.bert import Shape
from synthcohort.models.text import TextEncoder, load_text_encoder
from synthcohort.models.text_table import text_table
from synthcohort.models.wordpiece import WordPiece

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "left", "right", "knee", "x", "##ray", ","]
TEXTS = ["left knee", "right knee, xray", "", "knee"]


def encoder(length: int = 5, digest: str = "sha256:0", seed: int = 0) -> TextEncoder:
    """One layer of random numbers, four wide."""
    draw = torch.Generator().manual_seed(seed)
    shape = Shape(width=4, layers=0, heads=1, positions=8, epsilon=1e-12, approximate="none")
    sizes = {
        "embeddings.word_embeddings.weight": (len(WORDS), 4), "embeddings.position_embeddings.weight": (8, 4),
        "embeddings.token_type_embeddings.weight": (2, 4), "embeddings.LayerNorm.weight": (4,),
        "embeddings.LayerNorm.bias": (4,),
    }  # fmt: skip
    weights = {name: torch.randn(size, generator=draw) for name, size in sizes.items()}
    return TextEncoder("made up", length, digest, shape, WordPiece({word: i for i, word in enumerate(WORDS)}), weights)


class Counting(TextEncoder):
    """Counts what it embeds, and dies at a chosen one."""

    embedded: list[str]
    dies_at: str | None

    def embed(self, prompt: str) -> np.ndarray:
        if prompt == self.dies_at:
            raise KeyboardInterrupt
        self.embedded.append(prompt)
        return super().embed(prompt)


def counting(dies_at: str | None = None) -> Counting:
    plain = encoder()
    found = Counting(plain.name, plain.length, plain.digest, plain.shape, plain.pieces, plain.weights)
    object.__setattr__(found, "embedded", [])
    object.__setattr__(found, "dies_at", dies_at)
    return found


def test_lookups_are_what_the_encoder_says(tmp_path: Path):
    plain = encoder()
    table = text_table(tmp_path / "text", [*TEXTS, "knee"], plain)
    assert len(table) == len(TEXTS)
    asked = ["knee", "", "right knee, xray", "knee"]
    rows = table.rows(asked)
    assert rows.dtype == np.int64
    tokens, mask = table.tokens(rows)
    expected, where = plain.encode(asked)
    assert tokens.dtype == torch.float32
    np.testing.assert_array_equal(tokens.numpy(), expected.astype(np.float32))
    np.testing.assert_array_equal(mask.numpy(), where)
    np.testing.assert_allclose(table.sentences(rows), plain.sentences(asked), atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("left knee,x\ud800", max_size=12), max_size=8))
def test_any_texts_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    plain = encoder()
    table = text_table(tmp_path_factory.mktemp("any") / "text", texts, plain)
    tokens, _ = table.tokens(table.rows(texts))
    np.testing.assert_array_equal(tokens.numpy(), plain.encode(texts)[0].astype(np.float32))


def test_a_table_is_used_again_while_it_holds_all(tmp_path: Path):
    text_table(tmp_path / "text", TEXTS, encoder())
    again = counting()
    assert len(text_table(tmp_path / "text", TEXTS[1:3], again)) == len(TEXTS)
    assert not again.embedded
    table = text_table(tmp_path / "text", ["left"], again)
    assert again.embedded == ["left"]
    assert len(table) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["starts.npy", "text", "text.json", "tokens.npy"]


def test_another_encoder_or_length_makes_it_anew(tmp_path: Path):
    first = text_table(tmp_path / "text", TEXTS, encoder())
    before = first.tokens([0])[0].clone()
    other = text_table(tmp_path / "text", TEXTS, encoder(digest="sha256:1", seed=1))
    assert not torch.equal(other.tokens([0])[0], before)
    assert text_table(tmp_path / "text", TEXTS, encoder(length=8)).tokens([0])[0].shape == (1, 8, 4)


def test_a_killed_call_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_module, "_CHUNK", 2)
    texts = ["left", "right", "knee", "left knee", "right knee"]
    with pytest.raises(KeyboardInterrupt):
        text_table(tmp_path / "text", texts, counting(dies_at="left knee"))
    assert not (tmp_path / "text").exists()
    again = counting()
    table = text_table(tmp_path / "text", texts, again)
    assert again.embedded == texts[2:]
    np.testing.assert_array_equal(table.tokens(table.rows(texts))[0], encoder().encode(texts)[0].astype(np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_what_a_killed_call_left_of_other_texts_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_module, "_CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        text_table(tmp_path / "text", ["left", "knee"], counting(dies_at="knee"))
    table = text_table(tmp_path / "text", ["right", "knee"], encoder())
    np.testing.assert_array_equal(table.tokens([0])[0], encoder().encode(["right"])[0].astype(np.float32))


def test_a_damaged_table_is_made_anew(tmp_path: Path):
    expected = text_table(tmp_path / "text", TEXTS, encoder()).tokens([0])[0].clone()
    (tmp_path / "text" / "tokens.npy").write_bytes(b"damaged")
    assert torch.equal(text_table(tmp_path / "text", TEXTS, encoder()).tokens([0])[0], expected)


def test_no_caption_stands_in_the_files(tmp_path: Path):
    text_table(tmp_path / "text", TEXTS, encoder())
    assert all(b"knee" not in path.read_bytes() for path in (tmp_path / "text").iterdir())


def test_unknown_texts_are_counted_not_shown(tmp_path: Path):
    table = text_table(tmp_path / "text", TEXTS, encoder())
    with pytest.raises(InputError, match="2 of 3 texts are not in it") as caught:
        table.rows(["knee", "secret", "other"])
    assert "secret" not in str(caught.value)
    with pytest.raises(IndexError, match="row 4 of a text table of 4"):
        table.tokens([4])
    with pytest.raises(IndexError):
        table.tokens([-1])


def test_a_table_without_captions_is_silent(tmp_path: Path):
    tokens, mask = text_table(tmp_path / "text", [], encoder()).tokens(np.zeros(3, np.int64))
    assert tokens.shape == (3, 5, 4)
    assert not mask.any()


def test_the_packaged_encoder_fills_a_table(tmp_path: Path):
    packaged = load_text_encoder()
    table = text_table(tmp_path / "text", ["chest CT", "blood smear"], packaged)
    np.testing.assert_array_equal(table.tokens([1])[0][0], packaged.encode(["blood smear"])[0][0].astype(np.float32))
