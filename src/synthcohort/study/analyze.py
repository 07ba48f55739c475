"""`synthcohort study analyze`: answers to study.json, a report, a table and a methods paragraph for a paper."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import atomic_path, check_writable, digest_json, plain, write_artifact, write_atomic
from synthcohort.study.analyze_grades import grade_equivalence, grade_figures
from synthcohort.study.analyze_origin import origin_equivalence, origin_figures, pair_figures, rating_figures
from synthcohort.study.answers import Table, load
from synthcohort.study.backup import open_store
from synthcohort.study.methods import methods_text
from synthcohort.study.reading import is_closed, phases
from synthcohort.study.report import study_report
from synthcohort.study.store import Store

FORMAT, VERSION = "study", 1


def analyze(folder: Path, out: Path, database: str | None = None, early: bool = False) -> dict[str, Any]:
    """Writes the folder `out`; InputError while the study is open, unless `early` says that this is known."""
    if Path(out).exists():
        raise InputError(Problem(f"output {out}", "already exists", remedy="choose another --out, or remove it"))
    check_writable(out)
    store = open_store(folder, database)
    try:
        facts = store.meta()
        closed = is_closed(store)
        if not closed and not early:
            raise InputError(
                Problem(
                    f"study {folder}", "is still open", "a closed one",
                    "close it on the owner's page, or look before the end with --before-the-end",
                )
            )  # fmt: skip
        if facts["teaching"]:
            raise InputError(Problem(f"study {folder}", "is a quiz", "a reader study"))
        content = _content(store, facts, closed)
    finally:
        store.close()
    with atomic_path(Path(out)) as made:
        made.mkdir(parents=True)
        write_artifact(made / "study.json", FORMAT, VERSION, content)
        write_atomic(made / "report.html", study_report(content))
        write_atomic(made / "table.csv", _table(content))
        write_atomic(made / "methods.txt", content["methods"] + "\n")
    return {
        "study": (Path(out) / "study.json").as_posix(),
        "report": (Path(out) / "report.html").as_posix(),
        "closed": closed,
        "phases": [
            {"kind": phase["kind"], "readers": len(phase["readers"]), "unfinished": len(phase["unfinished"])}
            for phase in content["phases"]
        ],
    }


def _content(store: Store, facts: dict[str, Any], closed: bool) -> dict[str, Any]:
    design = facts["design"]
    found = [_phase(load(store, phase), design) for phase in phases(store)]
    content: dict[str, Any] = {
        "title": facts["title"], "closed": closed, "cohorts": facts["cohorts"], "design": digest_json(design),
        "seed": design["seed"], "margin": design["margin"], "phases": found,
    }  # fmt: skip
    content["methods"] = methods_text(content, design)
    return dict(plain(content))


def _phase(table: Table, design: dict[str, Any]) -> dict[str, Any]:
    kind, margin = table.phase.kind, float(design["margin"])
    curves: dict[str, Any] = {}
    equivalence: dict[str, Any] | None = None
    if not table.readers:
        figures = []
    elif kind == "grade":
        figures = grade_figures(table)
        equivalence, more = grade_equivalence(table, margin)
        figures += more
    elif kind == "origin":
        figures, curves = origin_figures(table)
        equivalence = origin_equivalence(table, margin)
    else:
        figures = rating_figures(table) if kind == "rate" else pair_figures(table)
    origins, counts = np.unique(table.origin.astype(str), return_counts=True)
    seconds = table.seconds[np.isfinite(table.seconds)]
    return {
        "kind": kind, "label": table.phase.label, "ordered": table.phase.ordered,
        "readers": list(table.readers), "unfinished": list(table.unfinished),
        "cases": {} if kind == "pairs" else dict(zip(origins.tolist(), counts.tolist(), strict=True)),
        "pairs": len(table.origin) if kind == "pairs" else None,
        "repeats": int(sum((rows != "").sum() for rows in table.again.values()) / max(1, len(table.again))),
        "classes": table.classes, "corrected": table.revised,
        "seconds": {} if not len(seconds) else dict(
            zip(("lower_quartile", "median", "upper_quartile"), np.quantile(seconds, (0.25, 0.5, 0.75)).tolist(),
                strict=True)
        ),
        "figures": [figure.as_json() for figure in figures], "equivalence": equivalence, "roc": curves,
    }  # fmt: skip


def _table(content: dict[str, Any]) -> str:
    """One line a figure, for a paper's table or a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("name", "title", "subset", "reader", "value", "low", "high", "confidence", "cases", "readers", "method")
    writer.writerow(("phase", "kind", *columns))
    for number, phase in enumerate(content["phases"], 1):
        for figure in phase["figures"]:
            row = [figure[name] for name in columns]
            writer.writerow((number, phase["kind"], *(_cell(value) for value in row)))
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
