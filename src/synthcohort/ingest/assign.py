"""What each image is: its patient, group, role, labels and attributes, from its row, its header and the settings."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from synthcohort.core.cohort import ROLES
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.ingest.columns import Label, find_labels, is_missing, main_label, names_somebody, own_words
from synthcohort.ingest.config import IngestConfig, Shares
from synthcohort.ingest.deidentify import Pseudonyms, clean_facts, parse_age, parse_laterality, parse_sex
from synthcohort.ingest.source_table import SourceTable
from synthcohort.ingest.split import Group, allocate, connected, parse_role, strata, tangled
from synthcohort.ingest.survey import Survey
from synthcohort.ingest.terms import OwnWords, looks_identifying, placeholder_ids

Row = Mapping[str, str]
_PARSED: dict[str, Callable[[Any], Any]] = {"sex": parse_sex, "age": parse_age, "laterality": parse_laterality}
# a near-duplicate of a test image may not be trained on, and a test set may not lose an image
PRECEDENCE = ("test", "control", "validation", "train")
SEVERAL_NAMES, ENOUGH_PATIENTS = 2, 5
_TIES = ("patient", "patient", "study", "series")  # kinds of the ids in `_keys`: by row and by header are one kind
_WORDS = ("modality", "body_part", "view", "ethnicity")
# what the journal knows and a record takes over as it is
_KEPT = (
    "modality", "body_part", "view", "manufacturer", "laterality", "sex", "age", "frame", "source_digest",
    "bits_stored", "pixel_spacing_mm", "window_center", "window_width",
)  # fmt: skip


@dataclass(frozen=True)
class Assigned:
    """The plan for every image, in the survey's order."""

    labels: tuple[Label, ...]
    main: Label | None
    rows: tuple[Row | None, ...]
    columns: Mapping[str, str]  # role -> column of the table
    dropped: Mapping[str, str]  # column -> why it does not enter the cohort
    patients: tuple[str | None, ...]  # pseudonyms
    groups: tuple[str, ...]  # each image's group, by a name that is raw and in memory only
    roles: tuple[str, ...]
    values: tuple[Any, ...]  # of the main label, None where an image has none
    duplicates: int
    near_duplicates_may_cross: bool
    warnings: tuple[str, ...]
    words: Mapping[tuple[str, str], str]  # (role, value) of known text columns -> the word that enters
    own_words: OwnWords | None  # captions that are shared by enough patients to be kept
    config: IngestConfig

    def record(self, i: int, found: Mapping[str, Any], pseudonyms: Pseudonyms) -> dict[str, Any]:
        """The standard and label columns of image `i` from its row of the journal; what is not known is absent."""
        row = self.rows[i] or {}
        record = {name: found[name] for name in _KEPT if found[name] is not None}
        for name in ("modality", "body_part"):
            record.setdefault(name, getattr(self.config, name) or None)
        for role, column in self.columns.items():
            value = row.get(column, "")
            if is_missing(value):
                continue
            if role in _PARSED:
                parsed = _PARSED[role](value)
                if parsed is not None:
                    record[role] = parsed
            elif role in _WORDS and (word := self.words.get((role, value))):
                record[role] = word
            elif role == "site":
                record["site"] = pseudonyms.site(value)
            elif role == "caption" and self.config.keep_captions:
                record["caption"] = value
        if self.own_words and not is_missing(value := row.get(self.own_words.column, "")):
            record["caption"] = self.own_words.text(value)
        for label in self.labels:
            record[label.label.name] = label.parse(row.get(label.column, ""))
        return record | {
            "patient_id": self.patients[i],
            "group_id": pseudonyms.group(self.groups[i]),
            "series_id": found["series"],
            "split": self.roles[i],
            "derived_from_real": True,
        }


