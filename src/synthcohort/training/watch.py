"""What is watched while training: losses at fixed noise, copies of training images, and a sheet of samples.

Words: at a *watch point* the averages are stored, the losses measured on as many training as validation images, and a
few images drawn and searched for copies. The *control* is the rate at which validation patients' own images, who are
strangers to the training images, look like copies. The model is made from one of the watch points.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthcohort.core.files import read_json, write_json
from synthcohort.core.seeds import seed_from
from synthcohort.diffusion.precondition import add_noise, denoising_error
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.imaging.intensity import to_unit
from synthcohort.learning.search import CopyIndex
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.models.autoencoder import Autoencoder
from synthcohort.models.checkpoint import ModelSpec
from synthcohort.models.denoiser import Denoiser
from synthcohort.models.generator import BATCH, Generator
from synthcohort.pages.grids import sheet, spread
from synthcohort.training.config import TrainConfig
from synthcohort.training.joint import JointSet

WATCHED_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
DRAWING = SamplingConfig(steps=12, guidance_scale=1.0)  # a look at what the model itself draws, not the best it can
SHOWN = 80  # of the images drawn
POINTS = (2, 8)  # fewest and most watch points of a run
SHARE = 0.05  # of the network's work in training, at most, goes into them beyond the fewest
TOLERANCE = 0.01  # validation losses nearer than this (relative) are taken to be equal
RISE = 0.02  # a validation loss that rose by more than this, while the training loss fell, shows memorizing
FEWEST_COPIES = 2  # one image alone is no alarm: one stranger in a thousand looks like a copy too


@dataclass(frozen=True)
class WatchPoint:
    """What was seen at a step. Losses by sigma are weighted errors: 1 is a network that always answers 0."""

    step: int
    images_seen: int
    training_loss: Mapping[str, float] = field(default_factory=dict)
    validation_loss: Mapping[str, float] = field(default_factory=dict)
    drawn: int = 0
    copies: int = 0
    largest: float | None = None  # similarity of a drawn image to a training image

    @property
    def training(self) -> float | None:
        """Mean over the noise levels."""
        return _mean(self.training_loss)

    @property
    def validation(self) -> float | None:
        return _mean(self.validation_loss)

    @property
    def gap(self) -> float | None:
        """Validation over training loss, less 1."""
        if self.training is None or self.validation is None:
            return None
        return self.validation / self.training - 1


def _mean(losses: Mapping[str, float]) -> float | None:
    return sum(losses.values()) / len(losses) if losses else None


@dataclass(frozen=True)
class Control:
    """Of `images` of validation patients, `above` look like copies; 0 of 0 where there are too few to say."""

    images: int = 0
    above: int = 0

    @property
    def upper(self) -> float:
        """Upper end of the exact 95 % interval of the rate; 0 where it is not known: every copy then counts."""
        return clopper_pearson(self.above, self.images)[1] if self.images else 0.0


def copying(point: WatchPoint, control: Control) -> bool:
    """Whether the images drawn at a point are copies more often than strangers' images are."""
    return point.copies >= FEWEST_COPIES and point.copies / point.drawn > control.upper


def warnings_of(points: Sequence[WatchPoint], control: Control) -> list[str]:
    """What the last of the points says of memorizing, in plain words; empty when nothing does."""
    if not points:
        return []
    last, said = points[-1], []
    if copying(last, control):
        rate = f"{last.copies} of {last.drawn} drawn images look like copies of training images"
        against = f"{control.above} of {control.images} images of validation patients do"
        said.append(f"{rate} ({against}): the model has begun to memorize")
    known = [point for point in points if point.validation is not None and point.training is not None]
    if known and known[-1] is last:
        best = min(known, key=lambda point: point.validation or 0.0)
        risen = (last.validation or 0.0) / (best.validation or 1.0) - 1
        if risen > RISE and (last.training or 0.0) < (best.training or 0.0):
            said.append(
                f"the validation loss is {risen:.0%} above its lowest, at "
                f"{best.images_seen:,} images, while the training loss fell: the model learns its training images by "
                "heart"
            )
    return said


