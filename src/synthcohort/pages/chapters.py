"""The chapters of the evidence: scores by chapter, by figure, by encoder, with its words and scale."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from synthcohort.pages import plots, samples, words
from synthcohort.pages.curves import Curve, curves
from synthcohort.pages.limits import Limit, limit_of

NARROW, WIDE = 150.0, 255.0  # pixels that a strip has at least, beside three and two columns of numbers
USUAL = 0.95  # the level that the head of the column names
READ = ("prompt_recall", "stress_severity", "label_read")  # shares of images whose label a classifier reads right
BLIND = 0.05
UNSEEN = "proves nothing: not seen in real images either"
LEARNED = re.compile(r"^(.+): ([\d.]+)% of the real images, ([\d.]+) times as many synthetic$")


@dataclass(frozen=True)
class Row:
    """One score in a panel."""

    label: str
    score: Mapping[str, Any]
    strip: Markup | None
    why: str = ""  # why there is no value
    small: str = ""  # what only this row was computed on


@dataclass(frozen=True)
class Panel:
    """The rows of one figure through one encoder, or of all attacks, on one axis."""

    encoder: str | None
    caption: str
    rows: tuple[Row, ...]
    axis: Markup | None
    floor: bool
    control: bool
    sample: str = ""  # what only this panel was computed on

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self.rows)


@dataclass(frozen=True)
class Check:
    """The check that a figure belongs to, which is judged as a whole."""

    name: str
    title: str
    verdict: str


@dataclass(frozen=True)
class Block:
    """One figure of a chapter, with its panels."""

    name: str
    title: str
    good: str
    panels: tuple[Panel, ...]
    unmeasured: tuple[str, ...]  # one sentence for rows or panels that have no value for the same reason
    sample: str  # what it was computed on
    check: Check | None = None
    limits: tuple[Limit, ...] = ()
    probe: tuple[str, str] | None = None  # (verdict, reason) of a figure that is judged beside the checks
    chart: Markup | None = None


@dataclass(frozen=True)
class _Context:
    """What the words of a figure need beside its scores."""

    families: Mapping[str, Any]
    policy: Mapping[str, Any] | None
    figures: Mapping[str, Any]
    roles: Mapping[str, int]


def chapters(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores by chapter and figure; a group no chapter knows gets one of its own."""
    entries = scores["scores"]
    context = _Context(
        scores["families"], scores.get("policy"), scores.get("figures") or {}, scores["real"].get("images") or {}
    )
    known = {group.name for group in words.GROUPS}
    others = dict.fromkeys(score["group"] for score in entries if score["group"] not in known)
    groups = [*words.GROUPS, *(words.Group(name, name.replace("_", " ").capitalize(), "") for name in others)]
    found = []
    for group in groups:
        kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for score in entries:
            if score["group"] == group.name:
                kinds.setdefault(_kind(score), []).append(score)
        blocks = _told_apart([_block(mine, context) for mine in kinds.values()])
        judged = any(score.get("verdict") and not score.get("family") for mine in kinds.values() for score in mine)
        found.append({"group": group, "blocks": blocks, "judged": judged})
    return found


def _kind(score: Mapping[str, Any]) -> tuple[str, str]:
    """Scores of one kind make one figure: of one name, or of several that stand together."""
    group = _together(score)
    return (group.name, str(score.get("good"))) if group else (score["name"], "")


def _together(score: Mapping[str, Any]) -> words.Together | None:
    if score.get("subset") or score.get("encoder"):
        return None
    return next((group for group in words.TOGETHER if score["name"].startswith(group.prefixes)), None)


def _told_apart(blocks: Sequence[Block]) -> list[Block]:
    """Two figures of one title are told apart by the column whose values one of them lists."""
    titles = [block.title for block in blocks]
    result = []
    for block in blocks:
        subsets = {str(row.score.get("subset") or "").partition("=")[0] for panel in block.panels for row in panel.rows}
        column = subsets.pop() if len(subsets) == 1 else ""
        again = titles.count(block.title) > 1 and column
        result.append(replace(block, title=f"{block.title}, by {column}") if again else block)
    return result


def _block(scores: list[Mapping[str, Any]], context: _Context) -> Block:
    first, group = scores[0], _together(scores[0])
    titles = dict.fromkeys(str(score.get("title") or score["name"]) for score in scores)
    several = group is not None and len(titles) > 1
    title = next(iter(titles)) if len(titles) == 1 else next(iter(titles)).partition(" (")[0]
    chart, kept = _learned(scores)
    measured = [score for score in kept if score.get("value") is not None]  # the others' words stand in their rows
    details, rest = samples.shared([str(score.get("computed_on") or "") for score in measured])
    beside = {id(score): text for score, text in zip(measured, rest, strict=True)}
    probe = context.figures.get(words.PROBED.get(first["name"], "")) or {}
    details = details.replace(str(probe.get("reason") or "\0"), "").rstrip(" :;")  # it stands above, as a verdict
    sized = len({samples.sizes(score) for score in kept}) == 1
    panels, unmeasured = _panels(kept, beside, sized, context, group if several else None)
    limits = dict.fromkeys(filter(None, (limit_of(score, context.policy) for score in kept)))
    return Block(
        name=group.name if several and group else first["name"],
        title=group.title if several and group else title,
        good=good(first),
        panels=panels,
        unmeasured=unmeasured,
        sample=samples.minus(samples.sample(kept, context.roles, details, sized)),
        check=_check(kept, context),
        limits=tuple(limits),
        probe=(probe["verdict"], sentence(str(probe.get("reason") or "")))
        if probe.get("verdict") in words.VERDICTS
        else None,
        chart=chart,
    )


