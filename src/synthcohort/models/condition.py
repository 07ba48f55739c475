"""What an image is conditioned on: structured columns as numbers, text as tokens, each with a null for "not said".

Words: the *vocabulary* lists the structured columns (image type, labels, sex, age, view …) and says which text encoder
is used, and is stored in model.json; a *condition* as users write it is a mapping of columns to values, and of `prompt`
to text; a `Condition` is a batch of them as tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import InputError, Problem
from synthcohort.models.layers import sinusoid

IMAGE_TYPE = "image_type"  # the column that says which of its image types a joint model draws
PROMPT = "prompt"  # the key of free text in a condition
AUGMENT_WIDTH = 8  # numbers that tell a network how its training image was changed


@dataclass(frozen=True)
class Condition:
    """A batch of B conditions. Rows can be picked, joined and emptied; networks read the tensors.

    labels   [B, L] float32, one column per structured column: the index of a class, a standardized number, NaN for null
    tokens   [B, T, W] text tokens; None where the model has no text
    mask     [B, T] bool, True where there is a token; a row without any says no text
    augment  [B, AUGMENT_WIDTH] how a training image was changed; None or zeros: not at all
    """

    labels: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    augment: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> "Condition":
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> "Condition":
        return self._each(lambda tensor: tensor.to(device))

    def repeat(self, count: int) -> "Condition":
        """Every row `count` times, one after the other."""
        return self._each(lambda tensor: tensor.repeat_interleave(count, dim=0))

    def null(self) -> "Condition":
        """As many conditions that say nothing."""
        return self.without(range(self.labels.shape[1]), text=True)

    def without(self, columns: Sequence[int] | range = (), text: bool = False) -> "Condition":
        """The same but for these columns, and the text, which are not said."""
        labels = self.labels
        if len(columns):
            labels = labels.clone()
            labels[:, list(columns)] = float("nan")
        if not text or self.tokens is None or self.mask is None:
            return replace(self, labels=labels)
        return replace(self, labels=labels, tokens=torch.zeros_like(self.tokens), mask=torch.zeros_like(self.mask))

    def hidden(self, columns_BL: Tensor, text_B: Tensor) -> "Condition":
        """The same with nulls where `columns_BL` is True, and no text where `text_B` is."""
        labels = self.labels.masked_fill(columns_BL, float("nan"))
        if self.tokens is None or self.mask is None:
            return replace(self, labels=labels)
        tokens = self.tokens.masked_fill(text_B[:, None, None], 0.0)
        return replace(self, labels=labels, tokens=tokens, mask=self.mask & ~text_B[:, None])

    @classmethod
    def cat(cls, parts: Sequence["Condition"]) -> "Condition":
        """One batch of several; all of one model."""

        def joined(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors)

        return cls(torch.cat([part.labels for part in parts]), joined("tokens"), joined("mask"), joined("augment"))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        tokens, mask, augment = (
            None if tensor is None else change(tensor) for tensor in (self.tokens, self.mask, self.augment)
        )
        return Condition(change(self.labels), tokens, mask, augment)


@dataclass(frozen=True)
class ConditionColumn:
    """One structured column; `mean` and `std` standardize a continuous one.

    `role`: "label" for a label column of the cohorts, "attribute" for a standard column (sex, age, view …), "type" for
    the image type of a joint model.
    """

    label: LabelColumn
    mean: float = 0.0
    std: float = 1.0
    role: str = "label"

    def encode(self, value: Any) -> float:
        """The number for one value; None is null. InputError names the allowed values."""
        if value is None:
            return float("nan")
        value = self.label.parse(value)
        if self.label.kind == "continuous":
            return (float(value) - self.mean) / self.std
        return float(self.label.values.index(value))


@dataclass(frozen=True)
class TextSpec:
    """Which text encoder a model was trained with: its name, the digest of its weights, token width and limit."""

    encoder: str
    digest: str
    width: int
    length: int


@dataclass(frozen=True)
class Vocabulary:
    """All that a generator is conditioned on: structured columns in order, text, and augmentation; may be empty."""

    columns: tuple[ConditionColumn, ...] = ()
    text: TextSpec | None = None
    augmented: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.label.name for column in self.columns)

    @property
    def text_width(self) -> int | None:
        return self.text.width if self.text else None

    @property
    def augment_width(self) -> int:
        return AUGMENT_WIDTH if self.augmented else 0

    def check(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """The condition with every value in its column's own type; InputError names unknown columns and values."""
        problems: list[Problem | str] = []
        checked: dict[str, Any] = {}
        columns = {column.label.name: column for column in self.columns}
        for name, value in condition.items():
            if name == PROMPT and value is not None:
                if self.text is None:
                    problems.append(
                        Problem("prompt", "this generator was trained without text", remedy="set train.text, and train")
                    )
                checked[name] = str(value)
                continue
            if name not in columns and name != PROMPT:
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
        """The structured part of conditions, [B, L] float32; a column that a condition leaves out is null."""
        checked = [self.check(condition) for condition in conditions]
        rows = [[column.encode(row.get(column.label.name)) for column in self.columns] for row in checked]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(conditions), len(self.columns))

    def null(self, count: int) -> Condition:
        """`count` conditions that say nothing."""
        labels = torch.full((count, len(self.columns)), float("nan"))
        if self.text is None:
            return Condition(labels)
        tokens = torch.zeros(count, self.text.length, self.text.width)
        return Condition(labels, tokens, torch.zeros(count, self.text.length, dtype=torch.bool))

    def to_mapping(self) -> dict[str, Any]:
        columns = [
            {
                "name": c.label.name, "kind": c.label.kind, "values": list(c.label.values),
                "mean": c.mean, "std": c.std, "role": c.role,
            }
            for c in self.columns
        ]  # fmt: skip
        return {"columns": columns, "text": asdict(self.text) if self.text else None, "augmented": self.augmented}

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> "Vocabulary":
        columns = tuple(
            ConditionColumn(LabelColumn(c["name"], c["kind"], tuple(c["values"])), c["mean"], c["std"], c["role"])
            for c in content["columns"]
        )
        return cls(columns, TextSpec(**content["text"]) if content["text"] else None, content["augmented"])

    @classmethod
    def of(
        cls,
        labels: Sequence[LabelColumn],
        values: Mapping[str, Sequence[Any]],
        roles: Mapping[str, str] | None = None,
        text: TextSpec | None = None,
        augmented: bool = False,
    ) -> "Vocabulary":
        """The vocabulary of columns; continuous ones are standardized by the values of the training images."""
        columns = []
        for label in labels:
            mean, std = 0.0, 1.0
            if label.kind == "continuous":
                known = np.array([v for v in values[label.name] if v is not None], dtype=np.float64)
                if known.size:
                    mean, std = float(known.mean()), float(known.std()) or 1.0
            columns.append(ConditionColumn(label, mean, std, (roles or {}).get(label.name, "label")))
        return cls(tuple(columns), text, augmented)


