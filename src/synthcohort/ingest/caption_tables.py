"""Caption templates and the words they are filled with: read strictly from TOML, a user's file first.

Words: a *kind* is a sort of image with its phrasings; a *vocabulary* spells out the codes of a label; a *flag* spells
out a label of 0 and 1. A template can say what FIELDS holds and nothing else: each is a word of these tables, an age
as a decade, or the value of a label that ingest let through.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Literal

from synthcohort.core.config import build, load_toml
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.ingest.caption_template import Template, TemplateError, first_flaw, flaw, parse

FOLDER = Path(__file__).parent / "captions"
# Each field with a sample, by which templates are tried out when they are read.
FIELDS: dict[str, str] = {
    "side": "left",  # left, right or bilateral
    "part": "knee",  # before a noun
    "the_part": "the left knee",
    "the_sided": "the left knee",  # as the_part, only where the side is known
    "view": "anteroposterior",
    "view_short": "AP",
    "plane": "axial",
    "color": "color",  # of images with three channels
    "stain": "H&E",
    "finding": "moderate osteoarthritis (Kellgren-Lawrence grade 3)",
    "finding_other": "a melanocytic nevus",  # in other words
    "finding_short": "KL 3",
    "labeled": "severity 3 of 0 to 4",  # labels that no table spells out
    "location": "the trunk",
    "basis": "histopathology",  # how the finding was confirmed
    "patient": "woman in her sixties",
    "patient_other": "woman aged 60 to 69",
    "patient_short": "F, 60s",
}
LEAST_PHRASINGS, LEAST_HELD_OUT = 4, 2


@dataclass(frozen=True)
class Kind:
    """A sort of image, and how it is put in words. A kind that asks for more is taken before one that asks for less."""

    name: str
    phrasings: tuple[str, ...]
    held_out: tuple[str, ...]  # never in a training caption: for evaluation with phrasings unseen in training
    short: str
    bare: str
    modalities: tuple[str, ...] = ()  # DICOM's codes and other names; none fits any
    body_parts: tuple[str, ...] = ()
    channels: int = 0  # 1 or 3; 0 fits any

    @property
    def asks(self) -> int:
        return bool(self.modalities) + bool(self.body_parts) + bool(self.channels)


@dataclass(frozen=True)
class Code:
    """What one value of a label means. `{qualifier}` in it is where another label's word goes, as in viral."""

    finding: str
    other: str = ""  # in other words; empty takes `finding`
    short: str = ""  # without an article; empty takes `finding`


@dataclass(frozen=True)
class Hint:
    """What a word, or codes, tell of images: proposed to a person, and never taken as it is."""

    modality: str = ""
    body_part: str = ""


@dataclass(frozen=True)
class Vocabulary:
    """Codes of a label. It fits a label that has one of `columns` as its name and whose values it knows."""

    name: str
    codes: dict[str, Code]
    columns: tuple[str, ...] = ()  # none fits any name
    kinds: tuple[str, ...] = ()  # none fits any
    role: Literal["finding", "location", "basis", "qualifier"] = "finding"
    stain: str = ""  # of every image that was ever labeled with these codes
    suggests: Hint = field(default_factory=Hint)


@dataclass(frozen=True)
class BodyPart:
    """`name` stands before a noun; `paired` parts have a side of their own: the left knee, both knees."""

    name: str
    whole: str = ""  # with article; empty is "the <name>"
    organ: str = ""  # what bears the side; empty is `name`
    plural: str = ""  # empty adds an s
    paired: bool = False


@dataclass(frozen=True)
class View:
    name: str
    short: str = ""


@dataclass(frozen=True)
class Sex:
    adult: str
    person: str
    minor: str
    possessive: str
    short: str = ""


@dataclass(frozen=True)
class AgeBand:
    """Ages from `start` to the next band's. `{adult}`, `{person}`, `{minor}`, `{possessive}` come from the sex."""

    start: float
    patient: str
    other: str
    short: str


@dataclass(frozen=True)
class Tables:
    """One file, or several joined."""

    kinds: tuple[Kind, ...] = ()
    vocabularies: tuple[Vocabulary, ...] = ()
    flags: dict[str, Code] = field(default_factory=dict)  # by the label's name
    body_parts: dict[str, BodyPart] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    planes: dict[str, View] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    sexes: dict[str, Sex] = field(default_factory=dict)
    ages: tuple[AgeBand, ...] = ()
    hints: dict[str, Hint] = field(default_factory=dict)


