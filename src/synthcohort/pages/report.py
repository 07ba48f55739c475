"""The report of the evidence: what the data is, the decision, the images, every figure, and what nobody tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from synthcohort.pages import plots, words
from synthcohort.pages.grids import Sheet
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


@dataclass(frozen=True)
class Row:
    """One score in a panel."""

    label: str
    score: Mapping[str, Any]
    strip: Markup | None
    why: str = ""  # why there is no value


@dataclass(frozen=True)
class Panel:
    """The rows of one figure through one encoder, or of one attack, on one axis."""

    encoder: str | None
    caption: str
    rows: tuple[Row, ...]
    axis: Markup | None
    floor: bool
    control: bool


@dataclass(frozen=True)
class Block:
    """One figure of a chapter, with its panels."""

    name: str
    title: str
    good: str
    better: str
    panels: tuple[Panel, ...]
    unmeasured: tuple[str, ...]  # one sentence for panels that have no value for the same reason
    sample: str  # what it was computed on


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
        chapters=_chapters(scores["scores"], scores["families"]),
        power=copy_power(scores["families"].get("copies")),
        legend=plots.legend(),
        made=flatten(made),
        settings=flatten(scores.get("settings") or {}),
        thresholds=flatten((scores.get("policy") or {}).get("thresholds") or {}),
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
    return {"tone": verdict, "head": words.VERDICTS[verdict][0], "text": text, "reasons": [], "more": pending}


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
            }
        )
    return rows


def sentence(text: str) -> str:
    """A reason as a sentence: capital first, full stop last."""
    text = text.strip()
    if not text:
        return "No reason was recorded."
    if text == "not built yet":
        return "This version of SynthCohort does not make this check yet. Nothing was measured."
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def _chapters(scores: Sequence[Mapping[str, Any]], families: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores by chapter, then by figure, then by encoder; a group no chapter knows gets one of its own."""
    known = {group.name for group in words.GROUPS}
    others = dict.fromkeys(score["group"] for score in scores if score["group"] not in known)
    groups = [*words.GROUPS, *(words.Group(name, name.replace("_", " ").capitalize(), "") for name in others)]
    chapters = []
    for group in groups:
        mine = [score for score in scores if score["group"] == group.name]
        names = dict.fromkeys(score["name"] for score in mine)
        blocks = [_block([score for score in mine if score["name"] == name], families) for name in names]
        chapters.append({"group": group, "blocks": blocks, "judged": any(score.get("verdict") for score in mine)})
    return chapters


def _block(scores: list[Mapping[str, Any]], families: Mapping[str, Any]) -> Block:
    encoders = dict.fromkeys(score.get("encoder") for score in scores)
    first = scores[0]
    panels = [_panel(encoder, [s for s in scores if s.get("encoder") == encoder], families) for encoder in encoders]
    idle: dict[tuple[str, ...], list[Panel]] = {}
    for panel in panels:
        if all(row.why for row in panel.rows):
            idle.setdefault(tuple(dict.fromkeys(row.why for row in panel.rows)), []).append(panel)
    alike = {why: group for why, group in idle.items() if len(group) > 1}
    told = {panel.encoder for group in alike.values() for panel in group}
    return Block(
        name=first["name"],
        title=first.get("title") or first["name"],
        good=sentence(first["good"]) if first.get("good") else "",
        better={"lower": "Lower is better.", "higher": "Higher is better."}.get(first.get("better") or "none", ""),
        panels=tuple(panel for panel in panels if panel.encoder not in told),
        unmeasured=tuple(
            f"{', '.join(panel.encoder or 'all images' for panel in group)}: {'; '.join(why)}."
            for why, group in alike.items()
        ),
        sample=_sample(scores),
    )


def _panel(encoder: str | None, scores: list[Mapping[str, Any]], families: Mapping[str, Any]) -> Panel:
    axis = plots.axis_for([value for score in scores for value in plots.score_values(dict(score))])
    labels = [_label(score) for score in scores]
    rows = tuple(
        Row(
            label if labels.count(label) == 1 else f"{label} ({score.get('split') or i + 1})",
            score,
            plots.interval_row(dict(score), axis) if axis else None,
            _why(score, families),
        )
        for i, (label, score) in enumerate(zip(labels, scores, strict=True))
    )
    attack = scores[0].get("family") == "membership"  # its figures name an attack where others name an encoder
    seen = (
        "" if encoder is None else f"By the attack “{encoder}”" if attack else f"Seen through the encoder “{encoder}”"
    )
    return Panel(
        encoder,
        seen,
        rows,
        plots.axis_row(axis) if axis else None,
        any(score.get("floor") for score in scores),
        any(score.get("control") for score in scores),
    )


def _why(score: Mapping[str, Any], families: Mapping[str, Any]) -> str:
    """Why a score has no value, in the words it carries or those of its check; empty where it has one."""
    if score.get("value") is not None:
        return ""
    said = str(score.get("computed_on") or (families.get(str(score.get("family"))) or {}).get("reason") or "").strip()
    return said.removeprefix("not measured: ") or "no reason was recorded"


def _label(score: Mapping[str, Any]) -> str:
    subset = score.get("subset")
    return str(subset).replace("=", " = ") if subset else "All images"


def _sample(scores: Sequence[Mapping[str, Any]]) -> str:
    """What the rows of a figure were computed on: the numbers of images row by row, what they share only once."""
    sizes = [_size(score) for score in scores]
    if len(set(sizes)) > 1:
        sizes = [
            f"{_label(score).lower() if not score.get('subset') else _label(score)}: {size}"
            for score, size in zip(scores, sizes, strict=True)
            if size
        ]
    measured = [score for score in scores if score.get("value") is not None]  # the others' words stand in their rows
    details = dict.fromkeys(str(score["computed_on"]) for score in measured if score.get("computed_on"))
    parts = ["; ".join(filter(None, dict.fromkeys(sizes))), "; ".join(details)]
    return f"{parts[0]} ({parts[1]})" if all(parts) else parts[0] or parts[1]


def _size(score: Mapping[str, Any]) -> str:
    split = f" {score['split']}" if score.get("split") else ""
    made = f"{score['n_synthetic']:,} synthetic" if score.get("n_synthetic") else ""
    real = f"{score['n_real']:,} real{split}" if score.get("n_real") else ""
    found = " and ".join(filter(None, (made, real)))
    return f"{found} images" if found else ""


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text), sorted by name: a table anybody can read and compare."""
    rows: list[tuple[str, str]] = []
    for key in sorted(mapping, key=str):
        value = mapping[key]
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flatten(value, f"{name}.") or [(name, "none")])
        elif isinstance(value, (list, tuple)):
            rows.append((name, ", ".join(map(_text, value)) or "none"))
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text}" for key, text in flatten(value))
    return str(value)