class ConditionEmbedding(nn.Module):
    """A condition as networks take it in: one vector, and tokens to attend to where there is text.

    `forward(condition)` gives `vector` [B, width], the sum of one embedding per column and the mean of the text's
    tokens; `context` [B, 1 + L + T, width] and its `mask` [B, 1 + L + T]: one token that is always there, one per
    column, and the text's. Structured tokens stand beside the text since small text encoders hardly tell left from
    right, or a thing from its absence. Without text both are None.

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
        self.augment = nn.Linear(vocabulary.augment_width, width, bias=False) if vocabulary.augment_width else None
        self.pooled: nn.Linear | None = None
        if vocabulary.text_width is not None:
            self.pooled = nn.Linear(vocabulary.text_width, width)
            self.no_text = nn.Parameter(0.5 * torch.randn(width))
            self.token = nn.Linear(vocabulary.text_width, width)
            self.always = nn.Parameter(0.5 * torch.randn(1, 1, width))
            self.place = nn.Parameter(0.5 * torch.randn(len(self.kinds), width))
            self.norm = nn.LayerNorm(width)

    def forward(self, condition: Condition) -> tuple[Tensor, Tensor | None, Tensor | None]:
        columns = self._columns(condition.labels)
        vector = columns.sum(1)
        if self.augment is not None and condition.augment is not None:
            vector = vector + self.augment(condition.augment)
        if self.pooled is None:
            return vector, None, None
        assert condition.tokens is not None
        assert condition.mask is not None
        tokens, mask = condition.tokens.float(), condition.mask
        said = mask.any(1, keepdim=True)
        mean = (tokens * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        vector = vector + torch.where(said, self.pooled(mean), self.no_text)
        B = len(vector)
        context = torch.cat([self.always.expand(B, 1, -1), columns + self.place, self.token(tokens)], dim=1)
        there = mask.new_ones(B, 1 + columns.shape[1])
        return vector, self.norm(context), torch.cat([there, mask], dim=1)

    def _columns(self, labels_BL: Tensor) -> Tensor:
        """The embedding of each column, [B, L, width]."""
        vectors = []
        for i, (kind, size, table) in enumerate(zip(self.kinds, self.sizes, self.tables, strict=True)):
            value = labels_BL[:, i]
            absent = value.isnan()
            value = value.nan_to_num(0.0)
            if kind == "continuous":
                vector = table(sinusoid(value, self.width))
            elif kind == "ordinal":
                steps = (torch.arange(size, device=value.device) <= value[:, None]).float()
                vector = F.linear(steps, table.get_parameter("weight").T)
            else:
                vector = table(value.long())
            vectors.append(torch.where(absent[:, None], self.null[i], vector))
        if not vectors:
            return labels_BL.new_zeros(len(labels_BL), 0, self.width)
        return torch.stack(vectors, dim=1)


def _table(size: int, width: int, std: float) -> nn.Embedding:
    table = nn.Embedding(size, width)
    nn.init.normal_(table.weight, std=std)
    return table