def good(score: Mapping[str, Any]) -> str:
    """What good looks like and which way it lies; a figure that has no better side says how to read it."""
    text, better = sentence(str(score.get("good") or "")) if score.get("good") else "", score.get("better") or "none"
    if text and not text.startswith("Good "):
        told = text[:1].lower() + text[1:] if text[1:2].islower() else text
        text = f"Good looks like this: {told}" if better != "none" else f"How to read it: {told}"
    which = {"lower": "Lower is better", "higher": "Higher is better"}.get(better, "")
    if which and "close to the floor" in text:
        end = "down" if better == "lower" else "up"
        return f"{text} {which}, {end} to the floor."
    if which and "close to" in text:
        return text  # the nearer, the better: neither side is
    return f"{text} {which}." if which and text else f"{which}." if which else text


def sentence(text: str) -> str:
    """A reason as a sentence: capital first, full stop last, true minus signs."""
    text = samples.minus(text.strip())
    if not text:
        return "No reason was recorded."
    if text == "not built yet":
        return "This version of SynthCohort does not make this check yet. Nothing was measured."
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def _check(scores: Sequence[Mapping[str, Any]], context: _Context) -> Check | None:
    """The check whose figure this is; where nothing was measured, only one that could not be concluded either."""
    family = next((found for found in words.FAMILIES if found.name == scores[0].get("family")), None)
    verdict = str((context.families.get(family.name) or {}).get("verdict") or "inconclusive") if family else ""
    if family is None or (verdict != "inconclusive" and all(score.get("value") is None for score in scores)):
        return None
    return Check(family.name, family.title, verdict)


def _panels(
    scores: Sequence[Mapping[str, Any]],
    beside: Mapping[int, str],
    sized: bool,
    context: _Context,
    group: words.Together | None,
) -> tuple[tuple[Panel, ...], tuple[str, ...]]:
    """One panel for each encoder; attacks are rows of one. What has no value for one reason is said in one sentence."""
    attacks = scores[0].get("family") == "membership" and any(score.get("encoder") for score in scores)
    encoders = dict.fromkeys(score.get("encoder") for score in scores)
    units = [(_attack(score), [score]) for score in scores] if attacks else []
    units = units or [(found or "all images", [s for s in scores if s.get("encoder") == found]) for found in encoders]
    idle: dict[str, list[tuple[str, list[Mapping[str, Any]]]]] = {}
    for name, mine in units:
        reasons = dict.fromkeys(why(score, context.families) for score in mine)
        if all(reasons):
            idle.setdefault("; ".join(reasons), []).append((name, mine))
    alike = {reason: found for reason, found in idle.items() if len(found) > 1}
    told = {id(score) for found in alike.values() for _, mine in found for score in mine}
    unmeasured = tuple(
        f"{_names([name for name, _ in found], len(units), attacks)}: {reason}." for reason, found in alike.items()
    )
    left = [score for score in scores if id(score) not in told]
    by_panel = {None: left} if attacks else {e: [s for s in left if s.get("encoder") == e] for e in encoders}
    panels = [
        _panel(encoder, mine, beside, sized, context, attacks, group) for encoder, mine in by_panel.items() if mine
    ]
    return tuple(panels), unmeasured


def _names(names: Sequence[str], count: int, attacks: bool) -> str:
    if len(names) == count:
        return f"any of the {count} {'attacks' if attacks else 'encoders'}"
    return ", ".join(names)


