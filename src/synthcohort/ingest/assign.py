"""What each image is: its patient, group, role, labels and attributes, from its row, its header and the settings."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from synthcohort.core.cohort import ROLES
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.ingest.columns import Label, find_labels, is_missing, main_label, names_somebody, own_words
from synthcohort.ingest.config import IngestConfig, Shares
from synthcohort.ingest.deidentify import Pseudonyms, parse_age, parse_laterality, parse_sex
from synthcohort.ingest.source_table import SourceTable
from synthcohort.ingest.split import Group, allocate, connected, parse_role, strata
from synthcohort.ingest.survey import Survey
from synthcohort.ingest.terms import OwnWords

Row = Mapping[str, str]
_PARSED: dict[str, Callable[[Any], Any]] = {"sex": parse_sex, "age": parse_age, "laterality": parse_laterality}
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
    duplicates: int
    near_duplicates_may_cross: bool
    warnings: tuple[str, ...]
    words: frozenset[str]  # known text columns whose values are common enough to keep
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
            elif role in _WORDS and role in self.words:
                record[role] = value
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
    patients = _patients(survey, rows, columns, pseudonyms)
    keys = _keys(survey, rows, patients, columns, alike)
    components = connected(keys)
    component_of = {i: c for c, members in enumerate(components) for i in members}
    persons: list[Hashable] = [p if p is not None else ("group", component_of[i]) for i, p in enumerate(patients)]
    labels, not_labels, notes = find_labels(rest, rows, persons, config)
    main = main_label(labels, config.label)
    warnings += notes
    words = frozenset(role for role in _WORDS if role in columns and _common(columns[role], rows, persons))
    dropped |= not_labels
    for role in _WORDS:
        if role in columns and role not in words:
            dropped[columns[role]] = "too many of its values belong to few patients, as in free text"
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
        roles = _given_roles(groups, rows, columns["split"], config.shares, seed, warnings)
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
        duplicates=sum(n - 1 for n in counts.values()),
        near_duplicates_may_cross=unknown > 0 and not by_group and config.near_duplicates != "group",
        warnings=tuple(warnings),
        words=words,
        own_words=words_kept,
        config=config,
    )


def _patients(
    survey: Survey, rows: Sequence[Row | None], columns: Mapping[str, str], pseudonyms: Pseudonyms
) -> tuple[str | None, ...]:
    """Each image's patient: the table's, else the header's, as a pseudonym."""
    column = columns.get("patient_id", "")
    known: dict[str, str] = {}

    def of(row: Row | None, header: str | None) -> str | None:
        value = row.get(column, "") if row else ""
        if is_missing(value):
            return header
        return known.setdefault(value, pseudonyms.patient(value))

    return tuple(of(row, header) for row, header in zip(rows, survey.column("patient"), strict=True))


def _keys(
    survey: Survey, rows: Sequence[Row | None], patients: Sequence[str | None], columns: Mapping[str, str],
    alike: Sequence[Sequence[int]],
) -> list[list[Hashable]]:  # fmt: skip
    """Whatever ties each image to others."""
    keys: list[list[Hashable]] = [[("pixels", digest)] for digest in survey.column("content_digest")]
    group_column = columns.get("group_id", "")
    for own, row, patient, series in zip(keys, rows, patients, survey.column("series"), strict=True):
        if patient is not None:
            own.append(("patient", patient))
        if series is not None:
            own.append(("series", series))
        group = row.get(group_column, "") if row else ""
        if not is_missing(group):
            own.append(("group", group))
    for number, members in enumerate(alike):
        for i in members:
            keys[i].append(("alike", number))
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


def _common(column: str, rows: Sequence[Row | None], persons: Sequence[Hashable]) -> bool:
    """Whether a known text column is a vocabulary: few values, nearly all shared by several patients."""
    holders: dict[str, set[Hashable]] = {}
    for row, person in zip(rows, persons, strict=True):
        if row and not is_missing(row[column]):
            holders.setdefault(row[column], set()).add(person)
    shared = sum(len(people) > 1 for people in holders.values())
    return 0 < len(holders) <= 50 and all(len(value) <= 40 for value in holders) and shared * 2 >= len(holders)


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
    groups: Sequence[Group], rows: Sequence[Row | None], column: str, shares: Shares, seed: int, warnings: list[str]
) -> dict[str, str]:
    """The table's split, each group whole; roles it does not have are carved out of its training groups."""
    roles: dict[str, str] = {}
    undecided, torn = [], 0
    for group in groups:
        own = {parse_role(row[column]) for i in group.members if (row := rows[i])} - {None}
        if len(own) > 1:
            torn += 1
        elif own:
            roles[group.name] = str(own.pop())
        else:
            undecided.append(group)
    if torn:
        raise InputError(
            Problem(
                f"column {column}",
                f"puts images of one patient, group or exact copies into several roles ({torn} groups)",
                "one role for each",
                "mend the table, or split anew: --set ingest.given_split=ignore",
            )
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
