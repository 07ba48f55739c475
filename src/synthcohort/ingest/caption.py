"""Captions: what a record says of an image, in several phrasings of clinical language, built from templates.

What a record lacks is not said; what no table knows is not said either, and `unspoken` tells which it was. The kind of
image comes from modality and body part in the record, never from pixels. The structured condition stays beside the
text: labels keep the source's codes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.seeds import seed_from
from synthcohort.ingest.caption_tables import BodyPart, Code, Kind, Tables, Vocabulary, compiled, load_tables
from synthcohort.ingest.caption_template import Template
from synthcohort.ingest.terms import is_missing, looks_identifying

# Names of label columns that add nothing to their values.
_PLAIN_COLUMNS = frozenset(("label", "labels", "class", "diagnosis", "dx", "finding", "findings", "category", "target"))
# A label of 0 and 1 says that something is there, unless its name has a word of these: then it is a scale of two.
_SCALES = frozenset(("grade", "stage", "score", "level", "severity", "class", "category", "label", "type", "group"))
_LONGEST_VALUE = 60
Form = Literal["full", "short", "bare", "own words"]


@dataclass(frozen=True)
class Phrasing:
    text: str
    form: Form
    held_out: bool = False


@dataclass(frozen=True)
class _Wording:
    """A kind of image with its templates compiled."""

    kind: Kind
    training: tuple[tuple[Form, Template], ...]
    held_out: tuple[tuple[Form, Template], ...]


@dataclass
class _Said:
    """What labels come to, as it is gathered."""

    findings: list[tuple[str, str, str]] = field(default_factory=list)  # finding, other words, short
    labeled: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    unspoken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Captioner:
    """Makes captions of records; `Captioner.load()` has the built-in templates."""

    tables: Tables
    wordings: tuple[_Wording, ...]

    @classmethod
    def load(cls, templates: Path | None = None) -> "Captioner":
        """The built-in templates, with a user's TOML file in front. Raises ConfigError naming file and key."""
        tables = load_tables(templates)
        kinds = sorted(tables.kinds, key=lambda kind: -kind.asks)  # stable: a user's file stays in front
        return cls(tables, tuple(_wording(kind) for kind in kinds))

    def captions(
        self, record: Mapping[str, Any], labels: Sequence[LabelColumn], own_words: str | None = None, *,
        held_out: bool = False,
    ) -> tuple[str, ...]:  # fmt: skip
        """All phrasings for training, or those kept out of training; distinct, always in the same order."""
        return tuple(item.text for item in self.phrasings(record, labels, own_words) if item.held_out == held_out)

    def phrasings(
        self, record: Mapping[str, Any], labels: Sequence[LabelColumn], own_words: str | None = None
    ) -> tuple[Phrasing, ...]:
        """Captions with their form: the templates', then clinicians' own words as they are, then those held out."""
        wording = self._wording(record)
        facts = self._facts(record, labels, wording.kind).facts
        found = [Phrasing(template.render(facts), form) for form, template in wording.training]
        own = _clean(own_words or "")
        if own:
            found.append(Phrasing(own, "own words"))
        found += [Phrasing(template.render(facts), form, held_out=True) for form, template in wording.held_out]
        distinct: dict[str, Phrasing] = {}
        for item in found:
            distinct.setdefault(item.text.rstrip(".").casefold(), item)
        return tuple(distinct.values())

    def unspoken(self, record: Mapping[str, Any], labels: Sequence[LabelColumn]) -> tuple[str, ...]:
        """Names of the columns that the record has a value for and no caption can say, for a warning with counts."""
        kind = self._wording(record).kind
        names = list(self._facts(record, labels, kind).unspoken)
        if record.get("modality") and not kind.modalities:
            names.append("modality")
        views = {*self.tables.views, *self.tables.planes}
        known: dict[str, set[str]] = {"body_part": set(self.tables.body_parts), "view": views}
        names += [name for name, words in known.items() if record.get(name) and _key(record[name]) not in words]
        return tuple(names)

    def suggest(self, names: Iterable[str], labels: Sequence[LabelColumn]) -> dict[str, str]:
        """Modality and body part that names of folders and labels' codes tell, for a person to confirm.

        A proposal for a dry run; captions use what the record says. Where two names disagree nothing is proposed.
        """
        words = [re.findall(r"[a-z]+", name.lower()) for name in names]
        joined = {word for own in words for word in (*own, *map("".join, pairwise(own)))}
        hints = [self.tables.hints[word] for word in sorted(joined & set(self.tables.hints))]
        known = {label.name: {_code(value) for value in label.values} for label in labels}
        hints += [v.suggests for v in self.tables.vocabularies for own in known.values() if own and own <= set(v.codes)]
        told = {key: {getattr(hint, key) for hint in hints} - {""} for key in ("modality", "body_part")}
        return {key: values.pop() for key, values in told.items() if len(values) == 1}

    def _wording(self, record: Mapping[str, Any]) -> _Wording:
        """The first that fits among those that ask for most; the last fits everything."""
        return next(wording for wording in self.wordings if _fits(wording.kind, record))

    def _facts(self, record: Mapping[str, Any], labels: Sequence[LabelColumn], kind: Kind) -> _Said:
        said = self._labels(record, labels, kind)
        said.facts |= self._place(record)
        said.facts |= self._patient(record.get("sex"), record.get("age"))
        if record.get("channels") == 3:
            said.facts["color"] = "color"
        return said

    def _place(self, record: Mapping[str, Any]) -> dict[str, str]:
        """Side, body part, view and plane in words."""
        facts = {}
        part, side = self.tables.body_parts.get(_key(record.get("body_part"))), record.get("laterality")
        word = self.tables.sides.get(str(side))
        if word and (part is None or part.paired):
            facts["side"] = word
        if part:
            facts["part"] = part.name
            facts["the_part"] = part.whole or f"the {part.name}"
            if word:
                facts["the_part"] = facts["the_sided"] = _with_side(part, str(side), word)
        view = self.tables.views.get(_key(record.get("view")))
        if view:
            facts |= {"view": view.name, "view_short": view.short or view.name}
        plane = self.tables.planes.get(_key(record.get("view")))
        if plane:
            facts["plane"] = plane.name
        return facts

    def _patient(self, sex: Any, age: Any) -> dict[str, str]:
        """Sex and decade of age. Neither is guessed: a female patient of unknown age is no woman yet."""
        words = self.tables.sexes.get(str(sex))
        known = words if words and str(sex) != "unknown" else None
        if not isinstance(age, (int, float)) or not age >= 0:
            return (
                {"patient": known.person, "patient_other": known.person, "patient_short": known.short} if known else {}
            )
        words = words or self.tables.sexes["unknown"]
        band = [band for band in self.tables.ages if band.start <= age][-1]
        places = {name: getattr(words, name) for name in ("adult", "person", "minor", "possessive")}
        short = f"{words.short}, {band.short}" if words.short else band.short
        return {
            "patient": band.patient.format(**places),
            "patient_other": band.other.format(**places),
            "patient_short": short,
        }

    def _labels(self, record: Mapping[str, Any], labels: Sequence[LabelColumn], kind: Kind) -> _Said:
        said = _Said()
        given = [(label, record.get(label.name)) for label in labels]
        known = [(label, value) for label, value in given if value is not None and not is_missing(str(value))]
        spelled = [(label, value, self._vocabulary(label, kind)) for label, value in known]
        qualifiers = {}
        for label, value, vocabulary in spelled:
            code = vocabulary.codes.get(_code(value)) if vocabulary else None
            if code and vocabulary and vocabulary.role == "qualifier":
                qualifiers[label.name] = code.finding
        used: set[str] = set()
        for label, value, vocabulary in spelled:
            if vocabulary and vocabulary.stain:
                said.facts["stain"] = vocabulary.stain
            code = vocabulary.codes.get(_code(value)) if vocabulary else self._flag(label, value)
            if label.name in qualifiers or (not vocabulary and _is_flag(label) and value == 0):
                continue  # a 0 among flags is what nobody listed, which is not always what was ruled out
            if code is None:
                self._plain(label, value, said)
            elif vocabulary and vocabulary.role in ("location", "basis"):
                said.facts[vocabulary.role] = code.finding
            else:
                said.findings.append(_spelled(code, " ".join(qualifiers.values()), used))
        for label, value in known:
            if label.name in qualifiers and not used:
                self._plain(label, value, said)
        for i, name in enumerate(("finding", "finding_other", "finding_short")):
            said.facts[name] = _joined([words[i] for words in said.findings], " and " if i < 2 else ", ")
        said.facts["labeled"] = _joined(said.labeled, ", ")
        return said

    def _vocabulary(self, label: LabelColumn, kind: Kind) -> Vocabulary | None:
        return next((item for item in self.tables.vocabularies if _knows(item, label, kind)), None)

    def _flag(self, label: LabelColumn, value: Any) -> Code | None:
        return self.tables.flags.get(_code(label.name)) if _is_flag(label) and value == 1 else None

    def _plain(self, label: LabelColumn, value: Any, said: _Said) -> None:
        """A label that no table spells out, readable; measurements and whatever looks like a person stay unsaid."""
        text = _clean(str(value)).replace("_", " ")
        name = _clean(label.name).replace("_", " ")
        listed = label.kind != "continuous" and value in label.values
        if not listed or len(text) > _LONGEST_VALUE or looks_identifying(f"{name} {text}"):
            said.unspoken.append(label.name)
        elif _is_flag(label):
            said.labeled.append(name)
        elif label.kind == "ordinal":
            name = "" if name in _PLAIN_COLUMNS else f"{name} "
            said.labeled.append(f"{name}{text} of {min(label.values)} to {max(label.values)}")
        else:
            said.labeled.append(text if name in _PLAIN_COLUMNS else f"{name} {text}")


