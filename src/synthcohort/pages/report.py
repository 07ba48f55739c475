"""The report of the evidence: what the data is, the decision, the images, every figure, and what nobody tested."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.pages import plots, words
from synthcohort.pages.chapters import chapters, sentence, why
from synthcohort.pages.grids import Sheet
from synthcohort.pages.limits import policy_rows, thresholds_of
from synthcohort.pages.power import copy_power
from synthcohort.pages.render import render

FIXED_LIMITS = (
    "No physician’s reading is part of this report, unless a reader study is named above.",
    "No clinical use was validated. Nothing here shows that the images may serve for diagnosis or as a reference for "
    "one.",
    "The intervals say how much the figures depend on which images were compared. They do not say how much another "
    "training "
    "run of the generator would change them.",
    "The privacy figures describe these images. They do not describe the generator itself, its weights or its "
    "training files, "
    "which stay with the owner.",
    "The attacks tried are the ones named above. An attacker with other pictures or records of the same patients was "
    "not "
    "simulated.",
)


NO_VERDICT = {"verdict": "inconclusive", "reason": "The scores do not name this check."}


def render_evidence(
    scores: Mapping[str, Any],
    sheets: Mapping[str, Sheet | bytes],
    decision: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """scores.json, sheets of synthetic images (never real ones) and perhaps the release decision -> one HTML page.

    `sheets` maps a class, as a reader would name it, to its PNG. They are left out, and the page says why, when the
    check for copies failed or nobody screened the images. `provenance` defaults to what the scores recorded.
    """
    synthetic = scores["synthetic"]
    hidden = _why_hidden(scores)
    made = provenance if provenance is not None else synthetic.get("provenance") or {}
    return render(
        "evidence.html",
        title=_title(str(synthetic.get("name") or "")),
        scores=scores,
        decision=decision,
        answer=answer(scores, decision),
        families=_families(scores, decision),
        sheets=[] if hidden else [_figure(name, found) for name, found in sheets.items()],
        hidden=hidden,
        chapters=chapters(scores),
        power=copy_power(scores["families"].get("copies")),
        legend=plots.legend(),
        made=flatten(made),
        settings=flatten(scores.get("settings") or {}, missing="not set"),
        policy_lines=policy_rows(scores.get("policy"), [family.name for family in words.FAMILIES]),
        untested=_untested(scores),
        limits=FIXED_LIMITS,
        verdicts=words.VERDICTS,
        glossary=words.GLOSSARY,
    )


def _title(name: str) -> str:
    return "Synthetic cohort" if name.lower() in ("", "synthetic") else f"Synthetic cohort {name}"


def _why_hidden(scores: Mapping[str, Any]) -> str:
    """Why a page that may be passed on shows no image at all; empty when it may."""
    if (scores["families"].get("copies") or NO_VERDICT)["verdict"] == "fail":
        return "No image is shown, because the check for copies failed: one of them could be a patient’s image."
    if scores["synthetic"].get("screened") is not True:
        return "No image is shown, because the images were not screened for copies before they were written."
    return ""


def _figure(name: str, found: Sheet | bytes) -> tuple[str, bytes, str]:
    return (name, found.png, found.note) if isinstance(found, Sheet) else (name, found, "")


def answer(scores: Mapping[str, Any], decision: Mapping[str, Any] | None) -> dict[str, Any]:
    """The one sentence at the top, its tone, and the reasons under it."""
    failed, unclear = len(scores.get("failed") or []), len(scores.get("inconclusive") or [])
    if decision is not None:
        policy = decision["policy"]["name"]
        aside = [rule for rule in decision["rules"] if rule.get("override")]
        broken = [rule["reason"] for rule in decision["rules"] if not rule["passed"] and not rule.get("override")]
        if decision["decision"] == "release":
            text = f"Released: this cohort may be shared under the policy “{policy}”."
            if aside:
                return {"tone": "inconclusive", "head": "Release", "text": text, **_set_aside(aside, decision)}
            more = _all_hold(len(decision["rules"]))
            return {"tone": "pass", "head": "Release", "text": text, "reasons": [], "more": more}
        text = f"Not released: this cohort must not be shared under the policy “{policy}”."
        more = f"{len(broken)} of {len(decision['rules'])} rules do not hold:"
        return {"tone": "fail", "head": "Refuse", "text": text, "reasons": broken, "more": more}
    pending = "No release has been decided yet; this page is the evidence for that decision."
    verdict = scores["verdict"]
    if verdict == "pass":
        text = "The evidence holds: every one of the seven checks passed."
    elif verdict == "fail":
        text = f"The evidence speaks against sharing: {_checks(failed)} failed" + (
            f", and {_checks(unclear)} could not be concluded." if unclear else "."
        )
    else:
        text = f"The evidence does not suffice: no check failed, but {_checks(unclear)} could not be concluded."
    head = words.VERDICTS[verdict][0]
    return {"tone": verdict, "head": head, "text": text, "reasons": _named(scores), "more": pending}


def _named(scores: Mapping[str, Any]) -> list[str]:
    """Which checks failed and which could not be concluded, by the names that the table of checks has."""
    titles = {family.name: family.title for family in words.FAMILIES}
    lines = []
    for key, said in (("failed", "Failed"), ("inconclusive", "Could not be concluded")):
        if names := [titles.get(name, name) for name in scores.get(key) or []]:
            lines.append(f"{said}: {'; '.join(names)}.")
    return lines


def _untested(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Figures without a number, and probes without power, as (name, reason): nobody has to look for them."""
    figures = scores.get("figures") or {}
    found = [
        (title, sentence(str(figures[name].get("reason") or "")))
        for name, title in words.PROBES.items()
        if isinstance(figures.get(name), Mapping) and figures[name].get("verdict") == "inconclusive"
    ]
    missing: dict[tuple[str, str], None] = {}
    measured = {score["name"] for score in scores["scores"] if score.get("value") is not None}
    for score in scores["scores"]:
        if score["name"] not in measured:
            title = str(score.get("title") or score["name"]).partition(" (")[0]
            missing[title, sentence(why(score, scores["families"]))] = None
    return [*found, *missing]