def chosen_point(points: Sequence[WatchPoint], control: Control) -> WatchPoint:
    """The point to make the model from: the last of those whose validation loss is within 1 % of the lowest.

    Only points that do not copy are looked at; where all do, those with the fewest copies.
    """
    fewest = min(point.copies for point in points)
    good = [p for p in points if not copying(p, control)] or [p for p in points if p.copies == fewest]
    known = [point for point in good if point.validation is not None]
    if not known:
        return good[-1]
    lowest = min(point.validation or 0.0 for point in known)
    return [point for point in known if (point.validation or 0.0) <= lowest * (1 + TOLERANCE)][-1]


def watch_steps(config: TrainConfig, steps: int, shapes: int = 1) -> list[int]:
    """Steps of the watch points, evenly spread to the last: as many as their share of the work allows, 2 to 8.

    Work is counted in images through the network, a training image as three: the same run always has the same points.
    """
    cost = 2 * len(WATCHED_SIGMAS) * config.validation_images
    if config.watch_images:
        cost += DRAWING.steps * max(BATCH * shapes, config.watch_images)
    few, many = POINTS
    count = many if not cost else max(few, min(many, int(SHARE * 3 * steps * config.batch / cost)))
    return sorted({max(1, round(steps * k / count)) for k in range(1, count + 1)})


