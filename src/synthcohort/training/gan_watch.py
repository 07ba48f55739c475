"""What a look at a GAN in training measures: drawn images against validation images, scores, and copies.

Features are fixed and cheap: gray values of a coarse picture, and how much fine detail lies where, in the directions
in which training images differ most. They tell collapse and divergence, not quality: evaluation does that.
Shape suffixes: N images, C channels, H rows, W columns, D features.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthcohort.core.files import read_json, write_json
from synthcohort.core.seeds import seed_from
from synthcohort.metrics.distribution import frechet_distance
from synthcohort.metrics.diversity import vendi_score
from synthcohort.metrics.neighbors import coverage
from synthcohort.models.condition import Condition
from synthcohort.models.gan import DiscriminatorNetwork, GeneratorNetwork
from synthcohort.models.gan_generator import GanGenerator, unit_latent
from synthcohort.models.gan_spec import GanSpec
from synthcohort.models.generator import BATCH
from synthcohort.pages.grids import sheet, spread
from synthcohort.training.gan_guards import Look
from synthcohort.training.joint import JointSet
from synthcohort.training.watch import SHOWN, Watch, even_rows

COARSE, CELLS = 12, 4  # sides of the coarse picture, and of the grid in which fine detail is counted
DIMS = 24  # directions that are kept
FITTED_ON = 1_000  # training images that give the directions
FEWEST = 32  # images that a comparison needs; of a class
LEAST_DETAIL = 1e-3


@dataclass(frozen=True)
class Sight:
    """Fixed features: raw measures, centered, scaled, and turned to the directions of most variance."""

    mean: np.ndarray  # [R]
    scale: np.ndarray  # [R]
    directions: np.ndarray  # [R, D]

    @classmethod
    def of(cls, images: Tensor) -> "Sight":
        raw = measures(images)
        mean, parts = raw.mean(0), raw.shape[1] - 2 * CELLS**2
        scale = np.empty(raw.shape[1])
        for part in (slice(0, parts), slice(parts, None)):  # picture and detail count alike
            spread_of = raw[:, part].std(0)
            scale[part] = max(float(np.sqrt((spread_of**2).sum())), 1e-9)
        centered = (raw - mean) / scale
        _, _, rows = np.linalg.svd(centered, full_matrices=False)
        return cls(mean, scale, rows[: min(DIMS, len(rows))].T)

    def see(self, images: Tensor) -> np.ndarray:
        """Features [N, D] of images [N, C, H, W]."""
        return ((measures(images) - self.mean) / self.scale) @ self.directions


def measures(images: Tensor) -> np.ndarray:
    """[N, R] float64: gray values of a coarse picture of each channel; log of fine and of middle detail, by place."""
    x = images.float().clamp(-1, 1)
    coarse = F.adaptive_avg_pool2d(x, COARSE).flatten(1)
    gray = x.mean(1, keepdim=True)
    half = F.avg_pool2d(gray, 2, ceil_mode=True, count_include_pad=False)
    quarter = F.avg_pool2d(half, 2, ceil_mode=True, count_include_pad=False)
    detail = [
        fine - F.interpolate(rough, size=fine.shape[2:], mode="bilinear", align_corners=False)
        for fine, rough in ((gray, half), (half, quarter))
    ]
    amounts = [(F.adaptive_avg_pool2d(d.abs(), CELLS) + LEAST_DETAIL).log().flatten(1) for d in detail]
    return torch.cat([coarse, *amounts], dim=1).double().numpy()


def diversity(*, real: np.ndarray, synthetic: np.ndarray) -> float:
    """How diverse drawn images are, over how diverse real ones are: the smaller ratio of Vendi scores and variances.

    Vendi scores see how many kinds of images there are, variances how far they differ; both are about the real mean.
    """
    center = real.mean(0)
    spread_of = float(synthetic.var(0).sum() / max(real.var(0).sum(), 1e-12))
    kinds = vendi_score(synthetic - center + 1e-12) / vendi_score(real - center + 1e-12)
    return min(spread_of, kinds)


def diversity_of_classes(
    *, real: np.ndarray, synthetic: np.ndarray, classes_real: np.ndarray, classes_synthetic: np.ndarray
) -> float | None:
    """Mean over the classes with enough images of both; None where there is none."""
    found = [
        diversity(real=real[classes_real == k], synthetic=synthetic[classes_synthetic == k])
        for k in np.unique(classes_real[~np.isnan(classes_real)])
        if min((classes_real == k).sum(), (classes_synthetic == k).sum()) >= FEWEST // 2
    ]
    return float(np.mean(found)) if found else None


class GanWatch:
    """Takes looks and keeps them in `folder`, one JSON file a step."""

    def __init__(
        self, folder: Path, copies: Watch, spec: GanSpec, train: JointSet, validation: JointSet, count: int, seed: int
    ) -> None:
        self.folder, self.copies, self.spec, self.seed = folder, copies, spec, seed
        self.sets = (train, validation)
        enough = count > 0 and len(train) >= FEWEST
        self.against = "validation" if enough and len(validation) >= FEWEST else "training" if enough else "none"
        self.places = even_rows([train, validation if self.against == "validation" else train], count or 1)
        if self.against != "none":
            rows = even_rows([train], FITTED_ON)[0]
            self.sight = Sight.of(train.unit_images(*rows))
            self.seen = [self.sight.see(self.sets[0].unit_images(*self.places[0])), self.sight.see(self._real())]

    @property
    def looks(self) -> list[Look]:
        """All looks so far, in order."""
        return [Look(**read_json(path)) for path in sorted(self.folder.glob("*.json"))]

    def forget(self, step: int) -> None:
        """Removes looks after a step: training went back to it, or stands there."""
        for path in self.folder.glob("*.json"):
            if int(path.stem) > step:
                path.unlink()

    def _set(self) -> JointSet:
        return self.sets[1] if self.against == "validation" else self.sets[0]

    def _real(self) -> Tensor:
        return self._set().unit_images(*self.places[1])

    def look(
        self, average: GeneratorNetwork, generator: GeneratorNetwork, discriminator: DiscriminatorNetwork, step: int,
        images_seen: int,
    ) -> tuple[Look, bytes | None]:  # fmt: skip
        """Measures and keeps the look of a step; also a sheet of the images drawn."""
        look, drawn = Look(step, images_seen), torch.zeros(0)
        if self.against != "none":
            condition = self._set().condition(*self.places[1])
            drawn = self._drawn(average, condition)
            look = self._compared(look, drawn, condition, generator, discriminator)
        images, names = self._watched(average)
        if images:
            found = self.copies.similarities(images, names)
            look = Look(
                **{
                    **asdict(look),
                    "drawn": len(images),
                    "copies": int((found[:, 0] > found[:, 1]).sum()),
                    "largest": round(float(found[:, 0].max()), 4),
                }
            )
        write_json(self.folder / f"{step:09d}.json", asdict(look))
        return look, sheet([images[i] for i in spread(len(images), SHOWN)], columns=8, tile=96) if images else None

    def _compared(
        self, look: Look, drawn: Tensor, condition: Condition, generator: GeneratorNetwork,
        discriminator: DiscriminatorNetwork,
    ) -> Look:  # fmt: skip
        train, real = self.seen
        if not torch.isfinite(drawn).all():
            return Look(**{**asdict(look), "diversity": 0.0})
        made = self.sight.see(drawn)
        classes = self._classes(condition)
        return Look(
            **{
                **asdict(look),
                "distance": frechet_distance(real=real, synthetic=made),
                "floor": frechet_distance(real=real, synthetic=train) if self.against == "validation" else None,
                "diversity": diversity(real=real, synthetic=made),
                "of_classes": diversity_of_classes(
                    real=real, synthetic=made, classes_real=classes, classes_synthetic=classes
                ),
                "coverage": coverage(real=real, synthetic=made),
                "coverage_floor": coverage(real=real, synthetic=train) if self.against == "validation" else None,
                "overfitting": self._overfitting(condition, generator, discriminator),
            }
        )

    def _classes(self, condition: Condition) -> np.ndarray:
        """[B] the class of each row in the image type, else the first label or attribute that has classes."""
        columns = [(i, c.role) for i, c in enumerate(self.spec.vocabulary.columns) if c.label.values]
        if not columns:
            return np.zeros(len(condition))
        place, _ = min(columns, key=lambda item: ("type", "label", "attribute").index(item[1]))
        return condition.labels[:, place].double().numpy()

    @torch.inference_mode()
    def _overfitting(
        self, condition: Condition, generator: GeneratorNetwork, discriminator: DiscriminatorNetwork
    ) -> float | None:
        """(train - validation) / (train - drawn) of mean scores. Source: Karras et al. 2020, equation 1, r_v."""
        if self.against != "validation":
            return None
        device = next(discriminator.parameters()).device
        z = torch.stack([unit_latent(seed, self.spec.network.latent) for seed in self._seeds(len(condition))])

        def scores(images: Tensor, said: Condition) -> float:
            parts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
            return float(torch.cat([discriminator(images[p].to(device), said[p].to(device)) for p in parts]).mean())

        parts = [slice(start, start + BATCH) for start in range(0, len(z), BATCH)]
        fake = torch.cat([generator(z[p].to(device), condition[p].to(device)) for p in parts])
        of_train = scores(self.sets[0].unit_images(*self.places[0]), self.sets[0].condition(*self.places[0]))
        of_validation, of_fake = scores(self._real(), condition), scores(fake, condition)
        if of_train <= of_fake:  # it cannot tell them apart at all
            return 0.0
        return (of_train - of_validation) / (of_train - of_fake)

    def _seeds(self, count: int) -> list[int]:
        return [seed_from("look", self.seed, i) for i in range(count)]

    def _drawn(self, average: GeneratorNetwork, condition: Condition) -> Tensor:
        drawer = GanGenerator(average, self.spec)
        seeds, made = self._seeds(len(condition)), []
        for start in range(0, len(condition), BATCH):
            rows = slice(start, start + BATCH)
            made.append(drawer.draw_unit(condition[rows], seeds[rows], self.spec.size))
        return torch.cat(made)

    def _watched(self, average: GeneratorNetwork) -> tuple[list[np.ndarray], list[str]]:
        """Images under the conditions of evenly spread training images, and the names of their types."""
        count = self.copies.config.watch_images
        if not count:
            return [], []
        types, rows = even_rows([self.sets[0]], count, again=True)[0]
        drawer, specs = GanGenerator(average, self.spec), [self.spec.images[k] for k in types]
        condition = self.sets[0].condition(types, rows)
        made: list[np.ndarray] = []
        seeds: Sequence[int] = [seed_from("watch", self.seed, i) for i in range(len(types))]
        for start in range(0, len(types), BATCH):
            part = slice(start, start + BATCH)
            unit = drawer.draw_unit(condition[part], seeds[part], self.spec.size)
            made += [drawer.from_unit(x, image) for x, image in zip(unit, specs[part], strict=True)]
        return made, [spec.name for spec in specs]
