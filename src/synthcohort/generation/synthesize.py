"""A synthetic cohort from a trained run, in chunks that a kill can only lose one of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.code import code_identity
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import InputError, Problem, Refused
from synthcohort.core.files import check_writable, digest_json, json_text, read_json, remove, write_json
from synthcohort.core.progress import progress
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.plan import plan_conditions
from synthcohort.generation.quotas import Quota, Unmet, plan_quotas
from synthcohort.generation.screen import Screen, as_mappings, image_id, screened_chunk
from synthcohort.models.checkpoint import ImageSpec
from synthcohort.models.condition import PROMPT
from synthcohort.models.generator import BATCH, Generator, load_generator

CHUNK = 4 * BATCH
DEFAULT_COUNT = 1000
TRAINING_FACTS = ("images_seen", "training_images", "steps", "seed", "cohorts")  # of model.json
NOTES = "screened"  # folder of the unfinished cohort: one list of screened images per chunk


def generate(
    run: Path,
    out: Path,
    config: GenerateConfig,
    seed: int = 0,
    count: int | None = None,
    where: Mapping[str, Any] | None = None,
    balance: str | None = None,
    prompt: str | None = None,
    quotas: Sequence[Quota] | None = None,
) -> dict[str, Any]:
    """Draws `count` images in the training images' proportions, or as `where`, `balance`, `prompt` or `quotas` ask.

    The cohort depends on the run, the settings and the seed alone: an interrupted call made again ends in equal bits.
    Returns {cohort, count, screened_out}, with quotas also {unmet}: those that gave fewer images than asked, and why.
    Raises InputError for unknown columns, values or image types, ArtifactError for an unfinished run, Refused when most
    images are near copies of training images.
    """
    run, out = Path(run), Path(out)
    generator = load_generator(run, config.sampling)
    refuse_shadow(run, generator)
    asked = Wanted.of(generator, seed, count, where, balance, prompt, quotas)
    check_writable(out)
    screen = Screen(run / "train_features", generator.spec.images) if config.screen else None
    provenance = {
        "method": METHODS[generator.spec.kind],
        "model_digest": generator.digest,
        "training": {**{k: generator.facts[k] for k in TRAINING_FACTS}, "code": generator.facts.get("code")},
        "config": to_mapping(config),
        "seed": seed,
        "count": len(asked.conditions),
        **asked.said,
        "copy_thresholds": screen.thresholds if screen else None,
        **canaries_of(generator),
    }
    writer = CohortWriter(
        out,
        config.name,
        "synthetic",
        list(generator.labels.values()),
        {**provenance, "code": code_identity()},
        digest_json(provenance),  # what was begun under another version may be finished under this one
    )
    screened = _write_images(generator, screen, writer, asked, config, seed)
    missing = sum(not item["replaced"] for item in screened)
    if missing > len(asked.conditions) / 2:
        remove(writer.partial)
        raise Refused(
            Problem(
                "generator",
                f"{missing} of {len(asked.conditions)} images are near copies of training images, whatever the seed",
                remedy="train on more images, for a shorter time, or a smaller network",
            )
        )
    drawn = len(asked.conditions) + len(screened) - missing
    report = {"thresholds": provenance["copy_thresholds"], "drawn": drawn, "images": screened}
    unmet = asked.unmet_by([item["image_id"] for item in screened if not item["replaced"]])
    extra = {"screened.json": json_text(report)}
    if quotas:
        extra["quotas.json"] = json_text({"unmet": unmet})
    cohort = writer.finish(extra_files=extra, screened=config.screen)
    remove(out / NOTES)
    result = {"cohort": out.as_posix(), "count": len(cohort), "screened_out": len(screened)}
    return {**result, "unmet": unmet} if quotas else result


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn: a condition and an image type for each image, and what was asked in the user's words."""

    conditions: list[dict[str, Any]]
    images: list[ImageSpec]
    said: dict[str, Any]
    owners: list[int]  # the quota of each, from 1
    unmet: list[Unmet]

    @classmethod
    def of(
        cls,
        generator: Generator,
        seed: int,
        count: int | None,
        where: Mapping[str, Any] | None,
        balance: str | None,
        prompt: str | None,
        quotas: Sequence[Quota] | None,
    ) -> "Wanted":
        vocabulary, counts = generator.spec.vocabulary, generator.facts["label_counts"]
        owners: list[int] = []
        unmet: list[Unmet] = []
        if quotas:
            if where or balance or prompt or count is not None:
                raise InputError(
                    Problem("quotas", "given together with count, where, balance or prompt", "one of them")
                )
            conditions, owners, unmet = plan_quotas(vocabulary, counts, quotas, seed)
            said: dict[str, Any] = {"quotas": [to_mapping(quota) for quota in quotas]}
        else:
            count = DEFAULT_COUNT if count is None else count
            if prompt:  # it may say the image type, and then the columns are that type's
                where = {
                    key: value
                    for key, value in generator.completed({**(where or {}), PROMPT: prompt}).items()
                    if key != PROMPT
                }
            conditions = plan_conditions(vocabulary, counts, count, seed, where, balance, prompt)
            said = {"where": dict(where or {}), "balance": balance, "prompt": prompt}
        completed = [generator.completed(condition) for condition in conditions]
        return cls(completed, [generator.image_of(condition) for condition in completed], said, owners, unmet)

    def unmet_by(self, left_out: Sequence[str]) -> list[dict[str, Any]]:
        """Quotas that gave fewer images than asked, those left out by the copy screen among the reasons."""
        found = [asdict(item) for item in self.unmet]
        lost = Counter(self.owners[int(name.rpartition("-")[2])] for name in left_out) if self.owners else Counter()
        for number, missing in sorted(lost.items()):
            asked = self.owners.count(number)
            found.append(asdict(Unmet(number, asked, asked - missing, "too like training images, whatever the seed")))
        return found


