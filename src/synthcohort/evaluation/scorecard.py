"""The evaluation: from two cohorts to scores.json, report.html and the owner's folder. A killed run goes on.

Whatever shows single real images or was computed from them (features, the grader, nearest neighbours) stays in
`owner/`; scores.json and report.html hold aggregate figures and synthetic images only.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError
from synthcohort.core.files import (
    check_writable,
    digest_json,
    lock,
    read_artifact,
    write_artifact,
    write_atomic,
)
from synthcohort.core.policy import Policy, load_policy
from synthcohort.core.progress import progress
from synthcohort.evaluation import verdicts
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import (
    Inputs,
    cohort_facts,
    composition,
    open_inputs,
    patients,
    sample_images,
    sample_patients,
)
from synthcohort.evaluation.steps import Steps
from synthcohort.metrics.intervals import Score

FORMAT, VERSION = "scores", 1


def make_scorecard(
    real: Path,
    synthetic: Path,
    out: Path,
    config: EvaluateConfig | None = None,
    policy: str | Path | Policy | None = None,
    seed: int = 0,
    trained_on: tuple[str, ...] = ("train",),
) -> dict[str, Any]:
    """Evaluates and writes everything; returns {scores, verdict, failed, inconclusive}.

    `trained_on`: the roles of the real cohort that the generator may have learned from.

    Raises InputError for cohorts that can't be compared and ConfigError for a policy that can't be read.
    """
    config = config or EvaluateConfig()
    rules = policy if isinstance(policy, Policy) else load_policy(policy)
    out = Path(out)
    check_writable(out)
    cache = out / "owner" / "cache"
    with lock(out):
        inputs = open_inputs(Path(real), Path(synthetic), config.label, cache, trained_on)
        if config.threads:
            import torch

            torch.set_num_threads(config.threads)
        asked = {"evaluate": to_mapping(config), "seed": seed}
        uses = count_test_use(inputs, asked)
        scores = {
            **Evaluation(inputs, config, rules, cache, seed).run(),
            "settings": {**asked, "notes": list(inputs.notes)},
            "test_uses": uses,
        }
        write_artifact(out / "scores.json", FORMAT, VERSION, scores)
        scores = read_artifact(out / "scores.json", FORMAT, VERSION)
        write_pages(out, inputs, scores, rules)
    return {
        "scores": (out / "scores.json").as_posix(),
        "verdict": scores["verdict"],
        "failed": scores["failed"],
        "inconclusive": scores["inconclusive"],
    }


def count_test_use(inputs: Inputs, asked: Mapping[str, Any]) -> int | None:
    """How often the test patients were scored, this evaluation included; the same evaluation again does not count.

    The list is kept in the real cohort's folder. None: the folder can't be written, so nobody counts.
    """
    file = inputs.real_path / "test_uses.json"
    fingerprint = digest_json({"real": inputs.real.digest, "synthetic": inputs.synthetic.digest, **asked})
    try:
        uses = list(read_artifact(file, "test_uses", 1)["uses"]) if file.exists() else []
    except (ArtifactError, KeyError):
        raise ArtifactError(
            f"{file}: the count of test uses is damaged; remove the file to begin a new count"
        ) from None
    if fingerprint not in uses:
        uses.append(fingerprint)
        try:
            write_artifact(file, "test_uses", 1, {"uses": uses})
        except OSError:
            return None
    return uses.index(fingerprint) + 1


class Evaluation:
    """The steps of one evaluation, in order; each kept under a key of what it depends on."""

    def __init__(self, inputs: Inputs, config: EvaluateConfig, policy: Policy, cache: Path, seed: int):
        from synthcohort.evaluation.encoding import Eyes

        self.inputs, self.config, self.policy, self.seed = inputs, config, policy, seed
        self.steps, self.cache = Steps(cache), cache
        self.eyes = Eyes(inputs, config, cache, seed)
        self.train, self.test = self.eyes.train, self.eyes.test
        # A floor needs as many real training images as there are synthetic ones.
        count = min(config.max_images, len(inputs.synthetic), len(self.train))
        self.synthetic = sample_images(inputs.synthetic, count, seed, "synthetic")
        self.reference = sample_images(self.test, config.max_images, seed, "test")
        chosen = sample_patients(patients(self.train), count, seed, "floor")
        self.floor = self.train.select(indices=chosen)

    def run(self) -> dict[str, Any]:
        """All scores, families and the verdict: the content of scores.json."""
        scores: list[dict[str, Any]] = []
        families: dict[str, Any] = {}
        parts: list[tuple[str, Callable[[], Any]]] = [
            *((f"fidelity_{name}", lambda name=name: self._fidelity(name)) for name in self.config.encoders),
            *([("alignment", self._alignment)] if self.inputs.label else []),
            ("copies", self._copies),
            *([("utility", self._utility)] if self.inputs.label and self.config.utility.enabled else []),
        ]
        with progress(len(parts), "evaluate", unit="steps") as advance:
            for name, work in parts:
                kept = self.steps.result(name, self._key(name), work)
                scores.extend(kept["scores"])
                families.update(kept.get("families", {}))
                advance(1, done=name)
        families["coverage"] = self._coverage(scores)
        if self.inputs.label is None:
            families["label_truth"] = verdicts.family("inconclusive", self.inputs.no_label, {})
        families = verdicts.complete(families)
        for item in scores:
            if item["family"] in families:
                item["verdict"] = families[item["family"]]["verdict"]
        real, synthetic, label = self.inputs.real, self.inputs.synthetic, self.inputs.label
        return {
            "real": {"digest": real.digest, "name": real.name, **cohort_facts(real)},
            "synthetic": {
                "digest": synthetic.digest,
                "name": synthetic.name,
                "images": len(synthetic),
                "classes": composition(self.inputs, synthetic),
                "screened": synthetic.info.get("screened"),
                "provenance": synthetic.info.get("provenance"),
            },
            "label": {"name": label.name, "kind": label.kind} if label else None,
            "trained_on": list(self.inputs.trained_on),
            "scores": scores,
            "families": families,
            **verdicts.overall(families),
            "policy": self.policy.summary(),
        }

    def _key(self, name: str) -> dict[str, Any]:
        thresholds = to_mapping(self.policy.thresholds)
        return {
            "step": name,
            "real": self.inputs.real.digest,
            "synthetic": self.inputs.synthetic.digest,
            "shape": [self.inputs.real.image(0).shape, self.inputs.synthetic.image(0).shape],
            "config": to_mapping(self.config),
            "thresholds": thresholds if name in ("copies", "alignment") else None,
            "seed": self.seed,
        }

    def _fidelity(self, encoder: str) -> dict[str, Any]:
        from synthcohort.evaluation.fidelity import class_entries, reached_entries, whole_entries

        reference, made = self.eyes.see(encoder, self.reference), self.eyes.see(encoder, self.synthetic)
        base = self.eyes.see(encoder, self.floor)
        scores = whole_entries(encoder, reference, made, base, self.config.folds, self.seed)
        if encoder == "self_trained":  # cheap enough to see every training image, so that rare classes have a floor
            train = self.eyes.see(encoder, self.train)
            label, least = self.inputs.label, self.config.min_class_images
            name, values = (label.name, label.values) if label else ("", ())
            scores += reached_entries(encoder, name, values, reference, made, base, least, self.config.folds, self.seed)
            scores += class_entries(encoder, name, values, reference, made, train, least, self.config.folds, self.seed)
        return {"scores": scores}

    def _alignment(self) -> dict[str, Any]:
        from synthcohort.evaluation import alignment

        label = self.inputs.label
        assert label is not None
        sides = []
        for view in (self.reference, self.synthetic):
            classes = self.inputs.classes(view)
            labelled = np.flatnonzero(classes >= 0)
            owners = patients(view)
            predicted = self.eyes.read_labels(view)
            sides.append(alignment.Reading(classes[labelled], predicted[labelled], [owners[i] for i in labelled]))
        scores, skill = alignment.entries(
            label.name, label.kind, label.values, sides[0], sides[1], self.config.bootstrap, self.seed
        )
        thresholds = self.policy.thresholds.label_truth
        judged = verdicts.label_truth(skill.real, skill.synthetic, skill.ratio, len(skill.classes), thresholds)
        return {"scores": scores, "families": {"label_truth": judged}}

    def _copies(self) -> dict[str, Any]:
        from synthcohort.evaluation.privacy import copies

        scores, family = copies(
            self.inputs.real, self.inputs.synthetic, self.policy.thresholds.copies, self.cache, self.seed
        )
        return {"scores": scores, "families": {"copies": family}}

    def _utility(self) -> dict[str, Any]:
        from synthcohort.evaluation.utility import utility

        return {"scores": utility(self.inputs.real, self.inputs.synthetic, self.config, self.cache, self.seed)}

    def _coverage(self, scores: list[dict[str, Any]]) -> dict[str, Any]:
        """Judged in the self-trained encoder's features, which know the disease."""
        found = [item for item in scores if item["family"] == "coverage"]
        if not found:
            return verdicts.family("inconclusive", "the self-trained encoder was not used", {})
        ratios = {item["subset"]: Score(item["value"], item["low"], item["high"]) for item in found}
        classes = [composition(self.inputs, view) for view in (self.train, self.inputs.synthetic)]
        return verdicts.coverage(ratios.pop(None), ratios, classes[0], classes[1], self.policy.thresholds.coverage)


def write_pages(out: Path, inputs: Inputs, scores: Mapping[str, Any], policy: Policy) -> None:
    """report.html (public: figures and synthetic images) and the owner's page (real images)."""
    from synthcohort.evaluation.owner import write_owner
    from synthcohort.evaluation.privacy import CopySearch
    from synthcohort.pages.grids import class_sheets
    from synthcohort.pages.report import render_evidence

    # As they are stored, not as they were brought to one size for the comparison.
    real, synthetic = Cohort.open(inputs.real_path), Cohort.open(inputs.synthetic_path)
    write_atomic(out / "report.html", render_evidence(scores, class_sheets(synthetic)))
    search = CopySearch(inputs.real, out / "owner" / "cache", policy.thresholds.copies.false_positive_rate)
    control = next((item["control"] for item in scores["scores"] if item["name"] == "nearest_similarity"), None)
    write_owner(
        out / "owner",
        real.select(split="train"),
        synthetic,
        search.hits(inputs.synthetic),
        search.threshold,
        control,
    )
