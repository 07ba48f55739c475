"""Several image types trained together: what they are, what they are conditioned on, and which images a step sees.

Words: an *image type* is one or more cohorts of the same kind of image; its *share* is how much of the training it
gets. The images of step s are a function of (data, s, batch, seed): nothing has to be stored to go on from any step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.seeds import rng, seed_from
from synthcohort.imaging.canaries import CanaryConfig
from synthcohort.models.checkpoint import ImageSpec, LatentSpec
from synthcohort.models.condition import IMAGE_TYPE, Condition, TextSpec, Vocabulary
from synthcohort.training.canaries import NONE
from synthcohort.training.config import TrainConfig
from synthcohort.training.data import Phrases, TrainingSet, column, image_spec, rows_of, training_set, uniform

if TYPE_CHECKING:
    from synthcohort.models.text import TextEncoder, TextTable

ATTRIBUTES: dict[str, LabelColumn] = {  # standard columns that an image can be conditioned on
    "sex": LabelColumn("sex", "nominal"),
    "age": LabelColumn("age", "continuous"),
    "view": LabelColumn("view", "nominal"),
    "laterality": LabelColumn("laterality", "nominal"),
    "ethnicity": LabelColumn("ethnicity", "nominal"),
    "manufacturer": LabelColumn("manufacturer", "nominal"),
    "site": LabelColumn("site", "nominal"),
}
USUAL = ("sex", "age", "view")  # those that are taken unless the settings say otherwise
AGE_STEP = 5  # ages are counted in steps of so many years
SIDES = {"L": "R", "R": "L"}
GUESS_CAPTIONS = 300  # of a type, of which its mean is made
SPAN = 1024  # steps, and images of a group, that are shared out together


@dataclass(frozen=True)
class ImageType:
    """A kind of image: its name, its training images, and its validation images."""

    name: str
    train: tuple[Cohort, ...]
    validation: tuple[Cohort, ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.train))


def open_types(paths: Sequence[Path]) -> list[ImageType]:
    """Opens real cohorts. Cohorts with the same labels, modality, body part and pixels are one image type.

    A type has the name of its first cohort. Raises InputError for a synthetic cohort, one without training images, or
    two types of one name.
    """
    cohorts = [Cohort.open(path) for path in paths]
    problems: list[Problem | str] = []
    kinds: dict[str, list[Cohort]] = {}
    for cohort in cohorts:
        if cohort.origin != "real":
            found = f"its origin is {cohort.origin!r}"
            problems.append(Problem(f"cohort {cohort.path}", found, "'real'", "train on real images"))
        elif not len(cohort.select(split="train")):
            problems.append(
                Problem(f"cohort {cohort.path}", "no image has the role 'train'", remedy="ingest it with a split")
            )
        else:
            kinds.setdefault(repr(_kind(cohort)), []).append(cohort)
    names = [own[0].name for own in kinds.values()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(
            Problem(f"cohorts of different images with one name {name!r}", "", remedy="ingest with --set ingest.name=…")
        )
    if problems:
        raise InputError(*problems)

    def role(own: Sequence[Cohort], split: str) -> tuple[Cohort, ...]:
        return tuple(cohort.select(split=split) for cohort in own)

    return [ImageType(own[0].name, role(own, "train"), role(own, "validation")) for own in kinds.values()]


def _kind(cohort: Cohort) -> tuple[Any, ...]:
    facts = (uniform(cohort.column(name)) for name in ("modality", "body_part"))
    return cohort.labels, *facts, sorted(set(cohort.column("channels"))), cohort.image(0).dtype.name


def image_specs(
    types: Sequence[ImageType], config: TrainConfig, latent: LatentSpec | None = None
) -> tuple[ImageSpec, ...]:
    """What the images of each type are. Raises ConfigError for sizes that the network can't take."""
    specs = tuple(image_spec(kind.train, config.size, config.fit, kind.name) for kind in types)
    for spec in specs:
        factor = 1 if latent is None else latent.factor
        if spec.rows % factor or spec.columns % factor:
            found, allowed = f"{spec.rows} x {spec.columns}", f"multiples of {factor}, as the autoencoder takes them"
            raise ConfigError(Problem("image size", found, allowed, "change train.size"))
        config.denoiser.check_size(spec.rows // factor, spec.columns // factor)
    return specs


def vocabulary_of(types: Sequence[ImageType], config: TrainConfig, text: TextSpec | None) -> Vocabulary:
    """The columns that the types are conditioned on together: image type, attributes, labels.

    Raises ConfigError for a label or attribute that no cohort has, or that cohorts understand differently.
    """
    labels = _labels(types, config.labels)
    attributes = _attributes(types, config)
    kinds = [LabelColumn(IMAGE_TYPE, "nominal", tuple(kind.name for kind in types))] if len(types) > 1 else []
    roles = {IMAGE_TYPE: "type"} | {label.name: "attribute" for label in attributes}
    views = [view for kind in types for view in kind.train]
    continuous = [label.name for label in [*attributes, *labels] if label.kind == "continuous"]
    values = {
        name: [v for view in views if name in view.records.column_names for v in view.column(name)]
        for name in continuous
    }
    return Vocabulary.of([*kinds, *attributes, *labels], values, roles, text, augmented=bool(config.augment))


def _labels(types: Sequence[ImageType], names: Sequence[str] | None) -> list[LabelColumn]:
    """The label columns of all types; nominal values are put together, others must be equal."""
    found: dict[str, LabelColumn] = {}
    problems: list[Problem | str] = []
    for kind in types:
        for name, label in kind.train[0].labels.items():
            before = found.setdefault(name, label)
            if label.kind == before.kind == "nominal":
                more = [value for value in label.values if value not in before.values]
                found[name] = replace(before, values=(*before.values, *more))
            elif label != before:
                problems.append(
                    Problem(
                        f"label {name} of {kind.name}",
                        f"{label.kind}, {', '.join(map(str, label.values))}",
                        f"{before.kind}, {', '.join(map(str, before.values))}, as before it",
                        "name them differently when ingesting",
                    )
                )
    unknown = [name for name in names or () if name not in found]
    if unknown:
        problems.append(
            Problem("setting train.labels", f"no label column {', '.join(unknown)}", ", ".join(found) or "none")
        )
    if problems:
        raise ConfigError(*problems)
    return [found[name] for name in (found if names is None else names)]


def _attributes(types: Sequence[ImageType], config: TrainConfig) -> list[LabelColumn]:
    """The standard columns to condition on, with the values that occur; those that never vary say nothing."""
    asked = USUAL if config.attributes is None else config.attributes
    problems = [
        Problem("setting train.attributes", f"unknown {name!r}", ", ".join(ATTRIBUTES))
        for name in asked
        if name not in ATTRIBUTES
    ]
    if "laterality" in asked and config.flip:
        problems.append(
            Problem(
                "setting train.attributes", "laterality, while train.flip mirrors images", remedy="set train.flip=false"
            )
        )
    if problems:
        raise ConfigError(*problems)
    taken = []
    for name in asked:
        values = {value for kind in types for value in column(kind.train, name)} - {None}
        if len(values) > 1:
            label = ATTRIBUTES[name]
            taken.append(label if label.kind == "continuous" else replace(label, values=tuple(sorted(values))))
    return taken


@dataclass(frozen=True)
class Batch:
    """What a step trains on: images [B, C, H, W] in [-1, 1], their condition, and the generator for its noise."""

    images: Tensor
    condition: Condition
    generator: torch.Generator


@dataclass(frozen=True)
class JointSet:
    """The training sets of all types, and how much of the training each gets."""

    sets: tuple[TrainingSet, ...]
    shares: np.ndarray  # [K], sum 1
    channels: int
    vocabulary: Vocabulary
    table: "TextTable | None" = None

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def std(self) -> float:
        """Standard deviation of the pixels in [-1, 1] that training sees."""
        parts = [(share, data.std()) for share, data in zip(self.shares, self.sets, strict=True) if len(data)]
        return round(float(np.sqrt(sum(share * std**2 for share, std in parts) / sum(share for share, _ in parts))), 4)

    @cached_property
    def groups(self) -> list[list[int]]:
        """Types whose images have one shape, which a batch may mix."""
        found: dict[tuple[int, ...], list[int]] = {}
        for k, data in enumerate(self.sets):
            if len(data):
                found.setdefault(data.pixels.shape[2:], []).append(k)
        return list(found.values())

    def batch_rows(self, step: int, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Type and position [batch] each of the images of a step, all of one shape."""
        shares = np.array([self.shares[own].sum() for own in self.groups])
        group, number = _shared_out(tuple(shares.tolist()), step, seed, "shapes")
        own = self.groups[group]
        weights = tuple((self.shares[own] / self.shares[own].sum()).tolist())
        types, rows = np.empty(batch, np.int64), np.empty(batch, np.int64)
        for i in range(batch):
            k, n = _shared_out(weights, number * batch + i, seed, f"types {group}")
            types[i], rows[i] = own[k], n
        for k in np.unique(types).tolist():
            at = np.flatnonzero(types == k)
            rows[at] = self.sets[k].batch_indices_of(
                rows[at], seed_from("type", seed, k) if len(self.sets) > 1 else seed
            )
        return types, rows

    def unit_images(
        self,
        types: np.ndarray,
        rows: np.ndarray,
        generator: torch.Generator | None = None,
        mirrored: np.ndarray | None = None,
    ) -> Tensor:
        """Images [B, C, H, W] of one shape, or latents; gray images have equal channels beside color ones."""
        shape = self.sets[int(types[0])].pixels.shape[2:]
        images = torch.empty(len(types), self.channels, *shape)
        for k in np.unique(types).tolist():
            at = np.flatnonzero(types == k)
            images[torch.from_numpy(at)] = self._part(k, rows[at], generator, at, mirrored).expand(
                -1, self.channels, *shape
            )
        return images

    def _part(
        self, k: int, rows: np.ndarray, generator: torch.Generator | None, at: np.ndarray, mirrored: np.ndarray | None
    ) -> Tensor:
        return self.sets[k].unit_images(rows, generator, None if mirrored is None else mirrored[at])

    def condition(
        self, types: np.ndarray, rows: np.ndarray, uniform: np.ndarray | None = None, mirrored: np.ndarray | None = None
    ) -> Condition:
        """What is known of images; the numbers in [0, 1) choose among their captions, the first without them."""
        labels = torch.stack(
            [self.sets[k].conditions[row] for k, row in zip(types.tolist(), rows.tolist(), strict=True)]
        )
        if self.table is None:
            return Condition(labels)
        uniform = np.zeros(len(types)) if uniform is None else uniform
        mirrored = np.zeros(len(types), bool) if mirrored is None else mirrored
        said = np.full(len(types), -1)
        for k in np.unique(types).tolist():
            at, phrases = np.flatnonzero(types == k), self.sets[k].phrases
            if phrases is not None:
                said[at] = phrases.pick(rows[at], uniform[at], mirrored[at])
        tokens, mask = self.table.tokens(np.maximum(said, 0))
        silent = torch.from_numpy(said < 0)
        return Condition(labels, tokens.masked_fill(silent[:, None, None], 0.0), mask & ~silent[:, None])

    def evenly(self, count: int, batch: int) -> Iterator[tuple[Tensor, Condition]]:
        """About `count` images, the same every time: as many of each type, evenly spread, in batches of one shape."""
        each = max(1, round(count / max(1, sum(len(data) > 0 for data in self.sets))))
        for own in self.groups:
            places = [
                (k, row)
                for k in own
                for row in np.unique(np.linspace(0, len(self.sets[k]) - 1, min(each, len(self.sets[k]))).astype(int))
            ]
            for start in range(0, len(places), batch):
                part = np.array(places[start : start + batch])
                yield self.unit_images(part[:, 0], part[:, 1]), self.condition(part[:, 0], part[:, 1])


def _shared_out(shares: tuple[float, ...], number: int, seed: int, name: str) -> tuple[int, int]:
    """Which of several gets item `number`, and how many it had before: each its share of every span, in mixed order."""
    if len(shares) == 1:
        return 0, number
    block, place = divmod(number, SPAN)
    order, before, quota = _span(shares, block, seed, name)
    k = int(order[place])
    return k, block * quota[k] + int(before[place])


@lru_cache(maxsize=16)
def _span(
    shares: tuple[float, ...], block: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    exact = np.array(shares) * SPAN
    quota = np.floor(exact).astype(int)
    for k in np.argsort(quota - exact, kind="stable")[: SPAN - quota.sum()]:
        quota[k] += 1
    order = rng("shares", seed, name, block).permutation(np.repeat(np.arange(len(shares)), quota))
    before = np.empty(SPAN, np.int64)
    for k in range(len(shares)):
        at = np.flatnonzero(order == k)
        before[at] = np.arange(len(at))
    return order, before, tuple(quota.tolist())


def type_shares(counts: Sequence[int], balance: float) -> np.ndarray:
    """Share [K] of each type: its number of images to the power 1 - balance, divided by the sum.

    0 draws every image equally often, 1 gives every type the same share. Types without images get none.
    """
    weight = np.array([float(count) ** (1 - balance) if count else 0.0 for count in counts])
    return weight / max(weight.sum(), 1e-12)


def joint_set(
    folder: Path,
    views: Sequence[Sequence[Cohort]],
    specs: Sequence[ImageSpec],
    vocabulary: Vocabulary,
    config: TrainConfig,
    encoder: "TextEncoder | None" = None,
    balance: float = 0.0,
    canaries: CanaryConfig = NONE,
) -> JointSet:
    """Prepares the views of each type below `folder`, which is reused when it holds the same already.

    Of the settings, `label_balance` and `canaries` are for training images alone and hence given apart.
    """
    phrases: list[Phrases | None] = [None] * len(views)
    table = None
    if encoder is not None:
        phrases, table = text_of(folder / "text", views, encoder)
    sets = tuple(
        training_set(
            folder / f"{k:02d}.npy", own, spec, config.fit, vocabulary, balance,
            {IMAGE_TYPE: spec.name}, phrases[k], canaries,
        )
        for k, (own, spec) in enumerate(zip(views, specs, strict=True))
    )  # fmt: skip
    shares = type_shares([len(data) for data in sets], config.type_balance)
    return JointSet(sets, shares, max(spec.channels for spec in specs), vocabulary, table)


def text_of(
    folder: Path, views: Sequence[Sequence[Cohort]], encoder: "TextEncoder"
) -> tuple[list[Phrases | None], "TextTable"]:
    """The captions of every type's images, and the table of their tokens."""
    from synthcohort.models.text import mirrored, text_table

    said = [[_captions(record) for record in _records(own)] for own in views]
    strings = sorted({text for own in said for texts in own for text in texts})
    turned = {text: mirrored(text) for text in strings}
    table = text_table(folder, sorted({*strings, *turned.values()}), encoder)
    place = dict(zip(strings, table.rows(strings).tolist(), strict=True))
    other = dict(zip(strings, table.rows([turned[text] for text in strings]).tolist(), strict=True))
    found: list[Phrases | None] = []
    for own in said:
        flat = [text for texts in own for text in texts]
        starts = np.cumsum([0, *map(len, own)])
        rows, back = (np.array([where[text] for text in flat], np.int64) for where in (place, other))
        found.append(Phrases(starts, rows, back))
    return found, table


def _records(views: Sequence[Cohort]) -> Iterator[tuple[str | None, list[str] | None]]:
    for view in views:
        yield from zip(view.column("caption"), view.column("phrasings"), strict=True)


def _captions(record: tuple[str | None, list[str] | None]) -> list[str]:
    """The caption first, then its other phrasings."""
    caption, phrasings = record
    return list(dict.fromkeys(text for text in [caption, *(phrasings or [])] if text))


def captions_of(types: Sequence[ImageType]) -> list[str]:
    """Every caption and phrasing of the training images, once."""
    return sorted({text for kind in types for record in _records(kind.train) for text in _captions(record)})


def type_guess(types: Sequence[ImageType], encoder: "TextEncoder") -> dict[str, Any]:
    """What tells which type a prompt speaks of, for model.json; no caption is in it."""
    from synthcohort.models.text_type import TypeGuess

    captions = {
        kind.name: sorted({text for record in _records(kind.train) for text in _captions(record)}) for kind in types
    }
    chosen = {name: texts[:: max(1, len(texts) // GUESS_CAPTIONS)] for name, texts in captions.items()}
    vectors = {name: encoder.sentences(texts) for name, texts in chosen.items() if texts}
    return TypeGuess.fit(chosen, vectors).to_mapping()


def draw_batch(data: JointSet, step: int, batch: int, seed: int, config: TrainConfig) -> Batch:
    """The images of a step, half of them mirrored where the settings say so, and their conditions, some hidden.

    One image in `label_dropout` is told its type alone; of the others with text, one in `text_dropout` is told no text
    and one in `text_dropout` the text alone; each column is hidden on its own in `column_dropout`.
    """
    generator = torch.Generator().manual_seed(seed_from("training step", seed, step))
    types, rows = data.batch_rows(step, batch, seed)
    mirrored = torch.rand(batch, generator=generator) < 0.5
    hidden = torch.rand(batch, generator=generator)
    if not config.flip:
        mirrored[:] = False
    images = data.unit_images(types, rows, generator, mirrored.numpy())
    chosen = torch.rand(batch, generator=generator, dtype=torch.float64).numpy() if data.table is not None else None
    condition = data.condition(types, rows, chosen, mirrored.numpy())
    columns, text = _hidden(data.vocabulary, hidden, config, generator)
    return Batch(images, condition.hidden(columns, text), generator)


def _hidden(
    vocabulary: Vocabulary, uniform: Tensor, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which columns [B, L] and texts [B] are hidden."""
    B, L = len(uniform), len(vocabulary.columns)
    is_type = torch.tensor([column.role == "type" for column in vocabulary.columns], dtype=torch.bool)
    nothing = uniform < config.label_dropout
    columns = nothing[:, None] & ~is_type
    text = nothing.clone()
    if vocabulary.text is not None:
        no_text = ~nothing & (uniform < config.label_dropout + config.text_dropout)
        alone = ~nothing & ~no_text & (uniform < config.label_dropout + 2 * config.text_dropout)
        columns, text = columns | alone[:, None], text | no_text
    if config.column_dropout and L > 1:
        columns = columns | (torch.rand(B, L, generator=generator) < config.column_dropout)
    return columns, text


def label_counts(types: Sequence[ImageType], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """How often each combination of columns occurs among the training images, most frequent first."""
    counts: dict[tuple[Any, ...], int] = {}
    for kind in types:
        for row in rows_of(kind.train, vocabulary, {IMAGE_TYPE: kind.name}):
            if row.get("age") is not None and "age" not in kind.train[0].labels:
                row["age"] = float(AGE_STEP * round(row["age"] / AGE_STEP))
            key = tuple(row[name] for name in vocabulary.names)
            counts[key] = counts.get(key, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], repr(item[0])))
    return [{"condition": dict(zip(vocabulary.names, row, strict=True)), "count": count} for row, count in ordered]
