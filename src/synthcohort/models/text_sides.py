"""The words of a text for its mirror image: left and right exchanged."""

import re

_WORDS = (
    ("left", "right"), ("leftward", "rightward"), ("leftwards", "rightwards"), ("leftmost", "rightmost"),
    ("levoscoliosis", "dextroscoliosis"), ("levocardia", "dextrocardia"), ("levoposition", "dextroposition"),
    ("levorotation", "dextrorotation"), ("levoconvex", "dextroconvex"),
)  # fmt: skip
# Written in capitals only: "os" is a bone, "lad" a boy. Sides, eyes, views, lobes, quadrants.
_ABBREVIATIONS = (
    ("LT", "RT"), ("OS", "OD"), ("O.S.", "O.D."), ("LLAT", "RLAT"), ("LLD", "RLD"), ("LLO", "RLO"),
    ("LAO", "RAO"), ("LPO", "RPO"), ("LCC", "RCC"), ("LMLO", "RMLO"), ("LUL", "RUL"), ("LLL", "RLL"),
    ("LUQ", "RUQ"), ("LLQ", "RLQ"), ("LLE", "RLE"), ("LUE", "RUE"),
)  # fmt: skip
_LATIN = ("sinister", "dexter")  # after "oculus" only; elsewhere sinister is no side


def _both(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {one: other for left, right in pairs for one, other in ((left, right), (right, left))}


def _cased(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The pairs in small letters, with a capital first, and in capitals."""
    return {
        case(one): case(other) for one, other in _both(pairs).items() for case in (str.lower, str.capitalize, str.upper)
    }


def _alternatives(words: dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))


_SWAPS = _cased((*_WORDS, _LATIN)) | _both((("L", "R"), *_ABBREVIATIONS))
_SIDE = re.compile(
    rf"(?<!\w)(?:(?:{_alternatives(_cased(_WORDS))})(?!\w)(?![ -]angle)"  # at right angles
    rf"|(?i:(?<=oculus ))(?:{_alternatives(_cased((_LATIN,)))})(?!\w)"
    rf"|(?:{_alternatives(_both(_ABBREVIATIONS))})(?!\w)"
    # L-spine is lumbar, 2 L a volume, R-R an interval; L' and R' are no sides
    r"|(?<!\d )(?<![LR]-)[LR](?!\w)(?!['’]|[ -]?spine|-[LR]\b))"
)


def mirrored(text: str) -> str:
    """The text with left and right exchanged, case kept: words, L and R, OS and OD, and abbreviations with a side.

    Done twice it is the text again. English only, as the packaged encoder.
    """
    return _SIDE.sub(lambda found: _SWAPS[found[0]], text)
