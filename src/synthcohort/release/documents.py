"""What lies beside the images in a bundle, all from the evidence: scorecard, provenance, README."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.decision import Decision

CRITERIA = (  # the FDA's seven criteria for synthetic medical data. Source: 10.1038/s44172-025-00450-1
    ("congruence", "How alike are the distributions of synthetic and real images?"),
    ("coverage", "How much of the variety of the real images is reached?"),
    ("constraint", "Do the images keep within the limits of real ones?"),
    ("completeness", "Is every piece of information there that a use needs?"),
    ("compliance", "Are the rules for data formats, privacy and use kept?"),
    ("comprehension", "Is it documented how the data was made and what for?"),
    ("consistency", "Are the results stable across groups and over time?"),
)
_SCORE_KEYS = (
    "name", "title", "encoder", "subset", "value", "low", "high", "confidence", "floor", "better",
    "n_real", "n_synthetic",
)
_FAMILY_OF = {"coverage": "coverage", "constraint": "image_damage", "consistency": "subgroups"}


def scorecard(
    scores: Mapping[str, Any], synthetic: Cohort, decision: Decision, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The seven criteria: each with its figures, or with the reason why it was not evaluated."""
    return {
        "source": "FDA scorecard for synthetic medical data, doi:10.1038/s44172-025-00450-1",
        "criteria": [
            {"name": name, "question": question, **_criterion(name, scores, synthetic, decision, provenance)}
            for name, question in CRITERIA
        ],
    }


def _criterion(
    name: str, scores: Mapping[str, Any], synthetic: Cohort, decision: Decision, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    if name == "congruence":
        near = [score for score in scores["scores"] if score["group"] == "fidelity"]
        mine = [score for score in near if score.get("family") != "coverage"]
        return _with_scores(mine, "no fidelity score was computed")
    if name in _FAMILY_OF:
        family = _FAMILY_OF[name]
        found = scores["families"].get(family, {})
        mine = [score for score in scores["scores"] if score.get("family") == family]
        card = _with_scores(mine, found.get("reason") or "not built yet")
        return {**card, "verdict": found.get("verdict", "inconclusive")}
    if name == "completeness":
        filled = {label: _share_filled(synthetic.column(label)) for label in synthetic.labels}
        return {"status": "evaluated", "figures": {"images": len(synthetic), "share_of_images_with_label": filled}}
    if name == "comprehension":
        keys = comprehension(scores, decision, provenance)
        answered = sum(value is not None for value in keys.values())
        return {"status": "evaluated", "figures": {"answered": answered, "of": len(keys), "keys": keys}}
    return {
        "status": "not evaluated",
        "reason": "a question for counsel; the rules of the decision and the marking of each file are in this bundle",
    }


def _with_scores(found: Sequence[Mapping[str, Any]], reason: str) -> dict[str, Any]:
    usable = [score for score in found if score.get("value") is not None]
    if not usable:
        return {"status": "not evaluated", "reason": reason}
    return {"status": "evaluated", "scores": [{key: score.get(key) for key in _SCORE_KEYS} for score in usable]}


def _share_filled(values: Sequence[Any]) -> float:
    return sum(value is not None for value in values) / len(values) if values else 0.0


def comprehension(scores: Mapping[str, Any], decision: Decision, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The twelve comprehension keys; None is an open question, never a guess."""
    made = provenance["synthetic"]["provenance"]
    return {
        "generation_method": made.get("method") or made.get("model"),
        "model_version": made.get("model_digest") or made.get("model"),
        "hyperparameters": made.get("config") or made.get("sampler"),
        "random_seed": made.get("seed"),
        "real_data_source": provenance["real"]["digest"],
        "preprocessing_steps": made.get("preprocessing"),
        "initial_evaluation": scores.get("verdict"),
        "intended_use": decision.statement["intended_use"] or None,
        "not_intended_for": decision.statement["not_intended_for"] or None,
        "privacy_method": "screen against the training images before writing; copies check against control patients",
        "code_repository": made.get("code"),
        "environment": provenance["software"],
    }


def provenance_of(scores: Mapping[str, Any], synthetic: Cohort, decision: Decision, software: str) -> dict[str, Any]:
    """The chain from the digest of the real cohort to the digest of each image (those are in metadata.csv)."""
    return {
        "software": software,
        "real": {"digest": scores["real"]["digest"], "images": scores["real"].get("images")},
        "synthetic": {
            "digest": synthetic.digest,
            "images": len(synthetic),
            "provenance": synthetic.info.get("provenance") or {},
        },
        "evaluation": {"scores_digest": decision.scores_digest, "settings": scores.get("settings") or {}},
        "policy": dict(decision.policy),
        "image_digests": "metadata.csv, column pixels_digest: sha256 over data type, shape and values",
    }


def readme(synthetic: Cohort, decision: Decision, config: ReleaseConfig) -> str:
    """The first file a receiver opens, in plain words."""
    statement = decision.statement
    folders = {
        "dicom": "images/dicom/   the images as DICOM, marked Synthetic Data (0008,001C) = YES",
        "png": "images/png/     the images as PNG at their own depth, marked as made by a trained model",
    }
    lines = [
        f"SYNTHETIC MEDICAL IMAGES: {synthetic.name}",
        "",
        f"{len(synthetic):,} images computed by a generator. None is a recording of a person. Not for diagnosis.",
        f"Released under the policy “{decision.policy['name']}”: {decision.policy['purpose']}",
        "",
        f"License:           {statement['license']}",
        f"Intended use:      {statement['intended_use'] or 'OPEN QUESTION: nobody has stated one'}",
        f"Not intended for:  {statement['not_intended_for'] or 'OPEN QUESTION: nobody has stated it'}",
        f"Contact:           {statement['contact'] or 'OPEN QUESTION: nobody has stated one'}",
        "",
        "Begin with report.html: what the images are, how good and how private they were found to be, and what "
        "nobody tested.",
        "",
        "report.html     the evidence, for people",
        *(folders[name] for name in config.formats),
        "metadata.csv    one row an image: file names, labels, seed, digest",
        "decision.json   every rule of the decision with what was found",
        "scores.json     every figure of the evidence, for machines",
        "scorecard.json  the FDA's seven criteria, as far as they were evaluated",
        "provenance.json digests from the real cohort to the images",
        "policy.toml     the thresholds by which it was judged",
        "manifest.json   every file with size and SHA-256; manifest.sha256 holds the manifest's own",
        "",
        "Check that nothing was changed:   synthcohort verify THIS_FOLDER",
        "or, for the manifest alone:       sha256sum -c manifest.sha256",
        "This finds changed, added and missing files. It does not prove who made the bundle: it is not signed.",
        "",
        "The seed in metadata.csv draws the same image again from the same generator, which stays with the owner.",
        "In the PNG of an image with negative values, png_offset was added: image value = PNG value - png_offset.",
        "",
    ]
    return "\n".join(lines)
