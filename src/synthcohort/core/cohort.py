"""A cohort on disk: one parquet row per image, pixels in memory-mapped shards of one shape, at native bit depth.

Words: a *cohort* is a folder; a *view* is some of its rows; a *shard* is one `.npy` file of images of equal shape and
dtype; a *role* is what an image may be used for (`train`, `validation`, `control`, `test`). Format: docs/formats.md.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_file, digest_json, json_text, read_artifact

if TYPE_CHECKING:
    from synthcohort.learning.dataset import CohortDataset

FORMAT, VERSION = "cohort", 1
VOLUMES_FORMAT, VOLUMES_VERSION = "volumes", 1
MAPPED = 256  # shards mapped at a time
ROLES = ("train", "validation", "control", "test")

STANDARD_COLUMNS: dict[str, pa.DataType] = {
    "image_id": pa.string(),
    "patient_id": pa.string(),
    "group_id": pa.string(),
    "split": pa.string(),
    "modality": pa.string(),
    "body_part": pa.string(),
    "laterality": pa.string(),
    "view": pa.string(),
    "series_id": pa.string(),
    "frame": pa.int64(),
    "site": pa.string(),
    "manufacturer": pa.string(),
    "sex": pa.string(),
    "age": pa.float64(),
    "ethnicity": pa.string(),
    "caption": pa.string(),
    "phrasings": pa.list_(pa.string()),
    "source_digest": pa.string(),
    "pixels_digest": pa.string(),
    "rows": pa.int64(),
    "columns": pa.int64(),
    "channels": pa.int64(),
    "pixel_spacing_mm": pa.list_(pa.float64()),
    "bits_stored": pa.int64(),
    "window_center": pa.float64(),
    "window_width": pa.float64(),
    "derived_from_real": pa.bool_(),
    "seed": pa.int64(),
    "shard": pa.int64(),
    "shard_row": pa.int64(),
}
_LABEL_TYPES = {"nominal": pa.string(), "ordinal": pa.int64(), "continuous": pa.float64()}
_SELECTABLE = (
    "modality",
    "body_part",
    "laterality",
    "view",
    "site",
    "manufacturer",
    "sex",
    "ethnicity",
    "split",
    "patient_id",
)


@dataclass(frozen=True)
class LabelColumn:
    """What a label column may hold: `values` in order for nominal and ordinal labels, empty for continuous ones."""

    name: str
    kind: Literal["nominal", "ordinal", "continuous"]
    values: tuple[Any, ...] = ()

    @property
    def type(self) -> pa.DataType:
        return _LABEL_TYPES[self.kind]

    def parse(self, value: Any) -> Any:
        """The label's own type from a user's word or number; InputError when it is not one of the values."""
        for allowed in self.values:
            if value == allowed or str(value).strip() == str(allowed):
                return allowed
        if self.kind == "continuous":
            try:
                return float(value)
            except (TypeError, ValueError):
                raise InputError(Problem(self.name, f"value {value!r}", "a number")) from None
        raise InputError(Problem(self.name, f"unknown value {value!r}", ", ".join(map(str, self.values))))


def record_schema(labels: Iterable[LabelColumn]) -> pa.Schema:
    """The columns of records.parquet: the standard ones, then the labels."""
    return pa.schema([*STANDARD_COLUMNS.items(), *((label.name, label.type) for label in labels)])


class Cohort:
    """A read-only view of a cohort folder. Nothing loads all pixels: images are read one by one from mapped shards."""

    def __init__(self, path: Path, info: Mapping[str, Any], records: pa.Table):
        self.path, self.info, self.records = Path(path), dict(info), records
        self._maps: dict[int, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path) -> "Cohort":
        """Opens a cohort folder. Raises ArtifactError when it is absent, unfinished, damaged or of a newer version."""
        path = Path(path)
        if not (path / "cohort.json").is_file():
            unfinished = partial_path(path).exists()
            raise ArtifactError(
                Problem(
                    f"cohort {path}",
                    "is unfinished" if unfinished else "is not a cohort folder (no cohort.json)",
                    remedy="run the same command again to finish it"
                    if unfinished
                    else "make one with synthcohort ingest",
                )
            )
        info = read_artifact(path / "cohort.json", FORMAT, VERSION)
        try:
            records = pq.read_table(path / "records.parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(Problem(f"cohort {path}", f"records.parquet cannot be read ({error})")) from error
        if records.num_rows != info["images"]:
            raise ArtifactError(
                Problem(
                    f"cohort {path}",
                    f"records.parquet has {records.num_rows} rows",
                    f"{info['images']}, as cohort.json says",
                )
            )
        return cls(path, info, records)

    def __len__(self) -> int:
        return int(self.records.num_rows)

    def __repr__(self) -> str:
        return f"Cohort({self.name!r}, {len(self)} images)"

    @property
    def name(self) -> str:
        return str(self.info["name"])

    @property
    def origin(self) -> str:
        """`real` or `synthetic`."""
        return str(self.info["origin"])

    @property
    def digest(self) -> str:
        """Digest of the whole cohort's content (records and pixels), whatever its layout on disk."""
        return str(self.info["digest"])

    @cached_property
    def pixels_digest(self) -> str:
        """Digest of this view's pixels in this view's order: the key for anything computed from them."""
        return digest_json(self.column("pixels_digest"))

    @cached_property
    def labels(self) -> dict[str, LabelColumn]:
        return {
            item["name"]: LabelColumn(item["name"], item["kind"], tuple(item["values"])) for item in self.info["labels"]
        }

    @property
    def image_ids(self) -> list[str]:
        return self.column("image_id")

    def column(self, name: str) -> list[Any]:
        """One column as a list; InputError names the columns there are."""
        if name not in self.records.column_names:
            raise InputError(
                Problem(f"cohort {self.path}", f"has no column {name!r}", ", ".join(sorted(self.records.column_names)))
            )
        return list(self.records.column(name).to_pylist())

    def record(self, index: int) -> dict[str, Any]:
        return dict(self.records.slice(index, 1).to_pylist()[0])

    def select(
        self,
        split: str | None = None,
        where: Mapping[str, Any] | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> "Cohort":
        """A view of the rows with this role, these label or attribute values, or these positions, in order.

        Raises InputError for an unknown column, role or value, naming what is allowed.
        """
        keep = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        if split is not None:
            if split not in ROLES:
                raise InputError(Problem("split", repr(split), ", ".join(ROLES)))
            roles = self.column("split")
            keep = keep[[roles[i] == split for i in keep]] if len(keep) else keep
        for name, value in (where or {}).items():
            values = self.column(name)
            if name in self.labels:
                value = self.labels[name].parse(value)
            elif name not in _SELECTABLE:
                raise InputError(Problem("selection", f"column {name!r}", ", ".join([*self.labels, *_SELECTABLE])))
            elif value not in values:
                known = sorted({str(item) for item in values if item is not None})[:20]
                raise InputError(
                    Problem(name, f"unknown value {value!r}", ", ".join(known) or "none: the column is empty")
                )
            keep = keep[[values[i] == value for i in keep]] if len(keep) else keep
        view = Cohort(self.path, self.info, self.records.take(pa.array(keep)))
        view._maps = self._maps
        return view

    @cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        return self.column("shard"), self.column("shard_row")

    def image(self, index: int) -> np.ndarray:
        """One image, [rows, columns] or [rows, columns, 3], in its native dtype (a copy)."""
        shards, rows = self._places
        return np.array(self._shard(shards[index])[rows[index]])

    def images(self, indices: Iterable[int] | None = None) -> np.ndarray:
        """Images stacked to [N, rows, columns(, 3)]; InputError when their shapes differ."""
        chosen = list(range(len(self)) if indices is None else indices)
        stack = [self.image(i) for i in chosen]
        shapes = {image.shape for image in stack}
        if len(shapes) > 1:
            found = ", ".join(map(str, sorted(shapes)[:4]))
            raise InputError(
                Problem(
                    f"cohort {self.path}",
                    f"images of {len(shapes)} shapes ({found} …)",
                    "one shape",
                    "ingest with a fixed size",
                )
            )
        return np.stack(stack) if stack else np.zeros((0, 0, 0), np.uint8)

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._maps:
            file = self.path / "images" / shard_name(number)
            try:
                mapped = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ArtifactError(
                    Problem(f"cohort {self.path}", f"shard {file.name} cannot be read ({error})")
                ) from error
            while len(self._maps) >= MAPPED:  # each holds a file open, and systems allow about a thousand
                del self._maps[next(iter(self._maps))]
            self._maps[number] = mapped
        return self._maps[number]

    @cached_property
    def volumes(self) -> list[dict[str, Any]]:
        """The volumes whose slices this cohort's images are: see volumes.json in docs/formats.md; empty without any."""
        if not (self.path / "volumes.json").is_file():
            return []
        return list(read_artifact(self.path / "volumes.json", VOLUMES_FORMAT, VOLUMES_VERSION)["volumes"])

    def volume(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Volume `number` as [slices, rows, columns(, 3)] and its affine, (slice, row, column, 1) to mm, L P H axes.

        The affine is None where the slices lie on no lattice. Raises InputError for a number that is not there, or
        when this view lacks some of the slices.
        """
        if not 0 <= number < len(self.volumes):
            raise InputError(
                Problem("volume", str(number), f"0 to {len(self.volumes) - 1}" if self.volumes else "none")
            )
        said = self.volumes[number]
        place = {image_id: i for i, image_id in enumerate(self.image_ids)}
        missing = sum(image_id not in place for image_id in said["image_ids"])
        if missing:
            raise InputError(
                Problem(
                    f"volume {number}", f"{missing} of its slices are not in this view", remedy="use the whole cohort"
                )
            )
        affine = None if said["affine_lps"] is None else np.array(said["affine_lps"])
        return self.images(place[image_id] for image_id in said["image_ids"]), affine

    def verify(self) -> list[str]:
        """Checks every file against its digest, and the records against the cohort's; returns what is wrong.

        Files that are the owner's alone (`private` in cohort.json) may be absent.
        """
        problems = []
        if content_digest(self.info, self.records) != self.digest:
            problems.append("the records do not give the cohort's digest")
        for name, digest in sorted(self.info["files"].items()):
            file = self.path / name
            if not file.is_file():
                problems.append(f"{name} is missing")
            elif digest_file(file) != digest:
                problems.append(f"{name} has changed")
        return problems

    def torch_dataset(self, split: str | None = None) -> "CohortDataset":
        """A map-style torch data set of this view: dicts of `image` (float32 [C, H, W] in [-1, 1]) and the columns."""
        from synthcohort.learning.dataset import CohortDataset

        return CohortDataset(self if split is None else self.select(split=split))


def content_digest(info: Mapping[str, Any], records: pa.Table) -> str:
    """Digest over labels, origin and records, which hold their pixels' digests; the layout on disk does not matter."""
    state = ContentDigest(info)
    state.update(records)
    return state.digest()


class ContentDigest:
    """The digest of a cohort's content, of records that come a batch at a time.

    It is the digest of the canonical JSON of {labels, origin, records}, made column by column: several times as fast as
    `json`, which writes indented text in Python.
    """

    def __init__(self, info: Mapping[str, Any]):
        head = json_text({"labels": info["labels"], "origin": info["origin"]})[: -len("\n}\n")] + ',\n "records": ['
        self._state, self._some = hashlib.sha256(head.encode()), False

    def update(self, records: pa.Table) -> None:
        """Adds the next records, in the order of the cohort."""
        content = records.select(sorted(set(records.column_names) - {"shard", "shard_row"}))
        names = [encode_basestring(name).replace("%", "%%") for name in content.column_names]
        record = "\n  {\n" + ",\n".join(f"   {name}: %s" for name in names) + "\n  }"
        for start in range(0, content.num_rows, 1000):
            texts = [map(_json_text, column.to_pylist()) for column in content.slice(start, 1000).columns]
            batch = ",".join(record % row for row in zip(*texts, strict=True))
            self._state.update((("," if self._some else "") + batch).encode())
            self._some = True

    def digest(self) -> str:
        state = self._state.copy()
        state.update(b"\n ]\n}\n" if self._some else b"]\n}\n")
        return "sha256:" + state.hexdigest()


def _json_text(value: Any) -> str:
    """A value of a record as canonical JSON, where it stands three levels deep."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return "[\n    " + ",\n    ".join(map(_json_text, value)) + "\n   ]" if value else "[]"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    return ("false", "true")[value] if isinstance(value, bool) else repr(value)


def shard_name(number: int) -> str:
    return f"{number:05d}.npy"


def partial_path(path: Path) -> Path:
    """Where an unfinished cohort is written; renamed when whole."""
    return path.with_name(path.name + ".partial")
