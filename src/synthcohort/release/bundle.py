"""The bundle: made only after the decision to release, streamed, whole or absent, the same bytes each time."""

import csv
from collections.abc import Iterator, Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem, Refused
from synthcohort.core.files import (
    atomic_path,
    check_writable,
    digest_array,
    digest_json,
    json_text,
    read_artifact,
)
from synthcohort.core.policy import SHIPPED, load_policy
from synthcohort.core.progress import progress
from synthcohort.formats import dicom_export, png_export
from synthcohort.pages.grids import class_sheets
from synthcohort.pages.report import render_evidence
from synthcohort.release import decision as decisions
from synthcohort.release import documents, manifest
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.decision import Decision, decide
from synthcohort.release.verify import verify

# What a row of metadata.csv says of an image besides its files and labels. Everything else a record may hold (patients,
# sites, scanners, source digests) stays behind.
RELEASED_COLUMNS = (
    "modality", "body_part", "laterality", "view", "sex", "age", "caption", "rows", "columns", "channels",
    "bits_stored", "pixel_spacing_mm", "window_center", "window_width", "seed", "pixels_digest",
)


def release(
    synthetic: Path, evidence: Path, out: Path, config: ReleaseConfig, policy: str | Path | None = None
) -> dict[str, Any]:
    """Decides by policy; makes the bundle when every rule holds. Returns {bundle, decision, reasons}.

    Raises Refused with every reason otherwise, and leaves nothing at `out`. A bundle made before from the same cohort,
    evidence, policy and statements is kept as it is. Raises ArtifactError when `out` holds anything else.
    """
    out, rules = Path(out), load_policy(policy)
    check_writable(out)
    cohort = Cohort.open(synthetic)
    scores = _read_scores(Path(evidence))
    decision = decide(scores, cohort, rules, config)
    if decision.decision != "release":
        raise Refused(*decision.reasons, *_left_over(out))
    made_from = _fingerprint(decision, config)
    if out.exists():
        _check_existing(out, made_from)
    else:
        with atomic_path(out) as partial:
            partial.mkdir()
            _write(partial, cohort, scores, decision, config, policy, made_from)
    return {"bundle": out.as_posix(), "decision": "release", "reasons": []}


def _read_scores(evidence: Path) -> dict[str, Any]:
    path = evidence / "scores.json"
    if not path.is_file():
        raise ArtifactError(
            Problem(f"evidence {evidence}", "holds no scores.json", "a folder made by synthcohort evaluate")
        )
    return read_artifact(path, decisions.SCORES_FORMAT, decisions.SCORES_VERSION)


def _left_over(out: Path) -> list[str]:
    if not out.exists():
        return []
    return [f"{out} holds something made before this decision. It is not covered by it: remove it."]


def _software() -> str:
    return f"synthcohort {metadata.version('synthcohort')}"


def _fingerprint(decision: Decision, config: ReleaseConfig) -> str:
    """What a bundle depends on; the same fingerprint means the same bytes."""
    return digest_json({"decision": decision.to_mapping(), "config": to_mapping(config), "software": _software()})


def _check_existing(out: Path, made_from: str) -> None:
    """An existing bundle is kept when it is this one and whole."""
    problem = "holds something else"
    if (out / manifest.MANIFEST).is_file():
        found = verify(out)
        if found["ok"] and manifest.read_manifest(out).get("made_from") == made_from:
            return
        problem = "holds another bundle" if found["ok"] else "holds a bundle that was changed"
    raise ArtifactError(Problem(f"output {out}", problem, remedy="remove it or choose another --out"))


def _write(
    folder: Path,
    cohort: Cohort,
    scores: Mapping[str, Any],
    decision: Decision,
    config: ReleaseConfig,
    policy: str | Path | None,
    made_from: str,
) -> None:
    """Images first, documents next, the manifest last."""
    writer = manifest.Writer(folder)
    _write_images(writer, cohort, config)
    provenance = documents.provenance_of(scores, cohort, decision, _software())
    writer.add("scores.json", json_text(scores))
    writer.add("decision.json", _artifact(decisions.FORMAT, decision.to_mapping()))
    writer.add("provenance.json", _artifact("provenance", provenance))
    writer.add("scorecard.json", _artifact("scorecard", documents.scorecard(scores, cohort, decision, provenance)))
    writer.add("policy.toml", _policy_text(policy))
    writer.add("README.txt", documents.readme(cohort, decision, config))
    sheets = class_sheets(cohort, per_class=config.images_per_class)
    writer.add("report.html", render_evidence(scores, sheets, decision.to_mapping()))
    content = {
        "name": cohort.name,
        "images": len(cohort),
        "decision": decision.decision,
        "scores_digest": decision.scores_digest,
        "synthetic_digest": decision.synthetic_digest,
        "policy_digest": decision.policy["digest"],
        "made_from": made_from,
        "software": _software(),
        "files": sorted(writer.files, key=lambda entry: str(entry["path"])),
    }
    text = _artifact(manifest.FORMAT, content)
    (folder / manifest.MANIFEST).write_text(text, encoding="utf-8")
    (folder / manifest.SIDECAR).write_text(manifest.sidecar_text(text.encode()), encoding="utf-8")


def _artifact(format: str, content: Mapping[str, Any]) -> str:
    return json_text({**content, "format": f"synthcohort.{format}", "version": 1})


def _policy_text(policy: str | Path | None) -> str:
    name = "open" if policy is None else str(policy)
    if name in SHIPPED:
        return (resources.files("synthcohort") / "policies" / f"{name}.toml").read_text(encoding="utf-8")
    return Path(name).read_text(encoding="utf-8")


def _write_images(writer: manifest.Writer, cohort: Cohort, config: ReleaseConfig) -> None:
    """One image in memory at a time; metadata.csv grows row by row."""
    version = metadata.version("synthcohort")
    equipment = dicom_export.Equipment(version, f"Synthetic cohort {cohort.digest}")
    header = ["image_id", *config.formats, *(["sop_instance_uid"] if "dicom" in config.formats else []),
              *cohort.labels, *RELEASED_COLUMNS, "png_offset"]
    with (
        open(writer.folder / "metadata.csv", "w", encoding="utf-8", newline="") as file,
        progress(len(cohort), "release") as advance,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for image in _images(cohort):
            row: dict[str, Any] = {**image.record, **image.labels, "png_offset": png_export.offset_of(image.pixels)}
            if "dicom" in config.formats:
                row["dicom"] = f"images/dicom/{image.image_id}.dcm"
                row["sop_instance_uid"] = dicom_export.uid(image, "instance")
                writer.add(row["dicom"], dicom_export.encode(image, equipment))
            if "png" in config.formats:
                row["png"] = f"images/png/{image.image_id}.png"
                writer.add(row["png"], png_export.encode(image.pixels, image.image_id))
            table.writerow([_cell(row.get(name)) for name in header])
            advance()
    writer.add_written("metadata.csv")


def _images(cohort: Cohort) -> Iterator[dicom_export.SyntheticImage]:
    """The images in order; one whose pixels do not give the digest of its record stops the release."""
    for i in range(len(cohort)):
        record, pixels = cohort.record(i), cohort.image(i)
        if digest_array(pixels) != record["pixels_digest"]:
            raise Refused(f"The pixels of image {record['image_id']} do not give the digest of its record.")
        labels = {name: record[name] for name in cohort.labels}
        yield dicom_export.SyntheticImage(pixels, record, labels, cohort.digest)


def _cell(value: Any) -> str:
    """A cell that a spreadsheet reads as it stands."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(_cell, value))
    return repr(value) if isinstance(value, float) else str(value)