def _set_aside(aside: Sequence[Mapping[str, Any]], decision: Mapping[str, Any]) -> dict[str, Any]:
    """What a written reason sets aside stands at the top, never in the table alone."""
    reasons = [f"{rule['reason']} The reason given: “{rule['override']}”" for rule in aside]
    kept = f"{len(decision['rules']) - len(aside)} of {len(decision['rules'])} rules of the policy hold."
    return {"reasons": reasons, "more": f"{kept} The others are set aside by a written reason:"}


def _all_hold(count: int) -> str:
    return f"All {count} rules of the policy hold. What they rest on, and what was not tested, stands below."


def _checks(count: int) -> str:
    return f"{count} check" if count == 1 else f"{count} checks"


def _families(scores: Mapping[str, Any], decision: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The seven checks in a fixed order; one the scores do not name is inconclusive, never silently absent."""
    rules = {rule["name"]: rule for rule in (decision or {}).get("rules", [])}
    rows = []
    for family in words.FAMILIES:
        found = scores["families"].get(family.name) or NO_VERDICT
        rows.append(
            {
                "family": family,
                "verdict": found["verdict"],
                "reason": sentence(found.get("reason") or ""),
                "rule": rules.get(f"family:{family.name}"),
                "lines": thresholds_of(scores.get("policy"), family.name),
            }
        )
    return rows


def flatten(mapping: Mapping[str, Any], prefix: str = "", missing: str = "not recorded") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text), sorted by name: a table anybody can read and compare."""
    rows: list[tuple[str, str]] = []
    for key in sorted(mapping, key=str):
        value = mapping[key]
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flatten(value, f"{name}.", missing) or [(name, "none")])
        elif isinstance(value, (list, tuple)):
            rows.append((name, ", ".join(_text(item, missing) for item in value) or "none"))
        else:
            rows.append((name, _text(value, missing)))
    return rows


def _text(value: Any, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text}" for key, text in flatten(value, missing=missing))
    return str(value)
