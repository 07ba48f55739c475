"""The study's own report: evidence and decision on one page, also when the decision is a refusal."""

from pathlib import Path
from typing import Any

from synthcohort.core.files import write_atomic
from synthcohort.pages.grids import class_sheets
from synthcohort.pages.report import render_evidence
from synthcohort.release import Request, assess
from synthcohort.release.config import ReleaseConfig


def write_report(out: Path, config: ReleaseConfig, request: Request) -> dict[str, Any]:
    """Writes out/report.html from the evidence, the synthetic cohort and the decision as `release` makes it."""
    judged = assess(out / "synthetic", out / "evidence", config, request)
    sheets = class_sheets(judged.cohort, per_class=config.images_per_class)
    page = render_evidence(judged.evidence.scores, sheets, judged.decision.to_mapping())
    write_atomic(out / "report.html", page)
    return {"report": "report.html", "decision": judged.decision.decision}