def choose(image_id: str, phrasings: Sequence[str]) -> str:
    """One of the phrasings, always the same for an image, evenly over images. Raises ValueError when there are none."""
    if not phrasings:
        raise ValueError("no phrasings to choose from")
    return phrasings[seed_from("caption", image_id) % len(phrasings)]


def _wording(kind: Kind) -> _Wording:
    full: list[tuple[Form, Template]] = [("full", compiled(text)) for text in kind.phrasings]
    rest: list[tuple[Form, Template]] = [("short", compiled(kind.short)), ("bare", compiled(kind.bare))]
    return _Wording(kind, tuple(full + rest), tuple(("full", compiled(text)) for text in kind.held_out))


def _fits(kind: Kind, record: Mapping[str, Any]) -> bool:
    return (
        (not kind.modalities or _key(record.get("modality")) in map(_key, kind.modalities))
        and (not kind.body_parts or _key(record.get("body_part")) in map(_key, kind.body_parts))
        and kind.channels in (0, record.get("channels"))
    )


def _key(value: Any) -> str:
    """Modalities, body parts and views without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", str(value or "")).upper()


def _code(value: Any) -> str:
    """Labels' values and names as tables have them: lower case, words joined by `_`."""
    return re.sub(r"[\W_]+", "_", str(value)).strip("_").lower()


