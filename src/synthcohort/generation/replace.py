"""Refill: a synthetic cohort with some of its images drawn anew from new seeds; all others stay as they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.code import code_identity
from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import check_writable, digest_json, json_text, read_artifact, read_json
from synthcohort.core.seeds import seed_from
from synthcohort.generation.again import Asked, number_of, open_run
from synthcohort.generation.screen import Screen, as_mappings, image_id, screened_chunk
from synthcohort.models.generator import BATCH

NEAR_FORMAT, NEAR_VERSION = "near", 1
_COMPUTED = ("rows", "columns", "channels", "pixels_digest", "shard", "shard_row")


def read_names(path: Path) -> list[str]:
    """Names of images from evaluation's owner/near.json, or from a text file with one name a line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"--replace {path}", f"cannot be read ({type(error).__name__})")) from None
    if text.lstrip().startswith("{"):
        return [str(item["image_id"]) for item in read_artifact(Path(path), NEAR_FORMAT, NEAR_VERSION)["images"]]
    return [line.strip() for line in text.splitlines() if line.strip()]


def replace(run: Path, of: Path, names: Sequence[str], out: Path, tries: int = 8) -> dict[str, Any]:
    """Writes the cohort `of` anew with the images of these names drawn from new seeds, screened like all others.

    Each round of replacement has seeds of its own. Returns {cohort, count, replaced, screened_out}; an image that is
    too near whatever the seed is left out. Raises InputError for names that are not in the cohort, or a cohort that was
    not screened, ArtifactError when the run is not the one that drew it.
    """
    cohort = Cohort.open(of)
    _check(cohort, names, out)
    made = dict(cohort.info["provenance"])
    asked = Asked.of(made)
    generator, wanted = open_run(Path(run), asked)
    screen = Screen(Path(run) / "train_features", generator.spec.images)
    before = list(made.get("replaced") or [])
    numbers = sorted(number_of(name, len(wanted.conditions)) for name in set(names))
    made["replaced"] = [*before, {"of": cohort.digest, "images": [image_id(number) for number in numbers]}]
    seed = seed_from("replace", asked.seed, len(before) + 1)
    begun = digest_json(made)  # what was begun under another version may be finished under this one
    made["replaced"][-1] |= {"code": code_identity()}
    writer = CohortWriter(out, cohort.name, "synthetic", list(cohort.labels.values()), made, begun)
    drawn: dict[str, tuple[np.ndarray, int]] = {}
    screened: list[dict[str, Any]] = []

    def draw(conditions: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[np.ndarray]:
        return list(generator.draw(conditions, seeds))

    for start in range(0, len(numbers), BATCH):
        part = numbers[start : start + BATCH]
        kept, lost = screened_chunk(
            draw, screen, part, [wanted.conditions[n] for n in part], seed, tries,
            [wanted.images[n].name for n in part],
        )  # fmt: skip
        drawn |= {image_id(number): found for number, found in kept.items()}
        screened += as_mappings(lost)
    _write(writer, cohort, {image_id(number) for number in numbers}, drawn)
    report = read_json(cohort.path / "screened.json") if (cohort.path / "screened.json").is_file() else {}
    report["images"] = [*(report.get("images") or []), *screened]
    found = writer.finish(extra_files={"screened.json": json_text(report)}, screened=True)
    return {"cohort": Path(out).as_posix(), "count": len(found), "replaced": len(drawn), "screened_out": len(screened)}


def _check(cohort: Cohort, names: Sequence[str], out: Path) -> None:
    problems = []
    known = set(cohort.image_ids)
    unknown = sorted(set(names) - known)
    if unknown:
        problems.append(
            Problem(f"--replace: image {unknown[0]}", f"is not in {cohort.path} ({len(unknown)} such names)")
        )
    if not names:
        problems.append(Problem("--replace", "names no image"))
    if cohort.origin != "synthetic" or cohort.info.get("screened") is not True:
        problems.append(Problem(f"cohort {cohort.path}", "is no screened synthetic cohort", "one made by generate"))
    if problems:
        raise InputError(*problems)
    check_writable(Path(out))


def _write(
    writer: CohortWriter, cohort: Cohort, replaced: set[str], drawn: Mapping[str, tuple[np.ndarray, int]]
) -> None:
    """All images in their order: the old ones as they are, the new ones with the seed that drew them."""
    for i in range(len(cohort)):
        record = cohort.record(i)
        name = record["image_id"]
        if name in writer.done or (name in replaced and name not in drawn):
            continue
        pixels = cohort.image(i)
        kept = {key: value for key, value in record.items() if key not in _COMPUTED and value is not None}
        if name in drawn:
            pixels, kept["seed"] = drawn[name]
        writer.add(pixels, kept)
