"""Tables that belong together: lists of different files with the same columns, and a list of patients beside them."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from synthcohort.ingest.split import parse_role
from synthcohort.ingest.table import FileJoin, Row, Table
from synthcohort.ingest.terms import placeholder_ids

K = TypeVar("K", bound=Hashable)


def stacked(parts: Sequence[tuple[Table, FileJoin]]) -> tuple[Table, FileJoin] | None:
    """One table of several with the same columns about different files; None when they are not of that sort.

    Where no column is called `split` and every table's name is a role, as in train.csv and valid.csv, that is added.
    """
    columns = parts[0][0].columns if parts else ()
    if len(parts) < 2 or any(set(table.columns) != set(columns) for table, _ in parts):
        return None
    rows: dict[str, Row] = {}
    for _, join in parts:
        if rows.keys() & join.rows.keys():
            return None
        rows.update(join.rows)
    roles = [_role(table.name) for table, _ in parts]
    if all(roles) and "split" not in columns:
        columns = (*columns, "split")
        rows = {
            name: {**row, "split": str(role)} for (_, join), role in zip(parts, roles, strict=True)
            for name, row in join.rows.items()
        }  # fmt: skip
    absent = tuple(value for _, join in parts for value in join.absent)
    ambiguous = frozenset(name for _, join in parts for name in join.ambiguous)
    names = " and ".join(table.name for table, _ in parts)
    return Table(names, columns, tuple(rows.values())), FileJoin(rows, ambiguous, absent)


def _role(name: str) -> str | None:
    """The role that a table's name begins or ends with."""
    words = PurePosixPath(name).stem.replace("-", "_").split("_")
    return parse_role(words[0]) or parse_role(words[-1])


def by_patient(
    columns: Sequence[str], rows: Mapping[K, Row], column: str, others: Table, key: str
) -> tuple[tuple[str, ...], dict[K, Row]] | None:
    """The columns and rows with what `others` says of their patients; None when it is no list of these patients.

    `column` and `key` are where the two name the patient; sub-01 and 01 are the same one, as in BIDS.
    """
    if not key:
        return None
    found: dict[str, Row] = {}
    nobody = placeholder_ids(_plain(row[key]) for row in others.rows)
    for row in others.rows:
        patient = _plain(row[key])
        if patient in nobody:
            continue
        if found.setdefault(patient, row) != row:
            return None  # several rows for a patient: which is meant cannot be told
    more = [name for name in others.columns if name not in columns and name != key]
    patients = {_plain(row[column]) for row in rows.values()} - placeholder_ids(
        _plain(row[column]) for row in rows.values()
    )
    if not more or not patients or 2 * len(patients & found.keys()) < len(patients):
        return None
    joined: dict[K, Row] = {name: {**row, **_said(found.get(_plain(row[column])), more)} for name, row in rows.items()}
    return (*columns, *more), joined


def _said(row: Row | None, columns: Sequence[str]) -> Mapping[str, str]:
    return {column: row[column] if row else "" for column in columns}


def _plain(patient: str) -> str:
    return patient.strip().removeprefix("sub-")
