"""Text to the numbers of word pieces, as BERT's vocabularies want it: no library beside Python's own.

Words: a *piece* is a line of the vocabulary; one that starts with `##` goes on a word that another piece began.
Source: Devlin et al. 2019 (1810.04805), with the rules of the reference tokenizer: clean, split, longest piece first.
"""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ConfigError, Problem

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_LONGEST_WORD = 100  # letters; what is longer is no word
# Blocks of letters that stand without blanks between words; each is a word.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclass(frozen=True)
class WordPiece:
    """A vocabulary and whether it knows capital letters."""

    pieces: dict[str, int]
    lower: bool = True

    @property
    def unknown(self) -> int:
        return self.pieces["[UNK]"]

    def __call__(self, text: str) -> list[int]:
        """The numbers of a text's pieces between [CLS] and [SEP]; special marks written in the text are plain text."""
        inner = [number for word in self._words(text) for number in self._split(word)]
        return [self.pieces["[CLS]"], *inner, self.pieces["[SEP]"]]

    def _words(self, text: str) -> Iterator[str]:
        text = "".join(_cleaned(letter) for letter in text)
        if self.lower:
            decomposed = unicodedata.normalize("NFD", text)
            # Letter by letter, as the reference does: Greek has a small sigma that only ends words.
            text = "".join(letter.lower() for letter in decomposed if unicodedata.category(letter) != "Mn")
        for word in text.split():
            start = 0
            for end, letter in enumerate(word):
                if _is_punctuation(letter):
                    if start < end:
                        yield word[start:end]
                    yield letter
                    start = end + 1
            if start < len(word):
                yield word[start:]

    def _split(self, word: str) -> list[int]:
        """Longest piece first; a word of which any part is unknown is one unknown piece."""
        if len(word) > _LONGEST_WORD:
            return [self.unknown]
        numbers, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self.pieces), None)
            if end is None:
                return [self.unknown]
            numbers.append(self.pieces[mark + word[start:end]])
            start = end
        return numbers


def load_wordpiece(folder: Path) -> WordPiece:
    """The tokenizer of a Hugging Face style folder: vocab.txt, else tokenizer.json.

    Raises ConfigError when there is none, or one of another kind.
    """
    described = _json(folder / "tokenizer.json")
    stated = _json(folder / "tokenizer_config.json").get("do_lower_case")
    if (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        pieces = {line.rstrip("\r"): number for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    else:
        model = described.get("model")
        if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
            raise ConfigError(
                Problem(f"text encoder {folder}", "no vocabulary of word pieces", "vocab.txt or tokenizer.json")
            )
        pieces = {str(piece): int(number) for piece, number in model["vocab"].items()}
    missing = [piece for piece in _SPECIAL if piece not in pieces]
    if missing:
        found = f"a vocabulary without {', '.join(missing)}"
        raise ConfigError(Problem(f"text encoder {folder}", found, "a BERT with a word piece vocabulary"))
    if stated is None:
        stated = (described.get("normalizer") or {}).get("lowercase")
    if stated is None:  # nobody says: a vocabulary with capital letters has them for a reason
        stated = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    return WordPiece(pieces, bool(stated))


def _json(path: Path) -> dict[str, Any]:
    """A folder's JSON file; an absent one is empty."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read as JSON ({error})")) from error
    return content if isinstance(content, dict) else {}


def _cleaned(letter: str) -> str:
    """A letter, a blank for blanks, nothing for control characters, blanks around an ideograph."""
    if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
        return " "
    if letter == "\ufffd" or unicodedata.category(letter) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    code = ord(letter)
    return f" {letter} " if any(first <= code <= last for first, last in _IDEOGRAPHS) else letter


def _is_punctuation(letter: str) -> bool:
    """Unicode's, and all of ASCII that is neither letter nor digit (as $ and ^)."""
    return (letter.isascii() and not letter.isalnum()) or unicodedata.category(letter).startswith("P")
