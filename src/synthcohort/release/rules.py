"""The rules: each a name, a question in words, what was found, and whether that is enough.

A rule that cannot be judged, because what it needs is missing or unreadable, does not hold. Where a figure has an
interval, the interval is judged and never the value alone.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.files import digest_json
from synthcohort.core.policy import FAMILIES, FigureRule, Policy

PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

FAMILY_WORDS = {
    "copies": "no image copies a patient’s image",
    "membership": "nobody can tell whose images the generator learned from",
    "label_truth": "the images show what their labels say",
    "image_damage": "the images are free of technical damage",
    "coverage": "the images show the variety of the real ones",
    "subgroups": "all groups of patients are represented equally well",
    "harm": "training with the images leaves no class worse off",
}

EXPLAINED = {
    "evidence_of_this_cohort": "Evidence about other images says nothing about these. The digest covers every pixel.",
    "evidence_by_this_policy": "A verdict is only as strict as its thresholds: they have to be those of this policy.",
    "evidence_in_order": "Scores that were edited by hand often contradict themselves; such scores are no evidence.",
    "evidence_signed": "The owner’s key shows that the scores are those that the evaluation wrote.",
    "family:copies": "An image that copies a patient’s image gives that patient away.",
    "family:membership": "To know that a patient was in the training data may itself reveal an illness.",
    "family:label_truth": "Images whose labels are wrong teach models the wrong thing.",
    "family:image_damage": "Damage that no scanner makes misleads whoever learns from the images.",
    "family:coverage": "What is not shown cannot be learned: rare forms must not be missing.",
    "family:subgroups": "Nobody may be served worse because the images leave their group out.",
    "family:harm": "Training on the images must not lose a class that matters to patients.",
    "provenance_recorded": "An image that cannot be traced to what drew it cannot be checked by anybody.",
    "origin_synthetic": "Only what a generator computed may leave by this way.",
    "not_derived_from_real": "An edited patient’s image is still that patient’s image.",
    "no_canaries": "A model that was taught planted marks, to audit a way of training, may show them.",
    "screened": "Each image has to be compared with the training images before it is written.",
    "images_counted": "The evidence has to be about all images, not about some.",
    "files_intact": "What is released has to be what was evaluated, byte by byte.",
    "labels_complete": "An image without its label cannot be used as what it is.",
    "names_plain": "Names become file names on every system, and must say nothing about anybody.",
    "license": "Nobody may use images without knowing under which terms.",
}

# Facts about the data itself: no written reason makes them otherwise.
NEVER_OVERRIDE = (
    "evidence_of_this_cohort", "evidence_in_order", "origin_synthetic", "not_derived_from_real", "no_canaries",
    "images_counted", "files_intact", "names_plain", "license",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One rule with what was found; `figure` is the number or fact it rests on, `interval` that of the figure."""

    name: str
    title: str
    explanation: str
    passed: bool
    figure: Any
    reason: str
    interval: tuple[float, float] | None = None
    override: str | None = None  # the written reason that sets it aside

    @property
    def holds(self) -> bool:
        """Passed, or set aside by a written reason that the policy allows."""
        return self.passed or self.override is not None


def rule(name: str, title: str, figure: Any, passed: bool, good: str, bad: str) -> Rule:
    """A rule with one of two sentences."""
    return Rule(name, title, EXPLAINED.get(name, ""), bool(passed), figure, good if passed else bad)


def evidence_rules(scores: Mapping[str, Any], policy: Policy, stated: Mapping[str, Any]) -> list[Rule]:
    """The rules that can be judged from scores, policy and statements alone: what a receiver repeats."""
    return [
        _policy_rule(scores, policy),
        _order_rule(scores),
        *(_family_rule(name, get(scores, "families", name), name in policy.release.must_pass) for name in FAMILIES),
        *(_figure_rule(asked, scores) for asked in policy.release.figures),
        _record_rule(scores, policy),
        *stated_rules(policy, stated),
    ]


def stated_rules(policy: Policy, stated: Mapping[str, Any]) -> list[Rule]:
    """The rules over what only a person can say; they can be judged before there is any evidence."""
    return [*(_stated_rule(name, stated) for name in policy.release.must_state), _license_rule(stated)]


def rule_names(policy: Policy) -> list[str]:
    """Every rule that a decision by this policy has."""
    figures = [asked.name for asked in policy.release.figures]
    return [*EXPLAINED, *figures, *(f"stated:{name}" for name in policy.release.must_state)]