def even_rows(sets: Sequence[JointSet], count: int, again: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Types and positions of about `count` images of each set: equally many of a type in all, evenly spread in each.

    With `again`, images of a type that has too few are taken more than once.
    """
    types = [k for k in range(len(sets[0].sets)) if all(len(s.sets[k]) for s in sets)]
    each = max(1, round(count / max(1, len(types))))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for own in sets:
        pairs = []
        for k in types:
            number = each if again else min(each, *(len(s.sets[k]) for s in sets))
            rows = np.linspace(0, len(own.sets[k]) - 1, number).round().astype(np.int64)
            pairs += [(k, int(row)) for row in rows]
        table = np.array(pairs, np.int64).reshape(-1, 2)
        found.append((table[:, 0], table[:, 1]))
    return found


@torch.inference_mode()
def fixed_loss(
    denoiser: Denoiser, data: JointSet, types: np.ndarray, rows: np.ndarray, batch: int, seed: int
) -> dict[str, float]:
    """Weighted denoising error at each watched sigma, mean of these images, with the same noise every time."""
    device = next(denoiser.parameters()).device
    totals = dict.fromkeys(WATCHED_SIGMAS, 0.0)
    start = 0
    for own in data.groups:
        kept = np.flatnonzero(np.isin(types, own))
        for part in np.split(kept, range(batch, len(kept), batch)):
            if not len(part):
                continue
            clean = data.unit_images(types[part], rows[part])
            condition = data.condition(types[part], rows[part]).to(device)
            for sigma in WATCHED_SIGMAS:
                generator = torch.Generator().manual_seed(seed_from("validation", seed, repr(sigma), start))
                level = torch.full((len(part),), sigma)
                noisy = add_noise(clean, torch.randn(clean.shape, generator=generator), level)
                denoised = denoiser(noisy.to(device), level.to(device), condition).cpu()
                totals[sigma] += float(denoising_error(denoised, clean, level, denoiser.sigma_data).sum())
            start += len(part)
    return {str(sigma): total / max(1, len(types)) for sigma, total in totals.items()}


class Watch:
    """Measures watch points and keeps them in `folder`, one JSON file a point."""

    def __init__(
        self, folder: Path, indexes: Path, spec: ModelSpec, train: JointSet, validation: JointSet, config: TrainConfig,
        seed: int, autoencoder: Autoencoder | None = None,
    ) -> None:  # fmt: skip
        self.autoencoder = autoencoder
        self.folder, self.spec, self.train, self.validation = folder, spec, train, validation
        self.config, self.seed = config, seed
        self.indexes = {
            image.name: [CopyIndex.open(path.parent) for path in sorted((indexes / f"{k:02d}").glob("*/index.json"))]
            for k, image in enumerate(spec.images)
        }
        calibrations = [index.info["calibration"] for own in self.indexes.values() for index in own]
        known = [c for c in calibrations if c["source"] == "validation against train"]
        self.control = Control(sum(int(c["images"]) for c in known), sum(int(c["above"]) for c in known))

    @property
    def points(self) -> list[WatchPoint]:
        """All points so far, in order."""
        return [WatchPoint(**read_json(path)) for path in sorted(self.folder.glob("*.json"))]

    def losses(self, denoiser: Denoiser) -> tuple[dict[str, float], dict[str, float]]:
        """Training and validation loss by sigma; empty without validation images."""
        count = self.config.validation_images
        if not count or not len(self.validation):
            return {}, {}
        sets = (self.train, self.validation)
        places = even_rows(sets, count)
        if not len(places[0][0]):
            return {}, {}
        training, validation = (
            fixed_loss(denoiser, data, *place, self.config.batch, self.seed)
            for data, place in zip(sets, places, strict=True)
        )
        return training, validation

    def look(self, denoiser: Denoiser, step: int) -> tuple[WatchPoint, bytes | None]:
        """Measures and keeps the point of a step; also a sheet of the images drawn."""
        training, validation = self.losses(denoiser)
        images, names = self.drawn(denoiser)
        found = self.similarities(images, names) if images else np.zeros((0, 2))
        point = WatchPoint(
            step=step,
            images_seen=step * self.config.batch,
            training_loss=training,
            validation_loss=validation,
            drawn=len(images),
            copies=int((found[:, 0] > found[:, 1]).sum()),
            largest=round(float(found[:, 0].max()), 4) if images else None,
        )
        write_json(self.folder / f"{step:09d}.json", asdict(point))
        return point, sheet([images[i] for i in spread(len(images), SHOWN)], columns=8, tile=96) if images else None

    def drawn(self, denoiser: Denoiser) -> tuple[list[np.ndarray], list[str]]:
        """Images under the conditions of evenly spread training images, and the names of their types."""
        if not self.config.watch_images:
            return [], []
        generator = Generator(denoiser, self.spec, DRAWING, autoencoder=self.autoencoder)
        types, rows = even_rows([self.train], self.config.watch_images, again=True)[0]
        images: list[np.ndarray] = []
        names: list[str] = []
        for own in self.train.groups:
            kept = np.flatnonzero(np.isin(types, own))
            for start in range(0, len(kept), generator.batch):
                part = kept[start : start + generator.batch]
                specs = [self.spec.images[k] for k in types[part]]
                seeds = [seed_from("watch", self.seed, int(i)) for i in part]
                condition = self.train.condition(types[part], rows[part])
                unit = generator.draw_unit(condition, seeds, specs[0].size)
                images += [generator.from_unit(x, spec) for x, spec in zip(unit, specs, strict=True)]
                names += [spec.name for spec in specs]
        return images, names

    def similarities(self, images: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
        """[N, 2] similarity to the nearest training image of the type, and the threshold it is held against.

        Of several indexes of a type, that counts whose threshold is passed furthest.
        """
        found = np.full((len(images), 2), (-1.0, 1.0))
        ranges = {image.name: image.value_range for image in self.spec.images}
        for name in dict.fromkeys(names):
            rows = [i for i, own in enumerate(names) if own == name]
            unit = [to_unit(images[i], ranges[name]) for i in rows]
            for index in self.indexes[name]:
                value = index.query(unit, description="copy watch").similarity.astype(np.float64)
                nearer = value - index.threshold > found[rows, 0] - found[rows, 1]
                found[rows] = np.where(nearer[:, None], np.stack([value, np.full_like(value, index.threshold)], 1),
                                       found[rows])  # fmt: skip
        return found


def best_width(losses: Callable[[float], float | None], widths: Sequence[float]) -> tuple[float, dict[str, float]]:
    """Of several widths of the average the one with the lowest validation loss, and the losses of all."""
    found = {width: loss for width in widths if (loss := losses(width)) is not None}
    if not found:
        return widths[0], {}
    return min(found, key=lambda width: found[width]), {str(width): loss for width, loss in found.items()}


def sample_sheet(
    denoiser: Denoiser, spec: ModelSpec, seed: int, per_class: int = 8, autoencoder: Autoencoder | None = None
) -> bytes:
    """A PNG of model samples: one row per image type, or value of the first label; two rows where there is none."""
    generator = Generator(denoiser, spec, autoencoder=autoencoder)
    columns = [column for column in spec.vocabulary.columns if column.label.values]
    columns.sort(key=lambda column: ("type", "label", "attribute").index(column.role))
    first = columns[0].label if columns else None
    values = first.values[:8] if first is not None else ()
    conditions: list[Mapping[str, Any]] = [{first.name: v} for v in values for _ in range(per_class)] if first else []
    conditions = conditions or [{} for _ in range(2 * per_class)]
    seeds = [seed_from("sample sheet", seed, i) for i in range(len(conditions))]
    return sheet(list(generator.draw(conditions, seeds)), columns=per_class)
