"""A synthetic cohort from a trained run, in chunks that a kill can only lose one of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import Problem, Refused
from synthcohort.core.files import check_writable, digest_json, json_text, read_json, remove, write_json
from synthcohort.core.progress import progress
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.plan import plan_conditions
from synthcohort.generation.screen import Screen, as_mappings, image_id, screened_chunk
from synthcohort.imaging.intensity import ValueRange
from synthcohort.models.generator import BATCH, Generator, load_generator

CHUNK = 4 * BATCH
DEFAULT_COUNT = 1000
NOTES = "screened"  # folder of the unfinished cohort: one list of screened images per chunk


def generate(
    run: Path,
    out: Path,
    config: GenerateConfig,
    seed: int = 0,
    count: int | None = None,
    where: Mapping[str, Any] | None = None,
    balance: str | None = None,
) -> dict[str, Any]:
    """Draws `count` images in the training images' label proportions, or as `where` and `balance` ask.

    The cohort depends on the run, the settings and the seed alone: an interrupted call made again ends in equal bits.
    Returns {cohort, count, screened_out}. Raises InputError for unknown columns or values, ArtifactError for an
    unfinished run, Refused when most images are near copies of training images.
    """
    run, out = Path(run), Path(out)
    generator = load_generator(run, config.sampling)
    count = DEFAULT_COUNT if count is None else count
    conditions = plan_conditions(
        generator.spec.vocabulary, generator.facts["label_counts"], count, seed, where, balance
    )
    check_writable(out)
    value_range = ValueRange(generator.spec.image.low, generator.spec.image.high)
    screen = Screen(run / "train_features", value_range) if config.screen else None
    provenance = {
        "method": "class-conditional diffusion model in pixel space",
        "model_digest": generator.digest,
        "training": {k: generator.facts[k] for k in ("images_seen", "training_images", "steps", "seed", "cohorts")},
        "config": to_mapping(config),
        "seed": seed,
        "count": count,
        "where": dict(where or {}),
        "balance": balance,
        "copy_thresholds": screen.thresholds if screen else None,
    }
    labels = list(generator.labels.values())
    writer = CohortWriter(out, config.name, "synthetic", labels, provenance, digest_json(provenance))
    screened = _write_images(generator, screen, writer, conditions, config, seed)
    missing = sum(not item["replaced"] for item in screened)
    if missing > count / 2:
        remove(writer.partial)
        raise Refused(
            Problem(
                "generator",
                f"{missing} of {count} images are near copies of training images, whatever the seed",
                remedy="train on more images, for a shorter time, or a smaller network",
            )
        )
    report = {"thresholds": provenance["copy_thresholds"], "drawn": count + len(screened) - missing, "images": screened}
    cohort = writer.finish(extra_files={"screened.json": json_text(report)}, screened=config.screen)
    remove(out / NOTES)
    return {"cohort": out.as_posix(), "count": len(cohort), "screened_out": len(screened)}


def _write_images(
    generator: Generator,
    screen: Screen | None,
    writer: CohortWriter,
    conditions: Sequence[Mapping[str, Any]],
    config: GenerateConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """Draws, screens and stores chunk by chunk; a chunk's list of screened images is stored before its images count."""
    notes = writer.partial / NOTES
    notes.mkdir(exist_ok=True)
    chunks = [range(start, min(start + CHUNK, len(conditions))) for start in range(0, len(conditions), CHUNK)]
    finished = [chunk for chunk in chunks if _is_stored(chunk, notes / f"{chunk.start:09d}.json", writer.done)]
    shared = _shared_facts(generator)
    with progress(len(conditions), "generate", start=sum(map(len, finished))) as advance:
        for chunk in chunks:
            if chunk in finished:
                continue

            def draw(wanted: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
                return list(generator.draw(wanted, seeds))

            kept, out = screened_chunk(draw, screen, chunk, [conditions[n] for n in chunk], seed, config.tries)
            write_json(notes / f"{chunk.start:09d}.json", as_mappings(out))
            for number, (image, image_seed) in sorted(kept.items()):
                name = image_id(number)
                if name not in writer.done:
                    own = {"image_id": name, "patient_id": name, "group_id": name, "seed": image_seed}
                    writer.add(image, {**own, **shared, **conditions[number]})
            writer.flush()
            advance(len(chunk))
    return [item for file in sorted(notes.glob("*.json")) for item in read_json(file)]


def _is_stored(chunk: Sequence[int], note: Path, done: set[str]) -> bool:
    """Whether all images of a chunk are safely stored, but for those its note says were left out."""
    if not note.exists():
        return False
    left_out = {item["image_id"] for item in read_json(note) if not item["replaced"]}
    return all(image_id(number) in done or image_id(number) in left_out for number in chunk)


def _shared_facts(generator: Generator) -> dict[str, Any]:
    """What was the same for all training images and so holds for the synthetic ones."""
    image = generator.image
    names = ("bits_stored", "modality", "body_part", "view", "window_center", "window_width", "pixel_spacing_mm")
    return {name: image[name] for name in names if image[name] is not None}
