"""White-box attacks on membership: whoever has the run folder sees how well the model denoises each image.

A model that learned an image by heart denoises it better than a stranger's. The loss of an image is taken at several
noise levels with noise that is the same for every image, and set against its difficulty: the loss of a linear denoiser
that knows the reference images' spectrum alone.
Sources: Carlini et al. 2023 (2301.13188, section 4), Matsumoto et al. 2023 (2302.03262); calibration by difficulty:
Watson et al. 2022 (2111.08440).
"""

from dataclasses import asdict
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.kept import array_in_chunks
from synthcohort.core.run import RunFolder
from synthcohort.core.seeds import seed_from
from synthcohort.evaluation.part_config import WhiteBoxConfig
from synthcohort.evaluation.steps import code_digest

if TYPE_CHECKING:
    from torch import Tensor

    from synthcohort.models.checkpoint import ImageSpec
    from synthcohort.models.generator import Generator

BATCH = 32  # always exactly so many: the last one is filled up
CHUNK = 256  # images whose losses are made durable together
RIDGE = 1.0


class Loss:
    """The denoising losses of one model. Losses are kept in `cache` by pixels, model, settings and code."""

    def __init__(
        self, generator: "Generator", image: "ImageSpec", fit: Any, config: WhiteBoxConfig, cache: Path, seed: int
    ):
        """`image` is the type of the images attacked, `fit` how training brought them to the model's size."""
        self.generator, self.image, self.fit = generator, image, fit
        self.config, self.cache, self.seed = config, Path(cache), seed

    @classmethod
    def of_run(cls, run: Path, real: Cohort, config: WhiteBoxConfig, cache: Path, seed: int) -> "Loss":
        """Opens a finished run. Raises InputError when it is no diffusion model or was trained on other cohorts."""
        from synthcohort.models.generator import load_generator

        info = RunFolder.read(run).info
        if info["kind"] != "diffusion":
            raise InputError(Problem(f"run {run}", f"is of kind {info['kind']!r}: no denoiser", "a diffusion model"))
        generator = load_generator(run)
        if real.digest not in generator.facts.get("cohorts", ()):
            raise InputError(
                Problem(f"run {run}", "was trained on other cohorts", f"a run trained on cohort {real.path}", "name it")
            )
        images = {image.name: image for image in generator.spec.images}
        if len(images) > 1 and real.name not in images:
            allowed = ", ".join(images)
            raise InputError(Problem(f"cohort {real.path}", f"is named {real.name!r}", f"an image type: {allowed}"))
        image = images[real.name] if len(images) > 1 else generator.spec.image
        fit = info["config"].get("train", {}).get("fit", "pad")
        return cls(generator, image, fit, config, cache, seed)

    def losses(self, view: Cohort, reference: Cohort) -> np.ndarray:
        """Log losses of a view's images: [N, S, 2], of the model and of the linear denoiser, at S noise levels."""
        key = digest_json(
            {
                "pixels": view.pixels_digest,
                "reference": reference.pixels_digest,
                "conditions": [sorted((k, str(v)) for k, v in row.items()) for row in self._conditions(view)],
                "model": self.generator.digest,
                "settings": asdict(self.config) | {"images": None},
                "seed": self.seed,
                "code": code_digest(),
            }
        ).partition(":")[2][:24]
        path = self.cache / f"white_box-{key}.npy"
        spectrum = once(lambda: self._spectrum(reference))  # not needed when the losses were kept

        def made(rows: range) -> np.ndarray:
            power, mean = spectrum()
            blocks = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
            return np.concatenate([self._block(view, block, power, mean) for block in blocks])

        shape = (len(self.config.sigmas), 2)
        return array_in_chunks(path, len(view), CHUNK, made, "white-box losses", shape)

    def _conditions(self, view: Cohort) -> list[dict[str, Any]]:
        """What the attacker knows of each image: its labels, as the model was told them. Text is not said."""
        from synthcohort.models.condition import IMAGE_TYPE

        rows: list[dict[str, Any]] = [{} for _ in range(len(view))]
        for column in self.generator.spec.vocabulary.columns:
            name = column.label.name
            if name == IMAGE_TYPE:
                values: list[Any] = [self.image.name] * len(view)
            elif name in view.records.column_names:
                values = view.column(name)
            else:
                continue
            allowed = set(column.label.values)
            for row, value in zip(rows, values, strict=True):
                row[name] = value if not allowed or value in allowed else None
        return rows

    def _unit(self, view: Cohort, rows: range) -> "Tensor":
        """Images as the network sees them: [B, C, *grid] float32."""
        import torch

        from synthcohort.imaging.geometry import placement

        shape = (self.image.rows, self.image.columns)
        images = [view.image(row) for row in rows]
        placed = [placement(i.shape[:2], shape, self.fit, fill=self.image.low).apply(i) for i in images]
        return torch.stack([self.generator.to_unit(image, self.image) for image in placed])

    def _spectrum(self, reference: Cohort) -> tuple["Tensor", "Tensor"]:
        """Power of each frequency [C, *grid] and mean image [C, *grid] of the reference images."""
        import torch

        total: Tensor | None = None
        power: Tensor | None = None
        for again in (False, True):  # two passes, so that memory ignores their number
            for start in range(0, len(reference), CHUNK):
                x = self._unit(reference, range(start, min(start + CHUNK, len(reference)))).double()
                if not again:
                    total = x.sum(0) if total is None else total + x.sum(0)
                    continue
                assert total is not None
                part = torch.fft.fftn(x - total / len(reference), dim=_space(x)).abs().square().sum(0)
                power = part if power is None else power + part
        assert total is not None
        assert power is not None
        return power / len(reference) / power[0].numel(), total / len(reference)

    def _block(self, view: Cohort, rows: range, power: "Tensor", mean: "Tensor") -> np.ndarray:
        import torch

        generator, config = self.generator, self.config
        x = self._unit(view, rows)
        fill = BATCH - len(x)
        x = torch.cat([x, x[-1:].expand(fill, *x.shape[1:])])
        conditions = self._conditions(view.select(indices=np.array(rows)))
        condition = generator.condition(conditions + conditions[-1:] * fill).to(generator.device)
        result = np.zeros((len(rows), len(config.sigmas), 2))
        for place, sigma in enumerate(config.sigmas):
            sums = np.zeros((2, len(rows)))
            for draw in range(config.draws):
                own = torch.Generator().manual_seed(seed_from("white box", self.seed, place, draw))
                noisy = x + sigma * torch.randn(x.shape[1:], generator=own)
                with torch.inference_mode():
                    sigmas = torch.full((BATCH,), sigma, device=generator.device)
                    denoised = generator.denoiser(noisy.to(generator.device), sigmas, condition).float().cpu()
                centered = torch.fft.fftn(noisy.double() - mean, dim=_space(x))
                linear = torch.fft.ifftn(centered * (power / (power + sigma**2)), dim=_space(x)).real + mean
                for number, guess in enumerate((denoised, linear)):
                    sums[number] += (guess - x).square().flatten(1).mean(1)[: len(rows)].double().numpy()
            result[:, place] = np.log(np.maximum(sums / config.draws, 1e-12)).T
        return result


