"""What each kind of phase asks: questions with their options, keys and the words on the page."""

from dataclasses import dataclass
from typing import Any

from synthcohort.core.cohort import LabelColumn
from synthcohort.study.design import Phase


@dataclass(frozen=True)
class Option:
    """`value` is stored; `key` is the key that chooses it; `note` is said in small letters."""

    value: str
    text: str
    key: str
    note: str = ""


@dataclass(frozen=True)
class Question:
    """One choice among options; `name` is the form's field."""

    name: str
    text: str
    options: tuple[Option, ...]

    @property
    def is_scale(self) -> bool:
        """Whether all options are single digits, which stand in a row."""
        return len(self.options) > 3 and all(len(option.text) == 1 for option in self.options)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "text": self.text, "options": [vars(option) for option in self.options]}


def question_from_json(stored: dict[str, Any]) -> Question:
    """The question that `as_json` stored."""
    return Question(stored["name"], stored["text"], tuple(Option(**option) for option in stored["options"]))


def questions(phase: Phase, label: LabelColumn | None) -> tuple[Question, ...]:
    """The questions of a phase; grades are the label column's values, in its order."""
    asked: list[Question] = []
    if phase.kind == "grade":
        assert label is not None
        title = spelled(label.name)
        asked.append(
            Question("answer", phase.question or f"Your reading: {title}", _options([str(v) for v in label.values]))
        )
    elif phase.kind == "origin":
        words = (Option("real", "Real", "r"), Option("synthetic", "Synthetic", "s"))
        asked.append(Question("answer", phase.question or "Is this image real or synthetic?", words))
    elif phase.kind == "pairs":
        sides = (Option("left", "Left", "l"), Option("right", "Right", "r"))
        asked.append(Question("answer", phase.question or "Which of the two is the real one?", sides))
    else:
        scale = ("not at all", "little", "partly", "mostly", "fully")
        asked.append(Question("alignment", "Does the image show what the words say?", _scale(scale)))
        asked.append(Question("realism", "Does it look like an image from practice?", _scale(scale)))
    if phase.confidence and phase.kind != "rate":
        levels = [str(n) for n in range(1, phase.confidence + 1)]
        ends = {levels[0]: "guess", levels[-1]: "sure"}
        options = tuple(Option(level, level, level[-1], ends.get(level, "")) for level in levels)
        asked.append(Question("confidence", "How sure are you?", options))
    return tuple(asked)


def spelled(name: str) -> str:
    """A label column's name as people write it: kl_grade -> KL grade. Short words without a vowel are initials."""
    words = name.replace("_", " ").split()
    return " ".join(
        word.upper() if len(word) < 5 and word.isalpha() and not set("aeiouy") & set(word.lower()) else word
        for word in words
    )


def _options(values: list[str]) -> tuple[Option, ...]:
    """Values that are single digits are their own keys; others get 1, 2, … 9, a, b, …"""
    if all(len(value) == 1 and value.isdigit() for value in values):
        return tuple(Option(value, value, value) for value in values)
    keys = "123456789abcdefghijklmnopqrstuvwxyz"
    return tuple(Option(value, value, keys[i] if i < len(keys) else "") for i, value in enumerate(values))


def _scale(words: tuple[str, ...]) -> tuple[Option, ...]:
    return tuple(Option(str(i), str(i), str(i), word) for i, word in enumerate(words, 1))
