"""The chain from the source's digest over code, configuration, seeds and model to the evaluation and each image."""

from collections.abc import Mapping
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.release.decision import Decision

FORMAT, VERSION = "provenance", 2


def provenance_of(
    scores: Mapping[str, Any], synthetic: Cohort, decision: Decision, code: Mapping[str, Any]
) -> dict[str, Any]:
    """The links in order, each with what it is, and None where the step before recorded nothing: never a guess."""
    made = synthetic.info.get("provenance") or {}
    training = made.get("training") or {}
    real = scores.get("real") or {}
    request = {name: made.get(name) for name in ("seed", "count", "where", "balance", "prompt", "quotas", "replaced")}
    return {
        "chain": [
            {
                "link": "source",
                "words": "The real cohorts, known by the digest over all their records and pixels; no name, no path.",
                "learned_from": training.get("cohorts"),
                "compared_with": real.get("digest"),
                "images": real.get("images"),
            },
            {
                "link": "code",
                "words": "The program: of the bundle, and of the training and drawing where those recorded it.",
                "bundle": dict(code),
                "generation": made.get("code"),
                "training": training.get("code"),
            },
            {
                "link": "configuration",
                "words": "How the images were drawn.",
                "method": made.get("method"),
                "config": made.get("config"),
                "copy_thresholds": made.get("copy_thresholds"),
            },
            {
                "link": "seeds",
                "words": "One seed for the request, one for each image (metadata.csv, column seed).",
                "training": training.get("seed"),
                "request": {name: value for name, value in request.items() if value is not None},
            },
            {
                "link": "model",
                "words": "The generator, known by the digest over its description and its weights’ digest.",
                "digest": made.get("model_digest"),
                "training": {key: training.get(key) for key in ("images_seen", "steps", "training_images")},
            },
            {
                "link": "evaluation",
                "words": "The evidence: scores.json, judged by policy.toml.",
                "scores_digest": decision.scores_digest,
                "policy": dict(decision.policy),
                "settings": scores.get("settings") or {},
                "test_uses": scores.get("test_uses"),
            },
            {
                "link": "images",
                "words": "Each image by the digest over its data type, shape and values (metadata.csv, pixels_digest).",
                "synthetic_digest": synthetic.digest,
                "images": len(synthetic),
            },
        ]
    }


def link(provenance: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One link of the chain; empty where it is not there."""
    return next((dict(item) for item in provenance.get("chain") or [] if item.get("link") == name), {})
