"""All stages in order, each from files to files; a stage that finished is not done again, one that did not goes on."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthcohort.core.config import to_mapping
from synthcohort.core.errors import InputError, Problem, Refused
from synthcohort.core.files import lock, remove
from synthcohort.core.progress import duration
from synthcohort.core.run import RunFolder
from synthcohort.pipeline.config import StudyConfig


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: what it is called, the folder or file it makes, and the work."""

    name: str
    output: str
    work: Callable[[], dict[str, Any]]
    resumable: bool  # goes on from a half-made output by itself; otherwise an unrecorded output is made anew


def run_study(study: StudyConfig, source: Path | None, out: Path, demo: bool = False) -> dict[str, Any]:
    """Runs a study in `out`: cohort, run, synthetic, evidence, bundle (when released) and report.html.

    Returns {out, decision, report, reasons}. The same call again resumes; another configuration in the same folder
    raises ArtifactError naming the settings that differ. Raises InputError when there is no source.
    """
    if source is None and not demo:
        raise InputError(Problem("source", "none given", remedy="give --source DIR, or study.source in the study file"))
    if source is not None and not source.exists():
        raise InputError(Problem(f"source {source}", "no such file or folder"))
    out = Path(out)
    with lock(out):
        asked = {
            **to_mapping(study),
            "source": "hospital" if demo else source.absolute().as_posix() if source else None,
        }
        record = RunFolder.open(out / "pipeline", "pipeline", asked)
        limit_threads(study.study.threads)
        stages = study_stages(study, source, out, demo)
        began = time.monotonic()
        for number, stage in enumerate(stages, 1):
            _run_stage(record, stage, out, f"[{number}/{len(stages)}] {stage.name}")
        record.update(done=True)
        print(f"done in {duration(time.monotonic() - began)}: {out / 'report.html'}", file=sys.stderr)
        decision = record.info["stages"]["release"]
        return {
            "out": out.as_posix(),
            "decision": decision["decision"],
            "reasons": decision["reasons"],
            "report": (out / "report.html").as_posix(),
        }


def study_stages(study: StudyConfig, source: Path | None, out: Path, demo: bool) -> list[Stage]:
    """The stages of a study; `demo` puts the procedural hospital before them."""
    from synthcohort.evaluation import evaluate
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
            return release(out / "synthetic", out / "evidence", out / "bundle", study.release, what.policy)
        except Refused as refusal:
            return {"bundle": None, "decision": "refuse", "reasons": [str(problem) for problem in refusal.problems]}

    stages = [
        Stage("ingest", "cohort", lambda: ingest(hospital, out / "cohort", read, seed), resumable=False),
        Stage("train", "run", lambda: train_generator(study, out / "cohort", out / "run"), resumable=True),
        Stage(
            "generate",
            "synthetic",
            lambda: generate(out / "run", out / "synthetic", drawn, seed, count=what.count, balance=what.balance),
            resumable=False,
        ),
        Stage(
            "evaluate",
            "evidence",
            lambda: evaluate(
                out / "cohort",
                out / "synthetic",
                out / "evidence",
                study.evaluate,
                what.policy,
                seed,
                run=with_denoiser(out / "run"),
            ),
            resumable=True,
        ),
        Stage("release", "bundle", decide, resumable=False),
        Stage("report", "report.html", lambda: write_report(study, out), resumable=True),
    ]
    return [Stage("hospital", "hospital", admit, resumable=True), *stages] if demo else stages


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


def _run_stage(record: RunFolder, stage: Stage, out: Path, title: str) -> None:
    finished: dict[str, Any] = record.info.get("stages", {})
    if stage.name in finished:
        print(f"{title}: done before", file=sys.stderr)
        return
    print(title, file=sys.stderr)
    if not stage.resumable:
        remove(out / stage.output)
    began = time.monotonic()
    result = stage.work()
    record.update(stages={**finished, stage.name: result})
    record.log(
        "stage",
        stage=stage.name,
        seconds=round(time.monotonic() - began, 2),
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def limit_threads(threads: int) -> None:
    """Sets the number of processor threads of torch; 0 leaves its own choice, one a core."""
    import torch

    if threads:
        torch.set_num_threads(threads)