def _is_flag(label: LabelColumn) -> bool:
    return label.kind == "ordinal" and tuple(label.values) == (0, 1) and not _SCALES & set(_code(label.name).split("_"))


def _knows(vocabulary: Vocabulary, label: LabelColumn, kind: Kind) -> bool:
    if vocabulary.columns and _code(label.name) not in map(_code, vocabulary.columns):
        return False
    if vocabulary.kinds and kind.name not in vocabulary.kinds:
        return False
    own = [_code(value) in vocabulary.codes for value in label.values]
    # A scale with an unknown grade is another scale; a list of words under a known name may have one more.
    most = bool(vocabulary.columns) and label.kind == "nominal" and 2 * sum(own) >= len(own)
    return bool(own) and (all(own) or most)


def _spelled(code: Code, qualifier: str, used: set[str]) -> tuple[str, str, str]:
    if "{qualifier}" in code.finding and qualifier:
        used.add(qualifier)
    texts = (code.finding, code.other or code.finding, code.short or code.finding)
    finding, other, short = (text.format(qualifier=f"{qualifier} " if qualifier else "") for text in texts)
    return finding, other, short


def _with_side(part: BodyPart, side: str, word: str) -> str:
    organ = part.organ or part.name
    if not part.paired:
        return (
            (part.whole or f"the {part.name}")
            if side == "B"
            else f"the {word} side of {part.whole or 'the ' + part.name}"
        )
    return f"both {part.plural or organ + 's'}" if side == "B" else f"the {word} {organ}"


def _joined(words: Sequence[str], last: str) -> str:
    """a; a and b; a, b and c."""
    different = list(dict.fromkeys(words))
    return ", ".join(different[:-1]) + (last if len(different) > 1 else "") + different[-1] if different else ""


def _clean(text: str) -> str:
    """One line of printable text."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