def load_tables(own: Path | None) -> Tables:
    """The built-in tables, with a user's file in front. Raises ConfigError with all that is wrong, by file and key."""
    files = ([Path(own)] if own else []) + sorted(FOLDER.glob("*.toml"))
    read: list[Tables] = []
    problems: list[Problem | str] = []
    for path in files:
        try:
            read.append(_read(path, tried=path.parent == FOLDER))
        except ConfigError as error:
            problems += error.problems
    kinds = {kind.name for tables in read for kind in tables.kinds}
    for tables, path in zip(read, files, strict=False) if not problems else ():
        problems += _link_problems(path, tables, kinds)
    if problems:
        raise ConfigError(*problems)
    ages = next((tables.ages for tables in read if tables.ages), ())
    return Tables(
        kinds=tuple(kind for tables in read for kind in tables.kinds),
        vocabularies=tuple(item for tables in read for item in tables.vocabularies),
        flags={key: code for tables in reversed(read) for key, code in tables.flags.items()},
        body_parts={key.upper(): part for tables in reversed(read) for key, part in tables.body_parts.items()},
        views={key.upper(): view for tables in reversed(read) for key, view in tables.views.items()},
        planes={key.upper(): view for tables in reversed(read) for key, view in tables.planes.items()},
        sides={key: side for tables in reversed(read) for key, side in tables.sides.items()},
        sexes={key: sex for tables in reversed(read) for key, sex in tables.sexes.items()},
        hints={key: hint for tables in reversed(read) for key, hint in tables.hints.items()},
        ages=tuple(sorted(ages, key=lambda band: band.start)),
    )


def _read(path: Path, tried: bool) -> Tables:
    """One file. Templates that the tests have `tried` with every subset of fields are not tried again."""
    try:
        tables = build(Tables, load_toml(path))
    except ConfigError as error:
        raise ConfigError(*(_placed(path, problem) for problem in error.problems)) from None
    problems = [*_template_problems(path, tables, tried), *_word_problems(path, tables)]
    if problems:
        raise ConfigError(*problems)
    return tables


def _placed(path: Path, problem: Problem | str) -> Problem:
    if isinstance(problem, str):
        return Problem(f"captions {path}", problem)
    thing = problem.thing.removeprefix("setting ")
    named = problem.thing if path.as_posix() in problem.thing else f"captions {path}, {thing}"
    return Problem(named, problem.found, problem.allowed, problem.remedy)


def templates_of(kind: Kind) -> Iterator[tuple[str, str]]:
    """Every template of a kind with its key."""
    for key in ("phrasings", "held_out"):
        for i, text in enumerate(getattr(kind, key)):
            yield f"{key}[{i}]", text
    yield "short", kind.short
    yield "bare", kind.bare


def compiled(text: str) -> Template:
    return parse(text, FIELDS.keys())


def _template_problems(path: Path, tables: Tables, tried: bool) -> Iterator[Problem]:
    for kind in tables.kinds:
        where = f"captions {path}, kind {kind.name!r}"
        for key, least in (("phrasings", LEAST_PHRASINGS), ("held_out", LEAST_HELD_OUT)):
            texts = getattr(kind, key)
            if len(set(texts)) < least:
                yield Problem(f"{where}, {key}", f"{len(set(texts))} different templates", f"{least} or more")
        if kind.channels not in (0, 1, 3):
            yield Problem(f"{where}, channels", str(kind.channels), "0, 1, 3")
        both = set(kind.held_out) & {*kind.phrasings, kind.short, kind.bare}
        if both:
            yield Problem(f"{where}, held_out", f"{len(both)} templates are training phrasings too", "others")
        for key, text in templates_of(kind):
            try:
                template = compiled(text)
            except TemplateError as error:
                yield Problem(f"{where}, {key}", str(error), "fields " + ", ".join(FIELDS))
                continue
            found = None if tried else first_flaw(template, FIELDS)
            if found:
                what, said, known = found
                given = ", ".join(known) or "nothing"
                yield Problem(f"{where}, {key}", f"{what} when {given} is known: {said!r}", "", "move it into [ ]")


def _link_problems(path: Path, tables: Tables, kinds: Set[str]) -> Iterator[Problem]:
    for vocabulary in tables.vocabularies:
        for name in sorted(set(vocabulary.kinds) - kinds):
            where = f"captions {path}, vocabulary {vocabulary.name!r}, kinds"
            yield Problem(where, f"no kind {name!r}", ", ".join(sorted(kinds)))


def _word_problems(path: Path, tables: Tables) -> Iterator[Problem]:
    """Words with flaws of their own, and places for words that do not exist."""
    codes = [
        (f"vocabulary {v.name!r}, codes.{key}", code) for v in tables.vocabularies for key, code in v.codes.items()
    ]
    for where, code in codes + [(f"flags.{key}", code) for key, code in tables.flags.items()]:
        for text in (code.finding, code.other, code.short):
            yield from _word_problem(f"captions {path}, {where}", text, {"qualifier": ""})
    for i, band in enumerate(tables.ages):
        words = {"adult": "woman", "person": "female patient", "minor": "girl", "possessive": "her"}
        for text in (band.patient, band.other, band.short):
            yield from _word_problem(f"captions {path}, ages[{i}]", text, words)
    if tables.ages and min(band.start for band in tables.ages) > 0:
        yield Problem(f"captions {path}, ages", "the first band starts above 0", "a band from 0")


def _word_problem(where: str, text: str, places: dict[str, str]) -> Iterator[Problem]:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        yield Problem(where, f"{text!r}: {error}")
        return
    if names - set(places):
        unknown = ", ".join(f"{{{name}}}" for name in sorted(names - set(places)))
        yield Problem(where, f"unknown place {unknown}", ", ".join(f"{{{name}}}" for name in places))
    elif text and (found := flaw(text.format(**places))):
        yield Problem(where, f"{found}: {text!r}")