def assign(
    survey: Survey, rows: Sequence[Row | None], table: SourceTable, pseudonyms: Pseudonyms, config: IngestConfig,
    seed: int, alike: Sequence[Sequence[int]] = (),
) -> Assigned:  # fmt: skip
    """Groups images by patient, given groups, copies and near-duplicates (`alike`), and gives every group one role."""
    columns = dict(table.mapped.known)
    warnings: list[str] = []
    dropped: dict[str, str] = {}
    rest = list(table.mapped.rest)
    if "split" in columns and not _is_split(columns["split"], rows, config):
        rest.append(columns.pop("split"))
    named = _named(rows, columns, pseudonyms)
    strange = _placeholders(survey.column("patient"), named)
    headers = [None if header in strange else header for header in survey.column("patient")]
    patients = tuple(name or header for name, header in zip(named, headers, strict=True))
    warnings += _doubtful(patients, strange, survey)
    keys = _keys(survey, rows, named, headers, columns)
    tangle = tangled(keys, [tuple(members) for members in alike])
    if tangle and "group_id" in columns and not any(patients):
        column = columns.pop("group_id")
        keys = _keys(survey, rows, named, headers, columns)
        dropped[column] = "its values do not name groups of pictures; --set ingest.near_duplicates=report to use it"
        warnings.append(
            f"column {column} and the near-duplicates would tie {tangle.joined} of {tangle.images} images together: "
            "the same pictures stand under many of its values. The split was made by near-duplicates alone"
        )
    elif tangle:
        alike = ()
        warnings.append(
            f"near-duplicates would tie {tangle.joined} of {tangle.images} images together across patients, so they "
            "were only counted, and may lie in two roles"
        )
    apart = connected(keys)
    for number, members in enumerate(alike):
        for i in members:
            keys[i].append(("alike", number))
    components = connected(keys)
    component_of = {i: c for c, members in enumerate(components) for i in members}
    persons: list[Hashable] = [p if p is not None else ("group", component_of[i]) for i, p in enumerate(patients)]
    labels, not_labels, notes = find_labels(rest, rows, persons, config, table.decided)
    main = main_label(labels, config.label)
    warnings += notes
    known = [role for role in _WORDS if role in columns]
    words = {pair: word for role in known for pair, word in _words(role, columns[role], rows, persons)}
    dropped |= not_labels
    for role in known:
        if left := _left_behind(role, columns[role], rows, words):
            warnings.append(f"{role}: {left} images have a value that is no known word, which was set to missing")
    others = [column for column in rest if not names_somebody(column)]
    words_kept = None if config.keep_captions else own_words(columns.get("caption"), others, rows, persons)
    warnings += words_kept.said(rows) if words_kept else []
    if "caption" in columns and not config.keep_captions and words_kept is None:
        dropped[columns["caption"]] = "free text may name people; --set ingest.keep_captions=true when it does not"
    warnings += _misunderstood(rows, columns)

    values = [main.parse(row[main.column]) if main and row else None for row in rows]
    own = [survey.name(i) for i in range(len(survey))]
    names = [min(own[i] for i in members) for members in components]
    groups = [
        Group(members, stratum, name)
        for members, stratum, name in zip(components, strata(components, values), names, strict=True)
    ]
    if "split" in columns and config.given_split == "respect":
        roles = _given_roles(groups, apart, rows, columns["split"], config.shares, seed, warnings)
    else:
        roles = allocate(groups, _shares(config.shares), seed)
    counts = Counter(survey.column("content_digest"))
    unknown = sum(patient is None for patient in patients)
    by_group = "group_id" in columns
    warnings += _said(survey, unknown, by_group, groups, roles, config, main)
    return Assigned(
        labels=tuple(labels),
        main=main,
        rows=tuple(rows),
        columns=columns,
        dropped=dict(sorted(dropped.items())),
        patients=patients,
        groups=tuple(names[component_of[i]] for i in range(len(survey))),
        roles=tuple(roles[names[component_of[i]]] for i in range(len(survey))),
        values=tuple(values),
        duplicates=sum(n - 1 for n in counts.values()),
        near_duplicates_may_cross=config.near_duplicates != "group" or (tangle is not None and not alike),
        warnings=tuple(warnings),
        words=words,
        own_words=words_kept,
        config=config,
    )


