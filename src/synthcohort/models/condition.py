"""What an image is conditioned on: label columns as numbers for the network, with a null for "not said".

Words: the *vocabulary* lists the label columns and their values, and is stored in model.json; an *encoded condition* is
float32 [B, L], one column per label: the index of a class, a standardized number, or NaN for null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import InputError, Problem
from synthcohort.models.layers import sinusoid


@dataclass(frozen=True)
class ConditionColumn:
    """One label column; `mean` and `std` standardize a continuous one."""

    label: LabelColumn
    mean: float = 0.0
    std: float = 1.0

    def encode(self, value: Any) -> float:
        """The number for one value; None is null. InputError names the allowed values."""
        if value is None:
            return float("nan")
        value = self.label.parse(value)
        if self.label.kind == "continuous":
            return (float(value) - self.mean) / self.std
        return float(self.label.values.index(value))


@dataclass(frozen=True)
class Vocabulary:
    """All columns a generator was conditioned on, in order; may be empty."""

    columns: tuple[ConditionColumn, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.label.name for column in self.columns)

    def check(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """The condition with every value in its label's own type; InputError names unknown columns and values."""
        problems: list[Problem | str] = []
        checked: dict[str, Any] = {}
        columns = {column.label.name: column for column in self.columns}
        for name, value in condition.items():
            if name not in columns:
                allowed = ", ".join(self.names) or "none: this generator was trained without labels"
                problems.append(Problem("condition", f"unknown column {name!r}", allowed))
                continue
            try:
                checked[name] = None if value is None else columns[name].label.parse(value)
            except InputError as error:
                problems.extend(error.problems)
        if problems:
            raise InputError(*problems)
        return checked

    def encode(self, conditions: Sequence[Mapping[str, Any]]) -> Tensor:
        """Conditions to [B, L] float32; a column that a condition leaves out is null."""
        checked = [self.check(condition) for condition in conditions]
        rows = [[column.encode(row.get(column.label.name)) for column in self.columns] for row in checked]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(conditions), len(self.columns))

    def null(self, count: int) -> Tensor:
        """The condition that says nothing, [count, L]."""
        return torch.full((count, len(self.columns)), float("nan"))

    def to_mapping(self) -> list[dict[str, Any]]:
        return [
            {"name": c.label.name, "kind": c.label.kind, "values": list(c.label.values), "mean": c.mean, "std": c.std}
            for c in self.columns
        ]

    @classmethod
    def from_mapping(cls, columns: Sequence[Mapping[str, Any]]) -> "Vocabulary":
        return cls(
            tuple(
                ConditionColumn(LabelColumn(c["name"], c["kind"], tuple(c["values"])), c["mean"], c["std"])
                for c in columns
            )
        )

    @classmethod
    def of(cls, labels: Sequence[LabelColumn], values: Mapping[str, Sequence[Any]]) -> "Vocabulary":
        """The vocabulary of label columns; continuous ones are standardized by the values of the training images."""
        columns = []
        for label in labels:
            mean, std = 0.0, 1.0
            if label.kind == "continuous":
                known = np.array([v for v in values[label.name] if v is not None], dtype=np.float64)
                if known.size:
                    mean, std = float(known.mean()), float(known.std()) or 1.0
            columns.append(ConditionColumn(label, mean, std))
        return cls(tuple(columns))


class ConditionEmbedding(nn.Module):
    """The sum of one embedding per label column: [B, L] -> [B, width].

    A nominal class has a vector of its own. An ordinal class has the sum of the steps up to it, so that a rare extreme
    grade starts from what its neighbors taught. A number has Fourier features. Null has a vector of its own.
    """

    def __init__(self, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.kinds = [column.label.kind for column in vocabulary.columns]
        self.sizes = [len(column.label.values) for column in vocabulary.columns]
        self.width = width
        self.null = nn.Parameter(0.5 * torch.randn(len(self.kinds), width))
        self.tables = nn.ModuleList(
            nn.Linear(width, width) if kind == "continuous" else _table(size, width, 0.5 if kind == "ordinal" else 1.0)
            for kind, size in zip(self.kinds, self.sizes, strict=True)
        )

    def forward(self, condition_BL: Tensor) -> Tensor:
        total = condition_BL.new_zeros(len(condition_BL), self.width)
        for i, (kind, size, table) in enumerate(zip(self.kinds, self.sizes, self.tables, strict=True)):
            value = condition_BL[:, i]
            absent = value.isnan()
            value = value.nan_to_num(0.0)
            if kind == "continuous":
                vector = table(sinusoid(value, self.width))
            elif kind == "ordinal":
                steps = (torch.arange(size, device=value.device) <= value[:, None]).float()
                vector = F.linear(steps, table.get_parameter("weight").T)
            else:
                vector = table(value.long())
            total = total + torch.where(absent[:, None], self.null[i], vector)
        return total


def _table(size: int, width: int, std: float) -> nn.Embedding:
    table = nn.Embedding(size, width)
    nn.init.normal_(table.weight, std=std)
    return table
