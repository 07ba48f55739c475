"""The evaluation: from two cohorts to scores.json, report.html and the owner's folder. A killed run goes on.

Whatever shows single real images or was computed from them (features, the grader, nearest neighbours) stays in
`owner/`; scores.json and report.html hold aggregate figures and synthetic images only.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.core.files import (
    check_writable,
    digest_file,
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
)
from synthcohort.evaluation.reader_study import add_study, read_study
from synthcohort.evaluation.steps import Steps
from synthcohort.metrics.intervals import Score

FORMAT, VERSION = "scores", 1
PART_OF = {
    "copies": "copies", "membership": "membership", "label_truth": "alignment", "image_damage": "damage",
    "coverage": "fidelity", "subgroups": "subgroups", "harm": "harm",
}  # fmt: skip
JUDGING = tuple(PART_OF.values())  # parts whose results hold verdicts by the policy's thresholds


def make_scorecard(
    real: Path,
    synthetic: Path,
    out: Path,
    config: EvaluateConfig | None = None,
    policy: str | Path | Policy | None = None,
    seed: int = 0,
    trained_on: tuple[str, ...] = ("train",),
    run: Path | None = None,
    study: Path | None = None,
) -> dict[str, Any]:
    """Evaluates and writes everything; returns {scores, verdict, failed, inconclusive}.

    `trained_on`: the roles of the real cohort that the generator may have learned from. `run`: the generator's run
    folder, whose model is then attacked too. `study`: study.json of a reader study of these cohorts.

    Raises InputError for cohorts that can't be compared and ConfigError for a policy that can't be read.
    """
    config = config or EvaluateConfig()
    rules = policy if isinstance(policy, Policy) else load_policy(policy)
    out = Path(out)
    check_writable(out)
    cache = out / "owner" / "cache"
    with lock(out):
        inputs = open_inputs(Path(real), Path(synthetic), config.label, cache, trained_on)
        read = read_study(study, inputs.real, inputs.synthetic) if study else None
        if config.threads:
            import torch

            torch.set_num_threads(config.threads)
        asked = {"evaluate": to_mapping(config), "seed": seed}
        evaluation = Evaluation(inputs, config, rules, cache, seed, run)
        uses = count_test_use(inputs, asked)
        scores = {
            **evaluation.run(),
            "settings": {
                "evaluate": said_settings(config, evaluation.depends_on),
                "seed": seed,
                "notes": list(inputs.notes),
            },
            "test_uses": uses,
        }
        if read is not None:
            add_study(scores, read)
        write_artifact(out / "scores.json", FORMAT, VERSION, scores)
        scores = read_artifact(out / "scores.json", FORMAT, VERSION)
        write_pages(out, inputs, scores, rules)
    return {
        "scores": (out / "scores.json").as_posix(),
        "verdict": scores["verdict"],
        "failed": scores["failed"],
        "inconclusive": scores["inconclusive"],
    }


def said_settings(config: EvaluateConfig, files: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as scores.json tells them: a user's files by their digests, for their paths tell of this machine."""
    said = to_mapping(config)
    for name, digest in files["encoder_files"].items():
        said["encoder_files"][name]["path"] = digest
    if config.measurements.function is not None:
        said["measurements"]["function"] = f"{files['measure']}:{config.measurements.function.rpartition(':')[2]}"
    if config.stress.classifier is not None:
        said["stress"]["classifier"] = files["classifier"]
    said["membership"]["shadows"] = files["shadows"]
    return said


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

    def __init__(
        self, inputs: Inputs, config: EvaluateConfig, policy: Policy, cache: Path, seed: int, run: Path | None = None
    ):
        from synthcohort.evaluation.encoding import Eyes

        self.inputs, self.config, self.policy, self.seed = inputs, config, policy, seed
        self.steps, self.cache, self.generator = Steps(cache), cache, run
        self.eyes = Eyes(inputs, config, cache, seed)
        self.train, self.test = self.eyes.train, self.eyes.test
        self.synthetic = sample_images(inputs.synthetic, config.max_images, seed, "synthetic")
        self.reference = sample_images(self.test, config.max_images, seed, "test")
        self.depends_on = self._files()

    def run(self) -> dict[str, Any]:
        """All scores, families and the verdict: the content of scores.json."""
        scores: list[dict[str, Any]] = []
        families: dict[str, Any] = {}
        figures: dict[str, Any] = {}
        parts = self._parts()
        with progress(len(parts), "evaluate", unit="steps") as advance:
            for name, work in parts.items():
                kept = self.steps.result(name, self._key(name), work)
                scores.extend(kept["scores"])
                families.update(kept.get("families", {}))
                figures.update(kept.get("figures", {}))
                advance(1, done=name)
        families["coverage"] = self._coverage(scores)
        families = verdicts.complete({**self._left_out(), **families})
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
            "figures": figures,
            "families": families,
            **verdicts.overall(families),
            "policy": self.policy.summary(),
        }

    def _parts(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """The work of the parts that are asked for and can be done, in order."""
        from synthcohort.evaluation.attributes import attributes
        from synthcohort.evaluation.canaries import canaries, has_canaries
        from synthcohort.evaluation.criteria import criteria
        from synthcohort.evaluation.curves import curves
        from synthcohort.evaluation.damage import image_damage
        from synthcohort.evaluation.demographics import demographics
        from synthcohort.evaluation.feature_fidelity import feature_fidelity
        from synthcohort.evaluation.harm import harm
        from synthcohort.evaluation.image_fidelity import image_fidelity
        from synthcohort.evaluation.measurements import measurements
        from synthcohort.evaluation.membership import membership
        from synthcohort.evaluation.radiomic_fidelity import radiomic_fidelity
        from synthcohort.evaluation.reidentification import reidentification
        from synthcohort.evaluation.stress import stress
        from synthcohort.evaluation.subgroups import subgroups

        given = (self.inputs, self.eyes, self.config, self.policy, self.cache, self.seed)
        settings = self.config
        known: dict[str, Callable[[], dict[str, Any]]] = {
            "copies": self._copies,
            "membership": partial(membership, *given, settings=settings.membership, run=self.generator),
            "membership_canaries": partial(canaries, *given, run=self.generator),
            "reidentification": partial(reidentification, *given, settings=settings.reidentification),
            "attributes": partial(attributes, *given, settings=settings.attributes),
            **{
                f"fidelity_{name}": partial(feature_fidelity, *given, encoder=name, settings=settings.fidelity)
                for name in settings.encoders
            },
            "images": partial(image_fidelity, *given, settings=settings.fidelity),
            "radiomics": partial(radiomic_fidelity, *given, settings=settings.fidelity),
            "criteria": partial(criteria, *given, settings=settings.fidelity),
            "measurements": partial(measurements, *given, settings=settings.measurements),
            "alignment": self._alignment,
            "demographics": partial(demographics, *given, settings=settings.demographics),
            "damage": partial(image_damage, *given, settings=settings.damage),
            "subgroups": partial(subgroups, *given, settings=settings.subgroups, damage=settings.damage),
            "utility": self._utility,
            "harm": partial(harm, *given, settings=settings.harm),
            "curves": partial(curves, *given, settings=settings.curves),
            "stress": partial(stress, *given, settings=settings.stress),
        }
        idle = {"measurements"} if settings.measurements.function is None else set()
        if not has_canaries(self.generator):
            idle.add("membership_canaries")
        if not self.inputs.split_known:
            idle |= {"attributes", "reidentification"}
        if self.inputs.label is None:
            idle |= {"alignment", "utility", "curves", "stress"}
        return {
            name: work
            for name, work in known.items()
            if (name in settings.parts or name.partition("_")[0] in settings.parts) and name not in idle
        }

    def _left_out(self) -> dict[str, Any]:
        """The families whose part the settings leave out, or that need classes where there are none."""
        reasons = {
            family: f"left out: evaluate.parts does not name {part}"
            for family, part in PART_OF.items()
            if part not in self.config.parts
        }
        if self.inputs.label is None:
            reasons["label_truth"] = self.inputs.no_label
        return {family: verdicts.family("inconclusive", reason, {}) for family, reason in reasons.items()}

    def _files(self) -> dict[str, Any]:
        """Digests of files outside the cohorts that figures depend on."""
        from synthcohort.evaluation.measurements import measure_digest
        from synthcohort.evaluation.shadows import open_shadows

        files = {name: digest_file(Path(file.path)) for name, file in self.config.encoder_files.items()}
        model = self.generator / "model" / "model.json" if self.generator else None
        if model is not None and not model.is_file():
            found = "no finished model (model/model.json)"
            raise ArtifactError(Problem(f"run {self.generator}", found, remedy="name the run that drew the images"))
        classifier = self.config.stress.classifier
        shadows = open_shadows(self.generator, self.config.membership.shadows)
        return {
            "encoder_files": files,
            "measure": measure_digest(self.config.measurements),
            "model": digest_file(model) if model else None,
            "shadows": [digest_file(shadow.path / "model" / "model.json") for shadow in shadows],
            "classifier": digest_file(Path(classifier)) if classifier and Path(classifier).is_file() else None,
        }

    def _key(self, name: str) -> dict[str, Any]:
        return {
            "step": name,
            "real": self.inputs.real.digest,
            "synthetic": self.inputs.synthetic.digest,
            "shape": [self.inputs.real.image(0).shape, self.inputs.synthetic.image(0).shape],
            "trained_on": list(self.inputs.trained_on),
            "config": to_mapping(self.config),
            "files": self.depends_on,
            "thresholds": to_mapping(self.policy.thresholds) if name in JUDGING else None,
            "seed": self.seed,
        }

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
            self.inputs.real,
            self.inputs.synthetic,
            self.policy.thresholds.copies,
            self.cache,
            self.seed,
            self.inputs.trained_on,
        )
        return {"scores": scores, "families": {"copies": family}}

    def _utility(self) -> dict[str, Any]:
        from synthcohort.evaluation.utility import utility

        return {"scores": utility(self.inputs.real, self.inputs.synthetic, self.config, self.cache, self.seed)}

    def _coverage(self, scores: list[dict[str, Any]]) -> dict[str, Any]:
        """Judged in the self-trained encoder's features, which know the disease."""
        found = [item for item in scores if item["family"] == "coverage"]
        if not found:
            return verdicts.family("inconclusive", "variety was not compared by the self-trained encoder", {})
        ratios = {item["subset"]: Score(item["value"], item["low"], item["high"]) for item in found}
        classes = [composition(self.inputs, view) for view in (self.train, self.inputs.synthetic)]
        return verdicts.coverage(ratios.pop(None), ratios, classes[0], classes[1], self.policy.thresholds.coverage)


def write_pages(out: Path, inputs: Inputs, scores: Mapping[str, Any], policy: Policy) -> None:
    """report.html (public: figures and synthetic images) and the owner's page (real images)."""
    from synthcohort.evaluation.owner import write_owner
    from synthcohort.evaluation.privacy import CopySearch, learned_from
    from synthcohort.pages.grids import class_sheets
    from synthcohort.pages.report import render_evidence

    # As they are stored, not as they were brought to one size for the comparison.
    real, synthetic = Cohort.open(inputs.real_path), Cohort.open(inputs.synthetic_path)
    write_atomic(out / "report.html", render_evidence(scores, class_sheets(synthetic)))
    rate = policy.thresholds.copies.false_positive_rate
    search = CopySearch(inputs.real, out / "owner" / "cache", rate, inputs.trained_on)
    control = next((item["control"] for item in scores["scores"] if item["name"] == "nearest_similarity"), None)
    write_owner(
        out / "owner",
        learned_from(real, inputs.trained_on),
        synthetic,
        search.hits(inputs.synthetic),
        search.threshold,
        control,
    )
