"""Anybody's images for the evaluation: cohorts as they are, and plain folders, zip archives or files read as cohorts.

Plain sources are read into the evidence's `owner/` folder, which never leaves the house: nobody looks for text in their
pixels there. A plain synthetic source is taken to be synthetic because the user says so.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthcohort.core.cohort import ROLES, Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.seeds import seed_from

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig

VALIDATION_SHARE = 0.1  # of the patients learned from, when others are held out: strangers to set thresholds on


def evaluate(
    real: str | Path,
    synthetic: str | Path,
    out: str | Path,
    config: "EvaluateConfig | None" = None,
    policy: str | Path | None = None,
    seed: int = 0,
    holdout: str | Path | None = None,
    run: str | Path | None = None,
    study: str | Path | None = None,
) -> dict[str, Any]:
    """Evaluates any two sources: scores.json, report.html and the owner's folder in `out`.

    A source is a cohort folder, or whatever `ingest` reads. `holdout`: real images of patients whom the generator never
    saw; with it all images of `real` count as learned from. A plain real source without it and without a split column
    leaves unknown what was learned from. `run`: the generator's run folder, whose model is then attacked too.
    `study`: study.json of a reader study. Returns {scores, verdict, failed, inconclusive}. Raises InputError for
    sources that can't be read or compared.
    """
    from synthcohort.evaluation import evaluate as compare

    real, synthetic, out = Path(real), Path(synthetic), Path(out)
    if holdout is not None and Path(holdout).resolve() == real.resolve():
        raise InputError(Problem("--holdout", f"the same source as --real, {real}", "images of other patients"))
    scratch = out / "owner" / "sources"
    known = _is_cohort(real)
    real_cohort = _read(real, scratch, "real", seed)
    trained_on: tuple[str, ...] = ("train",)
    if holdout is not None:
        real_cohort = _held_out(real_cohort, _read(Path(holdout), scratch, "holdout", seed), scratch, seed)
        trained_on = ("train", "validation")
    elif not known and "split" not in real_cohort.info["provenance"].get("columns", {}):
        trained_on = ROLES
    synthetic_cohort = _read(synthetic, scratch, "synthetic", seed)
    folder = Path(run) if run else None
    read = Path(study) if study else None
    return compare(real_cohort.path, synthetic_cohort.path, out, config, policy, seed, trained_on, folder, read)


def _is_cohort(source: Path) -> bool:
    return (source / "cohort.json").is_file()


def _read(source: Path, scratch: Path, side: str, seed: int) -> Cohort:
    """The source as a cohort; what was read before is read again only when files came, went or changed."""
    if _is_cohort(source):
        return Cohort.open(source)
    if not source.exists():
        raise ArtifactError(Problem(f"--{side} {source}", "no such file or folder", "a cohort, or a source of images"))
    from synthcohort.ingest import IngestConfig, ingest

    near: Any = "group" if side == "real" else "off"
    config = IngestConfig(name=source.name, key="seed", pixel_text="unchecked", near_duplicates=near, unlisted="take")
    path = scratch / f"{side}-{_state(source)}"
    if not _is_cohort(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        ingest(source, path, config, seed)
    read = Cohort.open(path)
    if side != "synthetic":
        return read
    return _copied([(read, lambda record: None)], path.with_name(f"{path.name}-marked"), read.name, "synthetic")


def _state(source: Path) -> str:
    """Digest of the names, sizes and times of the files."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    listed = []
    for path in files:
        stat = path.stat()
        listed.append([path.relative_to(source).as_posix(), stat.st_size, stat.st_mtime_ns])
    return digest_json([source.resolve().as_posix(), listed]).partition(":")[2][:16]


def _held_out(real: Cohort, others: Cohort, scratch: Path, seed: int) -> Cohort:
    """One cohort of both: `real` becomes train and validation, `others` control and test, by groups of images.

    Raises InputError when a patient or an image is on both sides.
    """
    shared = _known(real, "patient_id") & _known(others, "patient_id")
    if shared:
        found = f"{len(shared)} patients that --real has too"
        raise InputError(Problem("--holdout", found, "patients whom the generator never saw"))
    if same := _known(real, "pixels_digest") & _known(others, "pixels_digest"):
        found = f"{len(same)} images that are, pixel by pixel, images of --real"
        raise InputError(Problem("--holdout", found, "images that the generator never saw"))
    key = digest_json([real.digest, others.digest, seed]).partition(":")[2][:16]
    sides = [
        (real, _role_by_chance("validation", "train", VALIDATION_SHARE, seed)),
        (others, _role_by_chance("control", "test", 0.5, seed)),
    ]
    return _copied(sides, scratch / f"held-out-{key}", real.name, "real")


def _known(cohort: Cohort, column: str) -> set[str]:
    return {value for value in cohort.column(column) if value is not None}


def _role_by_chance(first: str, second: str, share: float, seed: int) -> Callable[[Mapping[str, Any]], str]:
    def role(record: Mapping[str, Any]) -> str:
        owner = record.get("group_id") or record.get("patient_id") or record["image_id"]
        return first if seed_from("holdout", seed, str(owner)) % 10_000 < share * 10_000 else second

    return role


def _copied(
    parts: Sequence[tuple[Cohort, Callable[[Mapping[str, Any]], str | None]]], path: Path, name: str, origin: Any
) -> Cohort:
    """The images of all parts in one cohort, with other roles; a killed copy goes on."""
    if _is_cohort(path):
        return Cohort.open(path)
    labels = _common_labels([cohort for cohort, _ in parts])
    made = [cohort.info["provenance"] for cohort, _ in parts]
    provenance = made[0] if len(made) == 1 else {"stage": "evaluate", "parts": made}
    writer = CohortWriter(path, name, origin, labels, provenance, digest_json([cohort.digest for cohort, _ in parts]))
    known = {label.name for label in labels}
    for cohort, role in parts:
        drop = set(cohort.labels) - known
        for index in range(len(cohort)):
            record = cohort.record(index)
            if record["image_id"] in writer.done:
                continue
            kept = {key: value for key, value in record.items() if key not in drop}
            writer.add(cohort.image(index), {**kept, "split": role(record)})
    return writer.finish()


def _common_labels(cohorts: list[Cohort]) -> tuple[Any, ...]:
    """Label columns that all parts have, of one kind; values in the order of the first, then what others add."""
    from dataclasses import replace

    common = []
    for name, label in cohorts[0].labels.items():
        others = [cohort.labels.get(name) for cohort in cohorts[1:]]
        if any(other is None or other.kind != label.kind for other in others):
            continue
        values = dict.fromkeys(label.values)
        for other in others:
            values.update(dict.fromkeys(other.values if other else ()))
        common.append(replace(label, values=tuple(sorted(values) if label.kind == "ordinal" else values)))
    return tuple(common)
