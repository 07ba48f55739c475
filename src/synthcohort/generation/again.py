"""One image of a synthetic cohort drawn again from what was recorded of it: request, number, seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.generation.quotas import Quota
from synthcohort.generation.synthesize import Wanted, refuse_shadow
from synthcohort.models.generator import Generator, load_generator


@dataclass(frozen=True)
class Asked:
    """A request as the cohort's provenance recorded it."""

    model_digest: str
    seed: int
    count: int
    sampling: Mapping[str, Any]
    where: Mapping[str, Any] | None = None
    balance: str | None = None
    prompt: str | None = None
    quotas: Sequence[Mapping[str, Any]] | None = None

    @classmethod
    def of(cls, made: Mapping[str, Any]) -> "Asked":
        """From the provenance of a cohort. Raises ArtifactError when it lacks what a second drawing needs."""
        config = made.get("config")
        sampling = config.get("sampling") if isinstance(config, Mapping) else None
        missing = [name for name in ("model_digest", "seed", "count") if made.get(name) is None]
        missing += [] if sampling else ["config.sampling"]
        if missing:
            raise ArtifactError(Problem("provenance", f"lacks {', '.join(missing)}", "what generate records"))
        names = ("where", "balance", "prompt", "quotas")
        said = {name: made.get(name) for name in names}
        return cls(made["model_digest"], made["seed"], made["count"], dict(sampling or {}), **said)


def open_run(run: Path, asked: Asked) -> tuple[Generator, Wanted]:
    """The generator of a request and its plan. Raises ArtifactError when the run holds another model."""
    generator = load_generator(run, build(SamplingConfig, asked.sampling, "provenance.config.sampling"))
    refuse_shadow(run, generator)
    if generator.digest != asked.model_digest:
        raise ArtifactError(
            Problem(f"run {run}", f"its model is {generator.digest}", f"{asked.model_digest}, which drew the images")
        )
    quotas = [
        Quota(item["count"], item.get("where") or {}, item.get("prompt"), item.get("balance"))
        for item in asked.quotas or []
    ]
    count = None if quotas else asked.count
    return generator, Wanted.of(
        generator, asked.seed, count, asked.where or None, asked.balance, asked.prompt, quotas or None
    )  # fmt: skip


def draw_again(run: Path, asked: Asked, images: Sequence[tuple[str, int]]) -> list[np.ndarray]:
    """The images of these (id, seed), drawn again. Raises InputError for an id that the request never made."""
    generator, wanted = open_run(run, asked)
    numbers = [number_of(name, len(wanted.conditions)) for name, _ in images]
    return list(generator.draw([wanted.conditions[number] for number in numbers], [seed for _, seed in images]))


def number_of(image_id: str, count: int) -> int:
    """`synthetic-000012` -> 12."""
    stem, _, digits = image_id.rpartition("-")
    if stem != "synthetic" or not digits.isdecimal() or int(digits) >= count:
        raise InputError(
            Problem(f"image {image_id}", "was not drawn by this request", f"synthetic-000000 to {count - 1:06d}")
        )
    return int(digits)