def _space(x: "Tensor") -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def loss_scores(
    reference: np.ndarray, queries: np.ndarray, known_members: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Scores [Q] of each attack from log losses [., S, 2]; every constant comes from the reference images.

    loss        minus the loss, standardized at each noise level, mean over them
    calibrated  minus what of the loss its difficulty does not explain (a line through the reference images)
    learned     a ridge discriminant of both at each level, fitted on known members against the reference images; the
                known members are no queries
    """
    scale = Scale(reference)
    z, residual = scale(queries)
    scores = {"denoising loss": -z.mean(axis=1), "denoising loss for its difficulty": -residual.mean(axis=1)}
    if known_members is not None and len(known_members) >= 20:
        inside, outside = (np.concatenate(scale(part), axis=1) for part in (known_members, reference))
        within = (np.cov(inside, rowvar=False) + np.cov(outside, rowvar=False)) / 2
        direction = np.linalg.solve(within + RIDGE * np.eye(len(within)), inside.mean(0) - outside.mean(0))
        scores["denoising losses, learned"] = np.concatenate([z, residual], axis=1) @ direction
    return scores


class Scale:
    """Standardizes log losses [., S, 2] by the reference images, before and after a line in the difficulty is off.

    The second of each two losses is the difficulty: what another denoiser makes of the same image and noise.
    """

    def __init__(self, reference: np.ndarray) -> None:
        loss, easy = reference[..., 0], reference[..., 1]
        self.mean, self.easy_mean = loss.mean(0), easy.mean(0)
        centered = easy - self.easy_mean
        self.slope = (centered * (loss - self.mean)).sum(0) / np.maximum((centered**2).sum(0), 1e-12)
        self.std = np.maximum(loss.std(0), 1e-9)
        self.residual_std = np.maximum((loss - self.mean - self.slope * centered).std(0), 1e-9)

    def __call__(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = (losses[..., 0] - self.mean) / self.std
        return off, self.off(losses[..., 0], losses[..., 1]) / self.residual_std

    def off(self, loss: np.ndarray, easy: np.ndarray) -> np.ndarray:
        """What the line does not explain of losses [., S], in their own unit."""
        return np.asarray(loss - self.mean - self.slope * (easy - self.easy_mean))
