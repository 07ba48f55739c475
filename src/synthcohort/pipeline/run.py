"""All stages in order, each from files to files; a stage that finished is not done again, one that did not goes on."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthcohort.core.config import to_mapping
from synthcohort.core.errors import InputError, Problem, Refused
from synthcohort.core.files import digest_file, digest_json, lock
from synthcohort.core.progress import duration
from synthcohort.core.run import RunFolder
from synthcohort.core.signing import fingerprint, signed
from synthcohort.pipeline.config import StudyConfig
from synthcohort.pipeline.refill import refill_until_it_holds
from synthcohort.pipeline.stage import Stage, run_stage
from synthcohort.release import Request, assess, foresee
from synthcohort.training.canaries import asked_settings


def run_study(
    study: StudyConfig,
    source: Path | None,
    out: Path,
    demo: bool = False,
    *,
    key: Path | None = None,
    answers: Path | None = None,
) -> dict[str, Any]:
    """Runs a study in `out`: cohort, run, synthetic, evidence, bundle (when released) and report.html.

    `key` and `answers` go before study.key and study.answers. Where nothing but images too near to a patient stands
    against a release, others are drawn in their place, study.refill_rounds times at the most.

    Returns {out, decision, report, reasons, refills}. The same call again resumes; what is released, and how, may be
    stated otherwise then, every other setting that differs raises ArtifactError naming it. Raises InputError when there
    is no source, and when the release would be refused for want of a key.
    """
    if source is None and not demo:
        raise InputError(Problem("source", "none given", remedy="give --source DIR, or study.source in the study file"))
    if source is not None and not source.exists():
        raise InputError(Problem(f"source {source}", "no such file or folder"))
    if study.train.shadow is not None:
        said = f"{study.train.shadow}: a shadow model, from which nothing can be generated"
        raise InputError(
            Problem("setting train.shadow", said, "none", "train shadows with `train`, and give them to `evaluate`")
        )
    request = release_request(study, key, answers)
    known = foresee(study.release, request)
    if known.unsigned is not None:
        raise InputError(known.unsigned)
    out = Path(out)
    with lock(out):
        asked = {
            **begun_with(study),
            "source": "hospital" if demo else source.absolute().as_posix() if source else None,
            "key": known.signer,
        }
        record = RunFolder.open(out / "pipeline", "pipeline", asked)
        for reason in known.unsaid:
            print(f"warning: the release will be refused: {reason}", file=sys.stderr)
        for reason in known.vain:
            print(f"warning: {reason}", file=sys.stderr)
        limit_threads(study.study.threads)
        began = time.monotonic()
        before, after = study_stages(study, source, out, demo, request)
        total = len(before) + len(after) + 1
        for number, stage in enumerate(before, 1):
            run_stage(record, stage, out, f"[{number}/{total}] {stage.name}")
        found = refill_until_it_holds(
            record, out, f"[{len(before) + 1}/{total}]", study.study.refill_rounds, study.generate.tries,
            judge=lambda: assess(out / "synthetic", out / "evidence", study.release, request),
            evaluate=lambda: evaluate_signed(study, out, request),
            asked=digest_json(study.release.overrides) if study.release.overrides else None,
        )  # fmt: skip
        for number, stage in enumerate(after, len(before) + 2):
            run_stage(record, stage, out, f"[{number}/{total}] {stage.name}")
        record.update(done=True)
        print(f"done in {duration(time.monotonic() - began)}: {out / 'report.html'}", file=sys.stderr)
        decision = record.info["stages"]["release"]
        return {
            "out": out.as_posix(),
            "decision": decision["decision"],
            "reasons": [*decision["reasons"], *why(found)],
            "report": (out / "report.html").as_posix(),
            "refills": found["refills"],
        }


def why(audited: Mapping[str, Any]) -> list[str]:
    """Why images that are too near were not drawn anew, or not any more; empty where there was no need."""
    if audited["holds"] or not (audited["near"] or audited["refills"]):
        return []
    return [f"Drawing others, rounds: {audited['refills']}. {audited['reason'][0].upper()}{audited['reason'][1:]}."]


def release_request(study: StudyConfig, key: Path | None = None, answers: Path | None = None) -> Request:
    """What a study asks of its release; what is given beside it goes before."""
    own = study.study
    key = key or (Path(own.key) if own.key else None)
    return Request(own.policy, key, None, answers or (Path(own.answers) if own.answers else None))


def begun_with(study: StudyConfig) -> dict[str, Any]:
    """The settings that make a run this run and no other: not what is said of its release, nor where the key lies."""
    content = to_mapping(study)
    content |= {section: asked_settings(content[section]) for section in ("train", "gan")}
    apart = {"key", "answers"}
    if study.study.generator == "diffusion":  # so that studies go on that were begun before there was a choice
        apart.add("generator")
    if study.study.generator != "auto":
        apart.add("minutes")
    content["study"] = {name: value for name, value in content["study"].items() if name not in apart}
    return {name: value for name, value in content.items() if name != "release"}


def study_stages(
    study: StudyConfig, source: Path | None, out: Path, demo: bool, request: Request
) -> tuple[list[Stage], list[Stage]]:
    """The stages of a study before the audit and after it; `demo` puts the procedural hospital before them."""
    from synthcohort.generation import generate
    from synthcohort.ingest import ingest
    from synthcohort.pipeline.report import write_report
    from synthcohort.release import release

    what, seed = study.study, study.study.seed
    read = replace(study.ingest, name=study.ingest.name or what.name)
    drawn = replace(study.generate, name=what.name)
    hospital = out / "hospital" / "dicom" if demo else source
    assert hospital is not None

    def admit() -> dict[str, Any]:
        from synthcohort.phantoms import write_hospital

        asked = study.hospital
        write_hospital(out / "hospital", asked.patients, seed, asked.size, asked.images_per_patient)
        return {"hospital": "hospital", "patients": asked.patients}

    def decide() -> dict[str, Any]:
        try:
            return release(
                out / "synthetic", out / "evidence", out / "bundle", study.release, request.policy,
                key=request.key, answers=request.answers,
            )  # fmt: skip
        except Refused as refusal:
            return {"bundle": None, "decision": "refuse", "reasons": [str(problem) for problem in refusal.problems]}

    before = [
        Stage("ingest", "cohort", lambda: ingest(hospital, out / "cohort", read, seed), resumable=False),
        Stage("train", "run", lambda: train_generator(study, out / "cohort", out / "run"), resumable=True),
        Stage(
            "generate",
            "synthetic",
            lambda: generate(out / "run", out / "synthetic", drawn, seed, count=what.count, balance=what.balance),
            resumable=False,
        ),
        Stage("evaluate", "evidence", lambda: evaluate_signed(study, out, request), resumable=True),
    ]
    said = digest_json([to_mapping(study.release), digest_file(request.answers) if request.answers else None])
    after = [
        Stage("release", "bundle", decide, resumable=False, made_from=said),
        Stage("report", "report.html", lambda: write_report(out, study.release, request), True, made_from=said),
    ]
    return [Stage("hospital", "hospital", admit, resumable=True), *before] if demo else before, after


def evaluate_signed(study: StudyConfig, out: Path, request: Request) -> dict[str, Any]:
    """Evaluates, and signs the scores where there is a key; the signature of scores before these goes first."""
    from synthcohort.evaluation import evaluate

    with signed(out / "evidence" / "scores.json", request.key) as key:
        result = evaluate(
            out / "cohort",
            out / "synthetic",
            out / "evidence",
            study.evaluate,
            study.study.policy,
            study.study.seed,
            run=with_denoiser(out / "run"),
        )
    return {**result, "signed_by": fingerprint(key.public_key()) if key else None}


def train_generator(study: StudyConfig, cohort: Path, run: Path) -> dict[str, Any]:
    """Trains the kind of generator that the study asks for."""
    kind, seed = study.study.generator, study.study.seed
    if kind == "gan":
        from synthcohort.training.gan import train_gan

        return train_gan([cohort], run, study.gan, seed)
    if kind == "auto":
        from synthcohort.training.auto_train import train_auto

        given = set_budgets(study)
        minutes = None if any(name.endswith(".minutes") for name in given) else study.study.minutes
        return train_auto([cohort], run, study.train, study.gan, seed, minutes=minutes, given=given)
    from synthcohort.training import train

    return train([cohort], run, study.train, seed)


def with_denoiser(run: Path) -> Path | None:
    """The run, where the evaluation can attack its model, which takes a denoiser; a GAN has none."""
    return run if RunFolder.read(run).info["kind"] == "diffusion" else None


def set_budgets(study: StudyConfig) -> set[str]:
    """The sizes and budgets of training that are not the defaults: train.size, gan.images …"""
    sections: dict[str, Any] = {"train": study.train, "gan": study.gan}
    return {
        f"{name}.{key}"
        for name, own in sections.items()
        for key in ("size", "images", "minutes")
        if getattr(own, key) != getattr(type(own)(), key)
    }


def limit_threads(threads: int) -> None:
    """Sets the number of processor threads of torch; 0 leaves its own choice, one a core."""
    import torch

    if threads:
        torch.set_num_threads(threads)