def _write_images(
    generator: Generator,
    screen: Screen | None,
    writer: CohortWriter,
    wanted: Wanted,
    config: GenerateConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """Draws, screens and stores chunk by chunk; a chunk's list of screened images is stored before its images count."""
    notes = writer.partial / NOTES
    notes.mkdir(exist_ok=True)
    conditions = wanted.conditions
    chunks = [range(start, min(start + CHUNK, len(conditions))) for start in range(0, len(conditions), CHUNK)]
    finished = [chunk for chunk in chunks if _is_stored(chunk, notes / f"{chunk.start:09d}.json", writer.done)]
    with progress(len(conditions), "generate", start=sum(map(len, finished))) as advance:
        for chunk in chunks:
            if chunk in finished:
                continue

            def draw(asked: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
                return list(generator.draw(asked, seeds))

            kept, out = screened_chunk(
                draw, screen, chunk, [conditions[n] for n in chunk], seed, config.tries,
                [wanted.images[n].name for n in chunk],
            )  # fmt: skip
            write_json(notes / f"{chunk.start:09d}.json", as_mappings(out))
            for number, (image, image_seed) in sorted(kept.items()):
                name = image_id(number)
                if name not in writer.done:
                    own = {"image_id": name, "patient_id": name, "group_id": name, "seed": image_seed}
                    writer.add(image, {**own, **facts_of(wanted.images[number]), **_columns(conditions[number])})
            writer.flush()
            advance(len(chunk))
    return [item for file in sorted(notes.glob("*.json")) for item in read_json(file)]


def _columns(condition: Mapping[str, Any]) -> dict[str, Any]:
    """A condition as columns of a record: a prompt is the caption, and what was not said is absent."""
    return {"caption" if name == PROMPT else name: value for name, value in condition.items() if value is not None}


def _is_stored(chunk: Sequence[int], note: Path, done: set[str]) -> bool:
    """Whether all images of a chunk are safely stored, but for those its note says were left out."""
    if not note.exists():
        return False
    left_out = {item["image_id"] for item in read_json(note) if not item["replaced"]}
    return all(image_id(number) in done or image_id(number) in left_out for number in chunk)


def refuse_shadow(run: Path, generator: Generator) -> None:
    """Raises InputError for a shadow of an audit: images that learned from control patients have no control left."""
    shadow = generator.facts.get("shadow")
    if shadow:
        found = f"is shadow {shadow['number']} of an audit: it learned from control patients"
        raise InputError(Problem(f"run {run}", found, "a run without train.shadow", "name the audited run"))


def canaries_of(generator: Generator) -> dict[str, Any]:
    """What the provenance says where the generator learned planted marks: release refuses its images."""
    facts = generator.facts.get("canaries")
    return {"canaries": facts} if facts else {}


def facts_of(image: ImageSpec) -> dict[str, Any]:
    """What was the same for all training images of a type and so holds for the synthetic ones."""
    names = ("bits_stored", "modality", "body_part", "view", "window_center", "window_width", "pixel_spacing_mm")
    known = to_mapping(image)
    return {name: known[name] for name in names if known[name] is not None}


METHODS = {
    "pixel": "diffusion model in pixel space, conditioned on labels and text",
    "gan": "generative adversarial network, conditioned on labels and text",
    "latent": "diffusion model in the latent space of an autoencoder, conditioned on labels and text",
}