def _panel(
    encoder: str | None,
    scores: Sequence[Mapping[str, Any]],
    beside: Mapping[int, str],
    sized: bool,
    context: _Context,
    attacks: bool,
    group: words.Together | None,
) -> Panel:
    limits = {id(score): limit_of(score, context.policy) for score in scores}
    values = [value for score in scores for value in plots.score_values(dict(score))]
    axis = plots.axis_for([*values, *(limit.value for limit in limits.values() if limit)]) if any_of(values) else None
    labels = [_attack(score) if attacks else _titled(score, group) if group else _label(score) for score in scores]
    texts = [beside.get(id(score), "") for score in scores]
    sized = sized or all(str(score.get("n_real")) in text.split() for score, text in zip(scores, texts, strict=True))
    common = texts[0] if len(scores) > 1 and len(set(texts)) == 1 else ""
    rows = tuple(
        Row(
            label if labels.count(label) == 1 else f"{label} ({score.get('split') or i + 1})",
            score,
            plots.interval_row(dict(score), axis, limit.value if (limit := limits[id(score)]) else None)
            if axis
            else None,
            why(score, context.families),
            _small(score, sized, "" if common or len(scores) == 1 else texts[i]),
        )
        for i, (label, score) in enumerate(zip(labels, scores, strict=True))
    )
    floor, control = (any(score.get(part) for score in scores) for part in ("floor", "control"))
    room = NARROW if floor and control else WIDE
    seen = f"Seen through the encoder “{encoder}”" + (
        f": {words.ENCODERS[encoder]}" if encoder in words.ENCODERS else ""
    )
    return Panel(
        encoder,
        seen if encoder else "",
        rows,
        plots.axis_row(axis, room) if axis else None,
        floor,
        control,
        samples.minus(common or (texts[0] if len(scores) == 1 else "")),
    )


def _small(score: Mapping[str, Any], sized: bool, details: str) -> str:
    """What stands under a row's name: its images where rows differ, its own details, an unusual level."""
    level = score.get("confidence")
    unusual = f"{100 * level:.3g} % interval" if level and level != USUAL and score.get("low") is not None else ""
    counted = "" if sized else samples.sizes(score)
    unseen = UNSEEN if _unseen(score) else ""
    return samples.minus("; ".join(filter(None, (counted, details, unseen, unusual))))


def _unseen(score: Mapping[str, Any]) -> bool:
    """Whether a reader of labels hardly ever finds the class of this row in real images: then it proves nothing."""
    high = (score.get("floor") or {}).get("high")
    return score["name"] in READ and bool(score.get("subset")) and high is not None and high < BLIND


def any_of(values: Sequence[float | None]) -> bool:
    """Whether there is a number at all: a policy's line alone makes no picture."""
    return any(value is not None for value in values)


def why(score: Mapping[str, Any], families: Mapping[str, Any]) -> str:
    """Why a score has no value, in the words it carries or those of its check; empty where it has one."""
    if score.get("value") is not None:
        return ""
    said = str(score.get("computed_on") or (families.get(str(score.get("family"))) or {}).get("reason") or "").strip()
    said = said.removeprefix("not measured: ")
    _, found, reason = said.rpartition("not estimable: ")
    return f"not estimable, {reason}" if found else said or "no reason was recorded"


def _label(score: Mapping[str, Any]) -> str:
    subset = score.get("subset")
    return samples.minus(str(subset).replace("=", " = ")) if subset else "All images"


def _titled(score: Mapping[str, Any], group: words.Together) -> str:
    return str(score.get("title") or score["name"]).replace(group.dropped, "")


def _attack(score: Mapping[str, Any]) -> str:
    """An attack with what its attacker has, as the title says it: black-box: nearest in fine detail."""
    encoder = str(score.get("encoder") or "all images")
    found = re.search(r"\(([^()]*" + re.escape(encoder) + r")\)$", str(score.get("title") or ""))
    return found.group(1) if found else encoder


def _learned(scores: Sequence[Mapping[str, Any]]) -> tuple[Markup | None, list[Mapping[str, Any]]]:
    """A learning curve as a picture, and its rows named by numbers of images; those without synthetic are the floor."""
    parsed = [LEARNED.match(str(score.get("subset") or "")) for score in scores]
    found = [(score, match) for score, match in zip(scores, parsed, strict=True) if match]
    if len(found) < len(scores) or not scores or scores[0]["name"] != "learning_curve":
        return None, list(scores)
    many = len({match.group(1) for _, match in found}) > 1
    kept: list[Mapping[str, Any]] = []
    for score, match in found:
        if score.get("n_synthetic"):
            name = f"{match.group(1)}: " if many else ""
            made = f"{name}{score.get('n_real') or 0:,} real + {score['n_synthetic']:,} synthetic"
            kept.append({**score, "subset": made, "n_real": None, "n_synthetic": None})
    return (None if many else _chart(found)), kept or list(scores)


def _chart(found: Sequence[tuple[Mapping[str, Any], re.Match[str]]]) -> Markup | None:
    """Mean recall by share of the real images, alone and with synthetic ones; only lines that reach the last share."""
    shares = sorted({float(match.group(2)) for _, match in found})
    lines: dict[float, list[tuple[float, float]]] = {}
    for score, match in found:
        if score.get("value") is not None:
            place = float(shares.index(float(match.group(2))))
            lines.setdefault(float(match.group(3)), []).append((place, float(score["value"])))
    drawn = [
        Curve("real alone" if times == 0 else f"with {times:g} × synthetic", sorted(points), dashed=times == 0)
        for times, points in sorted(lines.items())
        if len(points) == len(shares) > 1
    ]
    named = [f"{share:g} %" for share in shares]
    return curves(drawn, "share of the real images", zero=True, x_labels=named) if len(drawn) > 1 else None