def is_stated(name: str) -> bool:
    """Whether a rule is about what a person says, not about the images."""
    return name == "license" or name.startswith("stated:")


def is_of_copies(name: str, policy: Policy) -> bool:
    """Whether a rule asks how many images are too near to a training image: others in their place may make it hold."""
    rates = {asked.name for asked in policy.release.figures if asked.score == "copy_rate"}
    return name == "family:copies" or name in rates


def _policy_rule(scores: Mapping[str, Any], policy: Policy) -> Rule:
    judged, other = get(scores, "policy", "thresholds"), get(scores, "policy", "name") or "unknown"
    same = isinstance(judged, Mapping) and digest_json(judged) == digest_json(to_mapping(policy.thresholds))
    return rule(
        "evidence_by_this_policy", "The evidence was judged by this policy", get(scores, "policy", "digest"), same,
        f"The verdicts were reached with the thresholds of the policy “{policy.name}”.",
        f"The verdicts were reached under another policy (“{other}”) than the one asked for (“{policy.name}”), or its "
        "thresholds were changed since. Evaluate again with this policy.",
    )  # fmt: skip


def _order_rule(scores: Mapping[str, Any]) -> Rule:
    disorder = guarded(lambda: _disorder(scores))
    return rule(
        "evidence_in_order", "The evidence does not contradict itself", disorder, not disorder,
        "The summary of the scores agrees with the verdict of each check.",
        f"The scores contradict themselves: {'; '.join(disorder)}. Evaluate again.",
    )  # fmt: skip


def _disorder(scores: Mapping[str, Any]) -> list[str]:
    """Where the summary of scores.json does not follow from its families."""
    families = get(scores, "families")
    if not isinstance(families, Mapping):
        return ["there are no verdicts"]
    found = []
    verdicts = {name: get(families, name, "verdict") for name in FAMILIES}
    for name, verdict in verdicts.items():
        if verdict not in ("pass", "fail", "inconclusive"):
            found.append(f"the check {name!r} has no verdict")
    for key, verdict in (("failed", "fail"), ("inconclusive", "inconclusive")):
        listed = scores.get(key)
        if not isinstance(listed, list) or set(listed) != {name for name in FAMILIES if verdicts[name] == verdict}:
            found.append(f"the list {key!r} does not name the checks that say so")
    values = set(verdicts.values())
    overall = "fail" if "fail" in values else "pass" if values == {"pass"} else "inconclusive"
    if scores.get("verdict") != overall:
        found.append(f"the overall verdict is {scores.get('verdict')!r}, the checks say {overall!r}")
    for score in scores.get("scores") or []:
        low, high = score.get("low"), score.get("high")
        if low is not None and high is not None and low > high:
            found.append(f"the interval of {score.get('name')!r} ends before it begins")
        family = score.get("family")
        if score.get("verdict") == "fail" and family in verdicts and verdicts[family] != "fail":
            found.append(f"{score.get('name')!r} failed, its check {family!r} did not")
    return found


def _family_rule(name: str, found: Any, must_pass: bool) -> Rule:
    """`must_pass` families need a pass; the others must not fail. A missing verdict is no verdict."""
    verdict = found.get("verdict") if isinstance(found, Mapping) else None
    why = str(get(found, "reason") or "no reason recorded").strip().rstrip(".")
    title = FAMILY_WORDS[name][0].upper() + FAMILY_WORDS[name][1:]
    figures = get(found, "figures")
    figures = figures if isinstance(figures, Mapping) else {}
    figure = {"verdict": verdict, "demanded": "pass" if must_pass else "not fail", **figures}

    def made(passed: bool, reason: str) -> Rule:
        full = f"family:{name}"
        return Rule(full, title, EXPLAINED[full], passed, figure, reason, _main_interval(figures))

    if verdict == "pass":
        return made(True, f"Passed: {why}.")
    if verdict == "inconclusive" and not must_pass:
        return made(True, f"Could not be concluded, which this policy allows: {why}.")
    stated = f"that {FAMILY_WORDS[name]} (check “{name}”)"
    if verdict == "inconclusive" and why == "not built yet":
        return made(False, f"Not checked by this version: {stated}.")
    if verdict == "inconclusive":
        return made(False, f"Not concluded: {stated}: {why}.")
    if verdict == "fail":
        return made(False, f"Failed to show {stated}: {why}.")
    return made(False, f"No evidence: {stated}.")


