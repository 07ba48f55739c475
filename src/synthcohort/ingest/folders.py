"""What the names of folders say where no table does: classes, patients, roles, sides, views.

Words: a *level* is how deep a folder lies. Every level is judged as a whole. A name enters the cohort as a label only
where every name of its level is a class or a grade of the lists; names that may be persons become patients, whose ids
are hashed, or stay out. A person decides otherwise by `ingest.folders`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from synthcohort.ingest.class_words import is_class_value
from synthcohort.ingest.columns import FEW_VALUES
from synthcohort.ingest.deidentify import parse_laterality
from synthcohort.ingest.split import parse_role
from synthcohort.ingest.vocabulary import MODALITIES, VIEWS

Mode = Literal["auto", "label", "patient", "ignore"]
Meaning = Literal["split", "laterality", "view", "modality", "patient", "label", "unclear", "nothing"]

MANY_FOLDERS, LEAST_PATIENTS, LEAST_IMAGES, LEAST_OF_A_GRADE = 20, 8, 2, 10
_CONTAINER = re.compile(
    r"(images?|imgs?|data(set)?|pngs?|jpe?gs?|tiffs?|dicoms?|dcms?|niftis?|files?|pictures?|photos?|scans?|slices?|frames?"
    r"|tiles?|patch(es)?|part|batch|fold|chunk|shard|vol(ume)?|dis[ck]|cd|dvd|folder|dir|archive|raw|processed|original"
    r"|resized|export|download|upload|study|series|ser|se|st|anat|func|dwi|fmap|perf|ses|session|visit|run|acq)"
    r"[-_ ]?\d*|\d+x\d+|ses-\w+",
    re.IGNORECASE,
)
_PATIENT = re.compile(
    r"(patients?|pat|pt|subjects?|subj?|cases?|person|participant|volunteer|proband|id|p|s)[-_ ]?(no|nr|id)?[-_ ]?\d\w*"
    r"|(sub|subject|patient|person|participant)[-_ ]\w+",
    re.IGNORECASE,
)
_GRADE = re.compile(
    r"((grade|stage|class|level|type|kl|kl[-_ ]grade|bi-?rads|score|category|cat|cls|label)[-_ ]?)?"
    r"(\d{1,2}|i{1,3}|iv|v)",
    re.IGNORECASE,
)
_UID = re.compile(r"\d+(\.\d+){3,}")


@dataclass(frozen=True)
class Folders:
    """What folders say of the files in them: rows as of a table, its columns, and what was concluded, in sentences."""

    columns: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # file name -> row
    warnings: tuple[str, ...] = ()


def read_folders(names: Iterable[str], mode: Mode = "auto", dicom: bool = False) -> Folders:
    """Reads the folders of files, whose names are relative to the source; `dicom`: all files have headers of their own.

    Columns: label (the deepest level of classes; label_above, … for levels above it), patient_id, split, laterality,
    view, modality.
    """
    paths = {name: [_without_ending(part) for part in name.split("/")[:-1]] for name in names}
    if mode == "ignore":
        return Folders()
    levels: list[Counter[str]] = []
    for parts in paths.values():
        for depth, part in enumerate(parts):
            if depth == len(levels):
                levels.append(Counter())
            levels[depth][part] += 1
    meanings = _decided([meaning_of(level) for level in levels], levels, mode)
    columns = _columns(meanings)
    rows = {}
    for name, parts in paths.items():
        row = {column: parts[depth] for depth, column in columns.items() if depth < len(parts)}
        if row:
            rows[name] = {column: row.get(column, "") for column in columns.values()}
    return Folders(tuple(columns.values()), rows, tuple(_said(meanings, levels, mode, dicom)))


def patient_folders(names: Iterable[str]) -> dict[str, str]:
    """The patient of each file whose folder is certainly one of a patient, as in patient00001/study1 or sub-01."""
    levels: dict[int, set[str]] = defaultdict(set)
    paths = {name: name.split("/")[:-1] for name in names}
    for parts in paths.values():
        for depth, part in enumerate(parts):
            levels[depth].add(part)
    patients = next((d for d in sorted(levels) if len(levels[d]) > 1 and _mostly(_is_patient, levels[d])), None)
    if patients is None:
        return {}
    return {name: parts[patients] for name, parts in paths.items() if patients < len(parts)}


def meaning_of(level: Mapping[str, int]) -> Meaning:
    """What the folders of one level are, by their names and by how many images lie in each."""
    names, images = list(level), list(level.values())
    if len(names) < 2 or all(_CONTAINER.fullmatch(name) for name in names):
        return "nothing"
    if all(parse_role(name) for name in names):
        return "split"
    if all(parse_laterality(name) for name in names):
        return "laterality"
    if all(name.upper() in MODALITIES for name in names):
        return "modality"
    if all(name.upper() in VIEWS for name in names):
        return "view"
    if _mostly(_is_patient, names):
        return "patient"
    if all(_UID.fullmatch(name) for name in names):
        return "nothing"
    several = median(images) >= LEAST_IMAGES
    if _are_grades(names):
        graded = not all(name.isdigit() for name in names) or len(names) < LEAST_PATIENTS
        graded = graded or ("0" in names and median(images) >= LEAST_OF_A_GRADE)
        return ("label" if several else "unclear") if graded else "patient"
    if all(is_class_value(name, codes=True) for name in names):
        return "label" if several else "unclear"
    numbered = _mostly(_has_digit, names)
    if (numbered and (len(names) >= LEAST_PATIENTS or _mostly(_has_number, names))) or len(names) > MANY_FOLDERS:
        return "patient"
    return "unclear"


def _decided(meanings: Sequence[Meaning], levels: Sequence[Mapping[str, int]], mode: Mode) -> list[Meaning]:
    """The meanings after the settings had their say: which level is that of the labels, or of the patients."""
    decided = list(meanings)
    if mode == "auto" or mode in meanings:
        if mode == "label":
            decided = ["nothing" if meaning == "patient" else meaning for meaning in decided]
        if mode == "patient":
            decided = ["nothing" if meaning == "label" else meaning for meaning in decided]
        return decided
    free = [d for d, meaning in enumerate(meanings) if meaning in ("unclear", "patient", "label")]
    decided = ["nothing" if d in free else meaning for d, meaning in enumerate(decided)]
    if free:
        best = (min if mode == "label" else max)(free, key=lambda d: (len(levels[d]), -d))
        decided[best] = "label" if mode == "label" else "patient"
    return decided


def _columns(meanings: Sequence[Meaning]) -> dict[int, str]:
    """Depth -> column. The patient's folder is the uppermost of that sort, the label's the deepest."""
    columns: dict[int, str] = {}
    for depth, meaning in enumerate(meanings):
        column = {"patient": "patient_id"}.get(meaning, meaning)
        if meaning not in ("label", "unclear", "nothing") and column not in columns.values():
            columns[depth] = column
    labels = [depth for depth, meaning in enumerate(meanings) if meaning == "label"]
    for above, depth in enumerate(reversed(labels)):
        columns[depth] = "label" + "".join(["_above"] * min(above, 1) + [f"_{above}"] * (above > 1))
    return dict(sorted(columns.items()))


def _said(meanings: Sequence[Meaning], levels: Sequence[Mapping[str, int]], mode: Mode, dicom: bool) -> list[str]:
    """What was concluded, without a name of a folder: it may be a person's."""
    said = []
    for depth, (meaning, level) in enumerate(zip(meanings, levels, strict=True), 1):
        count = f"the {len(level)} folders at level {depth}"
        if meaning == "unclear":
            how = "--set ingest.folders=label or patient"
            said.append(f"{count} may be classes or persons and were not used; to use them: {how}")
        elif meaning == "patient":
            where = " where the file's header names none" if dicom else ""
            said.append(f"{count} were taken for patients{where}{_otherwise(mode, 'label')}")
        elif meaning == "label":
            said.append(f"{count} were taken for classes and became the label{_otherwise(mode, 'patient')}")
        elif meaning != "nothing":
            said.append(f"{count} were taken for the {meaning}{_otherwise(mode, '')}")
    return said


def _otherwise(mode: Mode, other: str) -> str:
    if mode != "auto":
        return ""
    return f"; if they are not: --set ingest.folders={other + ' or ' if other else ''}ignore"


def _mostly(test: Callable[[str], bool], names: Collection[str]) -> bool:
    return sum(map(test, names)) * 10 >= 9 * len(names)


def _is_patient(name: str) -> bool:
    return _PATIENT.fullmatch(name) is not None


def _has_digit(name: str) -> bool:
    return any(letter.isdigit() for letter in name)


def _has_number(name: str) -> bool:
    """Whether a name is a number of a record rather than of a grade."""
    return re.search(r"\d{3,}", name) is not None


def _are_grades(names: Sequence[str]) -> bool:
    """Whether the names are grades: 0 to 4, stage I to IV, KL-2; numbers that stay small and leave few out."""
    if not all(_GRADE.fullmatch(name) for name in names) or len(names) > FEW_VALUES:
        return False
    numbers = [int(match[0]) for name in names if (match := re.search(r"\d+$", name))]
    return not numbers or (min(numbers) in (0, 1) and max(numbers) <= FEW_VALUES)


def _without_ending(part: str) -> str:
    return part[: -len(".zip")] if part.lower().endswith(".zip") else part