def _named(rows: Sequence[Row | None], columns: Mapping[str, str], pseudonyms: Pseudonyms) -> list[str | None]:
    """The patient that each image's row names, as a pseudonym; words that stand for nobody are no name."""
    column = columns.get("patient_id", "")
    values = [row.get(column, "") if row else "" for row in rows]
    nobody = placeholder_ids([value for value in values if not is_missing(value)])
    known: dict[str, str] = {}

    def of(value: str) -> str | None:
        if is_missing(value) or value in nobody:
            return None
        return known.setdefault(value, pseudonyms.patient(value))

    return [of(value) for value in values]


def _placeholders(headers: Sequence[str | None], named: Sequence[str | None]) -> set[str]:
    """Patients of headers that the rows tell apart as several people: such an id names nobody."""
    people: dict[str, set[str]] = {}
    for header, name in zip(headers, named, strict=True):
        if header is not None and name is not None:
            people.setdefault(header, set()).add(name)
    return {header for header, names in people.items() if len(names) > SEVERAL_NAMES}


def _keys(
    survey: Survey, rows: Sequence[Row | None], named: Sequence[str | None], headers: Sequence[str | None],
    columns: Mapping[str, str],
) -> list[list[Hashable]]:  # fmt: skip
    """Whatever ties each image to others: its pixels, its patient by row and by header, study, series, given group."""
    digests = survey.column("content_digest")
    copied = {digest for digest, count in Counter(digests).items() if count > 1}
    keys: list[list[Hashable]] = [[("pixels", digest)] if digest in copied else [] for digest in digests]
    group_column = columns.get("group_id", "")
    for own, row, *ids in zip(keys, rows, named, headers, survey.column("study"), survey.column("series"), strict=True):
        own += [(kind, value) for kind, value in zip(_TIES, ids, strict=True) if value is not None]
        group = row.get(group_column, "") if row else ""
        if not is_missing(group):
            own.append(("group", group))
    return keys


def _is_split(column: str, rows: Sequence[Row | None], config: IngestConfig) -> bool:
    """Whether a column found by its name really holds roles; one that the settings name must."""
    words = {row[column] for row in rows if row and not is_missing(row[column])}
    strange = {word for word in words if parse_role(word) is None}
    if strange and config.columns.split:
        raise ConfigError(
            Problem(
                f"column {column}", f"{len(strange)} values name no role", "train, validation (val), control, test",
                "set ingest.columns.split to another column, or to - for none",
            )
        )  # fmt: skip
    return bool(words) and not strange