def _main_interval(figures: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of the first figure that has one, those that a verdict rests on before the others."""
    for key in ("rate", "ratio", *figures):
        low, high = get(figures, key, "low"), get(figures, key, "high")
        if _finite(low) and _finite(high):
            return float(low), float(high)
    return None


def _figure_rule(asked: FigureRule, scores: Mapping[str, Any]) -> Rule:
    """A figure's interval against what the policy asks."""
    entries = scores.get("scores") if isinstance(scores, Mapping) else None
    found = [
        item for item in (entries if isinstance(entries, list) else [])
        if get(item, "name") == asked.score and get(item, "subset") == asked.subset
    ]  # fmt: skip
    part = f" of {asked.subset}" if asked.subset else ""
    title = str(get(found[0], "title") or asked.score) + part if found else asked.score + part
    if not found:
        return Rule(asked.name, title, asked.why, False, None, f"No evidence: nobody measured “{asked.score}”{part}.")
    worst, problems = found[0], []
    for item in found:
        broken = _beyond(asked, item)
        if broken:
            worst = item
            problems.extend(broken)
    low, high = get(worst, "low"), get(worst, "high")
    interval = (float(low), float(high)) if _finite(low) and _finite(high) else None
    figure = {key: get(worst, key) for key in ("value", "low", "high", "confidence", "encoder", "n_synthetic")}
    figure |= {key: getattr(asked, key) for key in ("at_most", "at_least", "widest")}
    shown = f"{float(low):.4g} to {float(high):.4g}" if interval else "no interval"
    if problems:
        return Rule(asked.name, title, asked.why, False, figure, f"“{title}”: {'; '.join(problems)}.", interval)
    return Rule(asked.name, title, asked.why, True, figure, f"“{title}” lies within: {shown}.", interval)


def _beyond(asked: FigureRule, item: Any) -> list[str]:
    low, high = get(item, "low"), get(item, "high")
    if not _finite(low) or not _finite(high):
        return ["it has no interval, so nothing is certain"]
    found = []
    if low > high:
        found.append("its interval ends before it begins")
    if asked.at_most is not None and high > asked.at_most:
        found.append(f"its interval reaches {high:.4g}, and {asked.at_most:g} is the most")
    if asked.at_least is not None and low < asked.at_least:
        found.append(f"its interval begins at {low:.4g}, and {asked.at_least:g} is the least")
    if asked.widest is not None and high - low > asked.widest:
        found.append(f"its interval is {high - low:.4g} wide, and {asked.widest:g} is the widest")
    return found


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _record_rule(scores: Mapping[str, Any], policy: Policy) -> Rule:
    made = get(scores, "synthetic", "provenance")
    missing = [name for name in policy.release.must_record if get(made, *name.split(".")) is None]
    return rule(
        "provenance_recorded", "It is recorded how the images were made", missing, not missing,
        f"Recorded: {', '.join(policy.release.must_record) or 'the policy asks for nothing'}.",
        f"Not recorded of the making of the images: {', '.join(missing)}.",
    )  # fmt: skip


STATED = {
    "license": ("A license is stated", "under which license the images may be used"),
    "intended_use": ("The intended use is stated", "what the images are meant to be used for"),
    "not_intended_for": ("It is stated what they are not for", "what they must not be used for"),
    "contact": ("Somebody answers questions", "who answers questions about them"),
}


def _stated_rule(name: str, stated: Mapping[str, Any]) -> Rule:
    title, what = STATED.get(name, (f"“{name}” is answered", f"the answer to “{name}”"))
    text = str(stated.get(name) or "").strip()
    bad = f"Nobody has stated {what} (release.{name}, or the answers file)."
    why = "Only a person can say this, and whoever receives the images has to know it."
    return Rule(f"stated:{name}", title, why, bool(text), text, "It is stated." if text else bad)


def _license_rule(stated: Mapping[str, Any]) -> Rule:
    text = str(stated.get("license") or "").strip()
    return rule(
        "license", "A license is stated", text, bool(text), f"The license is “{text}”.",
        "No license is stated. Say under which license the images may be used (release.license).",
    )  # fmt: skip


def cohort_rules(scores: Mapping[str, Any], synthetic: Cohort) -> list[Rule]:
    """The rules over the cohort itself. Reads every file of it once (digests)."""
    total = len(synthetic)
    real = sum(value is not False for value in synthetic.column("derived_from_real"))
    made = (synthetic.info.get("provenance"), get(scores, "synthetic", "provenance"))
    planted = any(_names_canaries(found) for found in made)
    screened = synthetic.info.get("screened") is True and get(scores, "synthetic", "screened") is True
    counted, found = get(scores, "synthetic", "images"), get(scores, "synthetic", "digest")
    damage = guarded(lambda: synthetic.verify())
    unlabeled = [name for name in synthetic.labels if any(value is None for value in synthetic.column(name))]
    odd = sum(PLAIN_ID.fullmatch(name) is None for name in synthetic.image_ids)
    twice = total - len({name.lower() for name in synthetic.image_ids})
    return [
        rule(
            "evidence_of_this_cohort", "The evidence is about this cohort", found, found == synthetic.digest,
            "The digest of the evaluated cohort is the digest of this one.",
            "The evidence is about another cohort: the digests differ. Evaluate this cohort.",
        ),
        rule(
            "origin_synthetic", "The cohort is synthetic", synthetic.origin, synthetic.origin == "synthetic",
            "The cohort says that its images were generated.",
            "The cohort does not say that its images were generated.",
        ),
        rule(
            "not_derived_from_real", "No image was made from a real one", real, real == 0,
            "No image was edited from a patient’s image.",
            f"{real} of {total} images were made from a patient’s image. They can’t be released.",
        ),
        rule(
            "no_canaries", "The generator was not taught planted marks", planted, not planted,
            "No canaries were planted in the training images.",
            "Canaries were planted in the training images to audit the training: images of such a run can’t be "
            "released. Train again without train.canaries.",
        ),
        rule(
            "screened", "Copies were screened out before writing", screened, screened,
            "Each image was compared with the training images before it was written.",
            "The cohort was generated without the copy screen, or does not say that it was. Generate it with the "
            "screen.",
        ),
        rule(
            "images_counted", "There are images, as many as were evaluated", total, total > 0 and counted == total,
            f"{total} images, all of them in the evidence.",
            f"The cohort has {total} images, the evidence is about {counted}.",
        ),
        rule(
            "files_intact", "Every file is as it was written", damage, not damage,
            "Each file of the cohort has the digest that the cohort states.",
            f"The cohort is damaged or was changed: {'; '.join(damage[:5])}.",
        ),
        rule(
            "labels_complete", "Every image has its labels", unlabeled, bool(synthetic.labels) and not unlabeled,
            f"Labels present on all images: {', '.join(synthetic.labels)}.",
            f"Images without a value in: {', '.join(unlabeled)}." if unlabeled else "The cohort has no labels.",
        ),
        rule(
            "names_plain", "Image names are plain and unique", odd + twice, odd + twice == 0,
            "Names are letters, digits, dot, dash and underscore, none twice.",
            f"{odd} image names have other characters than letters, digits, dot, dash and underscore, or are too "
            f"long; {twice} occur twice.",
        ),
    ]  # fmt: skip


def _names_canaries(provenance: Any) -> bool:
    """Whether a provenance, or one put together of several, tells of canaries."""
    if isinstance(provenance, Mapping):
        return any((name == "canaries" and bool(value)) or _names_canaries(value) for name, value in provenance.items())
    return isinstance(provenance, list) and any(map(_names_canaries, provenance))


def signature_rule(problem: str | None, signer: str | None, must: bool) -> Rule:
    """`problem`: why the scores' signature does not hold, empty when it does, None when there is none."""
    name, title = "evidence_signed", "The scores are signed by the owner"
    if problem is None and not must:
        return rule(name, title, None, True, "The scores are not signed, which this policy allows.", "")
    if problem is None:
        bad = "The scores are not signed. Evaluate with --key, and give the same key to release."
        return rule(name, title, None, False, "", bad)
    good = f"The scores carry the signature of the key {signer}."
    return rule(name, title, signer, not problem, good, f"The scores were changed or signed by another key: {problem}.")


def guarded(check: Callable[[], list[str]]) -> list[str]:
    """A check that breaks down is a problem found, never a pass."""
    try:
        return check()
    except Exception as error:
        return [f"it cannot be checked ({type(error).__name__})"]


def get(mapping: Any, *keys: str) -> Any:
    """A nested value, None where anything on the way is missing or of another kind."""
    for key in keys:
        if not isinstance(mapping, Mapping):
            return None
        mapping = mapping.get(key)
    return mapping
