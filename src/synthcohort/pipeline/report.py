"""The study's own report: evidence and decision on one page, also when the decision is a refusal."""

from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import read_json, write_atomic
from synthcohort.core.policy import load_policy
from synthcohort.pages.grids import class_sheets
from synthcohort.pages.report import render_evidence
from synthcohort.pipeline.config import StudyConfig
from synthcohort.release import decide


def write_report(study: StudyConfig, out: Path) -> dict[str, Any]:
    """Writes out/report.html from evidence/scores.json, the synthetic cohort and the decision that the policy gives."""
    synthetic = Cohort.open(out / "synthetic")
    scores = read_json(out / "evidence" / "scores.json")
    decision = decide(scores, synthetic, load_policy(study.study.policy), study.release)
    sheets = class_sheets(synthetic, per_class=study.release.images_per_class)
    write_atomic(out / "report.html", render_evidence(scores, sheets, decision.to_mapping()))
    return {"report": "report.html", "decision": decision.decision}
