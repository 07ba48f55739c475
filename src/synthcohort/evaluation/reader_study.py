"""A finished reader study as part of the evidence: what all its readers together found, as entries of scores.json.

The figures are those of study.json (docs/formats.md); nothing is computed anew. What was also read on real images has
them as its floor. Readers' codes stay behind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import digest_file, read_artifact
from synthcohort.evaluation.entries import entry
from synthcohort.evaluation.sides import Figure
from synthcohort.metrics.intervals import Score

FORMAT, VERSION = "study", 1  # of study.json
FLOORED = "Good is close to the floor: the same readers' figure for real images."
# (kind of phase, figure) -> how it is read; those that are not named here stay in the study's own report
FIGURES: dict[tuple[str, str], Figure] = {
    ("grade", "accuracy"): Figure("Readers: grade as the label says", "higher", FLOORED),
    ("grade", "kappa_between"): Figure("Readers: agreement with each other (κ, mean of pairs)", "higher", FLOORED),
    ("grade", "distance"): Figure("Readers: distance from the label, in grades", "lower", FLOORED),
    ("origin", "auc"): Figure(
        "Readers: area under the ROC curve of real or synthetic", "none", "Good is 0.5: readers can only guess."
    ),
    ("origin", "d_prime"): Figure(
        "Readers: d′ of real or synthetic", "none", "Good is 0: readers cannot tell the two apart."
    ),
    ("origin", "accuracy"): Figure(
        "Readers: told real from synthetic", "none", "Good is close to a half: readers can only guess."
    ),
    ("rate", "alignment"): Figure("Readers: the image shows what its words say (1 to 5)", "higher", FLOORED),
    ("rate", "realism"): Figure("Readers: the image looks like practice (1 to 5)", "higher", FLOORED),
    ("pairs", "found_real"): Figure(
        "Readers: found the real one of a pair", "none", "Good is a half: readers can only guess."
    ),
}
EQUIVALENT = Figure(
    "Readers: right grades, real less synthetic",
    "none",
    "Good is an interval within the margin: real and synthetic images are graded alike, up to what does not matter.",
)
NO_BETTER = Figure(
    "Readers: area under the ROC curve, less 0.5",
    "none",
    "Good is an interval within the margin: what readers can tell does not matter.",
)
SIDES = ("real", "synthetic")
NAMES = {("origin", "accuracy"): "readers_told_apart"}  # `readers_accuracy` is that of grades


def read_study(path: Path, real: Cohort, synthetic: Cohort) -> dict[str, Any]:
    """The content of a study.json that is closed and about these two cohorts; InputError otherwise."""
    content = read_artifact(Path(path), FORMAT, VERSION)
    problems = []
    if content.get("closed") is not True:
        found = "was analyzed before the study was closed"
        problems.append(Problem(f"--study {path}", found, "a closed one", "close it, and analyze it again"))
    for side, cohort in zip(SIDES, (real, synthetic), strict=True):
        shown = (content.get("cohorts") or {}).get(side)
        if shown != cohort.digest and (shown is not None or side == "synthetic"):
            found = f"is about another {side} cohort"
            problems.append(Problem(f"--study {path}", found, f"a study of the --{side} of this evaluation"))
    if not problems and not any(phase["readers"] for phase in content["phases"]):
        problems.append(Problem(f"--study {path}", "nobody finished a part of it", "one reader or more"))
    if problems:
        raise InputError(*problems)
    return {**content, "digest": digest_file(Path(path))}


def reader_study(content: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of the group `readers`, and `reader_study` under figures: who read how much, and what was shown."""
    scores: list[dict[str, Any]] = []
    for number, phase in enumerate(content["phases"], 1):
        if phase["readers"]:
            scores += _entries(number, phase)
    about = [
        {
            **{key: phase[key] for key in ("kind", "label", "cases", "pairs", "repeats", "equivalence")},
            "readers": len(phase["readers"]),
            "unfinished": len(phase["unfinished"]),
        }
        for phase in content["phases"]
    ]
    facts = {key: content[key] for key in ("digest", "seed", "margin", "methods")}
    return {"scores": scores, "figures": {"reader_study": {**facts, "phases": about}}}


def add_study(scores: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Adds the readers' figures to what becomes scores.json."""
    found = reader_study(content)
    scores["scores"] = [*scores["scores"], *found["scores"]]
    scores["figures"] = {**scores["figures"], **found["figures"]}


def _entries(number: int, phase: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind = phase["kind"]
    pooled = {(f["name"], f["subset"]): f for f in phase["figures"] if f["reader"] is None}
    found = []
    for (of, name), figure in FIGURES.items():
        if of != kind:
            continue
        if figure.good is FLOORED:
            made, base = pooled.get((name, "synthetic")), pooled.get((name, "real"))
            if made is not None:
                found.append(_entry(f"readers_{name}", figure, _score(made, base), _words(number, phase, made), phase))
            continue
        for (other, subset), shown in pooled.items():
            if other == name and (subset is None or "=" in subset):
                words = _words(number, phase, shown)
                entry_name = NAMES.get((of, name), f"readers_{name}")
                found.append(_entry(entry_name, figure, _score(shown, None), words, phase, subset))
    same = phase["equivalence"]
    if same is not None and same["low"] is not None:
        found.append(_equivalence(number, phase, same))
    return found


def _equivalence(number: int, phase: Mapping[str, Any], same: Mapping[str, Any]) -> dict[str, Any]:
    graded = phase["kind"] == "grade"
    verdict = "shown to be within" if same["equivalent"] else "not shown to be within"
    p = "" if same["p"] is None else f", p = {same['p']:.2g}"
    words = f"part {number}: {verdict} ± {same['margin']:g} (two one-sided tests at {same['alpha']:g}{p})"
    return _entry(
        "readers_grading_difference" if graded else "readers_auc_beyond_chance",
        EQUIVALENT if graded else NO_BETTER,
        Score(same["difference"], same["low"], same["high"]),
        words,
        phase,
        confidence=1 - 2 * same["alpha"],
    )


def _score(made: Mapping[str, Any], base: Mapping[str, Any] | None) -> Score:
    floor = None if base is None else Score(base["value"], base["low"], base["high"])
    return Score(made["value"], made["low"], made["high"], floor)


def _words(number: int, phase: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """Numbers of readers and cases; what the interval speaks of."""
    who = "reader" if shown["readers"] == 1 else "readers"
    over = "other readers and other cases" if shown["method"] in ("or", "nested") else "other cases, these readers"
    return f"part {number}: {shown['readers']} {who}, {shown['cases']} cases; the interval is over {over}"


def _entry(
    name: str, figure: Figure, score: Score, words: str, phase: Mapping[str, Any], subset: str | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:  # fmt: skip
    """The numbers of images are those of the whole part; degraded images count on neither side."""
    cases = phase["cases"] or dict.fromkeys(SIDES, phase["pairs"])
    return entry(
        name,
        title=figure.title,
        group="readers",
        score=score,
        good=figure.good,
        better=figure.better,
        computed_on=words,
        subset=subset,
        n_real=cases.get("real"),
        n_synthetic=cases.get("synthetic"),
        confidence=confidence,
    )