def _words(
    role: str, column: str, rows: Sequence[Row | None], persons: Sequence[Hashable]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Values of a known text column that may enter, with the word they enter as: those of the headers' lists.

    Ethnicity has no list; its values enter when enough patients share them and they look like no name or number.
    """
    holders: dict[str, set[Hashable]] = {}
    for row, person in zip(rows, persons, strict=True):
        if row and not is_missing(row[column]):
            holders.setdefault(row[column], set()).add(person)
    for value, people in holders.items():
        if role != "ethnicity":
            kept, _ = clean_facts({role: value})
            if role in kept:
                yield (role, value), kept[role]
        elif len(people) >= ENOUGH_PATIENTS and len(value) <= 40 and not looks_identifying(value):
            yield (role, value), value


def _left_behind(role: str, column: str, rows: Sequence[Row | None], words: Mapping[tuple[str, str], str]) -> int:
    return sum(bool(row) and not is_missing(row[column]) and (role, row[column]) not in words for row in rows if row)


def _doubtful(patients: Sequence[str | None], strange: Collection[str], survey: Survey) -> list[str]:
    """What must be said of patient ids that name nobody, or nearly everybody."""
    said = []
    if strange:
        count = sum(header in strange for header in survey.column("patient"))
        said.append(f"the headers of {count} images share patient ids that the table tells apart: they were not used")
    (most, held), *_ = Counter(patients).most_common(1) or [(None, 0)]
    if most is not None and len(patients) >= 20 and held * 2 > len(patients):
        said.append(
            f"one patient id stands for {held} of {len(patients)} images, which all go to one role: if it is a "
            "placeholder, name a better column: --set ingest.columns.patient_id=COLUMN"
        )
    return said


def _misunderstood(rows: Sequence[Row | None], columns: Mapping[str, str]) -> list[str]:
    """How many values of the parsed columns were not understood."""
    notes = []
    for role, parse in _PARSED.items():
        if role in columns:
            values = (row[columns[role]] for row in rows if row)
            strange = sum(not is_missing(value) and parse(value) is None for value in values)
            if strange:
                notes.append(f"{role}: {strange} values were not understood and set to missing")
    return notes


def _shares(shares: Shares) -> dict[str, float]:
    return {item.name: getattr(shares, item.name) for item in fields(shares)}


def _given_roles(
    groups: Sequence[Group], apart: Sequence[Sequence[int]], rows: Sequence[Row | None], column: str, shares: Shares,
    seed: int, warnings: list[str],
) -> dict[str, str]:  # fmt: skip
    """The table's split, each group whole; roles it does not have are carved out of its training groups.

    `apart` are the groups without near-duplicates. A near-duplicate across the given split goes where it does least
    harm: to the role of the two that comes first in PRECEDENCE, so that a test set loses nothing.
    """

    def given(members: Sequence[int]) -> set[str]:
        return {role for i in members if (row := rows[i]) and (role := parse_role(row[column]))}

    torn = sum(len(given(members)) > 1 for members in apart)
    if torn:
        raise InputError(
            Problem(
                f"column {column}",
                f"puts images of one patient, study, group or exact copies into several roles ({torn} groups)",
                "one role for each",
                "mend the table, or split anew: --set ingest.given_split=ignore",
            )
        )
    roles: dict[str, str] = {}
    undecided, joined = [], 0
    for group in groups:
        own = given(group.members)
        if own:
            roles[group.name] = min(own, key=PRECEDENCE.index)
            joined += len(own) > 1
        else:
            undecided.append(group)
    if joined:
        warnings.append(
            f"the given split tears {joined} groups of near-duplicates apart: each went whole to one role, test before "
            "control before validation before train"
        )
    if undecided:
        warnings.append(f"the split column is empty for {len(undecided)} groups: their images went to training")
        roles |= {group.name: "train" for group in undecided}
    wanted = _shares(shares)
    missing = [role for role in ROLES if wanted[role] > 0 and role not in set(roles.values())]
    training = [group for group in groups if roles[group.name] == "train"]
    if missing and training:
        carved = {role: wanted[role] for role in ("train", *missing)}
        dealt = allocate(training, carved, seed)
        roles |= dealt
        moved = Counter(dealt.values())
        parts = ", ".join(f"{role} ({moved[role]} groups)" for role in missing)
        warnings.append(f"the given split has no {parts}: carved out of its training patients")
    return roles


def _said(
    survey: Survey, unknown: int, by_group: bool, groups: Sequence[Group], roles: Mapping[str, str],
    config: IngestConfig, main: Label | None,
) -> list[str]:  # fmt: skip
    """What the owner must know about this cohort, in sentences."""
    warnings = []
    if unknown == len(survey) and by_group:
        warnings.append("no patient ids: split by the given groups; patients with several groups may cross the roles")
    elif unknown:
        every = "no patient ids" if unknown == len(survey) else f"no patient id for {unknown} images"
        grouped = config.near_duplicates == "group"
        kept = "near-duplicates are kept together, but " if grouped else "near-duplicates and "
        warnings.append(
            f"{every}: {kept}other images of the same patient may lie in training and test at once; scores and privacy "
            "findings on this cohort are weaker for it"
        )
    empty = [role for role in ROLES if getattr(config.shares, role) > 0 and role not in set(roles.values())]
    if empty:
        warnings.append(f"too few groups ({len(groups)}): no image has the role {', '.join(empty)}")
    kinds = Counter(zip(survey.column("dtype"), survey.column("channels"), strict=True))
    if len(kinds) > 1:
        parts = ", ".join(f"{n} of {'gray' if k[1] == 1 else 'color'} {k[0]}" for k, n in sorted(kinds.items()))
        warnings.append(f"images of several kinds: {parts}; models are trained on one kind")
    if main is None:
        warnings.append("no label column: models can only be trained without conditions")
    return warnings
