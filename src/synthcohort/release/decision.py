"""The decision: named rules over evidence, cohort and statements. One that does not hold is enough to refuse.

A rule that cannot be judged, because what it needs is missing or unreadable, does not hold: release fails closed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_json
from synthcohort.core.policy import FAMILIES, Policy
from synthcohort.release.config import ReleaseConfig

FORMAT, VERSION = "decision", 1
SCORES_FORMAT, SCORES_VERSION = "scores", 1
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

QUESTIONS = {
    "intended_use": "What are the images meant to be used for? (release.intended_use)",
    "not_intended_for": "What must they not be used for? (release.not_intended_for)",
    "contact": "Who answers questions about them? (release.contact)",
}


@dataclass(frozen=True)
class Rule:
    """One rule with what was found; `figure` is the number or fact it rests on."""

    name: str
    title: str
    passed: bool
    figure: Any
    reason: str


@dataclass(frozen=True)
class Decision:
    """Release or refuse, with every rule."""

    decision: str  # "release" or "refuse"
    rules: tuple[Rule, ...]
    policy: Mapping[str, Any]
    statement: Mapping[str, str]
    questions: tuple[str, ...]
    scores_digest: str
    synthetic_digest: str

    @property
    def reasons(self) -> list[str]:
        """Why not: one sentence for each rule that does not hold."""
        return [rule.reason for rule in self.rules if not rule.passed]

    def to_mapping(self) -> dict[str, Any]:
        """What decision.json holds (docs/formats.md)."""
        return {
            "decision": self.decision,
            "rules": [asdict(rule) for rule in self.rules],
            "reasons": self.reasons,
            "policy": dict(self.policy),
            "statement": dict(self.statement),
            "questions": list(self.questions),
            "scores_digest": self.scores_digest,
            "synthetic_digest": self.synthetic_digest,
        }


def decide(scores: Mapping[str, Any], synthetic: Cohort, policy: Policy, config: ReleaseConfig) -> Decision:
    """Judges a cohort and its evidence by the policy's rules. Reads every file of the cohort once (digests)."""
    rules = [
        _about_rule(scores, synthetic),
        _policy_rule(scores, policy),
        _order_rule(scores),
        *_family_rules(scores, policy),
        *_cohort_rules(scores, synthetic),
        _license_rule(config),
    ]
    statement = {
        "license": config.license.strip(),
        "intended_use": config.intended_use.strip(),
        "not_intended_for": config.not_intended_for.strip(),
        "contact": config.contact.strip(),
    }
    return Decision(
        decision="release" if all(rule.passed for rule in rules) else "refuse",
        rules=tuple(rules),
        policy={"name": policy.name, "digest": policy.digest, "purpose": policy.purpose},
        statement=statement,
        questions=tuple(text for key, text in QUESTIONS.items() if not statement[key]),
        scores_digest=digest_of_scores(scores),
        synthetic_digest=synthetic.digest,
    )


def digest_of_scores(scores: Mapping[str, Any]) -> str:
    """Digest of the content of scores.json, whatever its layout."""
    return digest_json(scores)


def about(scores: Mapping[str, Any]) -> Any:
    """The digest of the cohort that the scores are about."""
    return _get(scores, "synthetic", "digest")


def evidence_again(scores: Mapping[str, Any], policy: Policy) -> list[Rule]:
    """The rules that can be judged from scores and policy alone, without the cohort: what a receiver repeats."""
    return [_policy_rule(scores, policy), _order_rule(scores), *_family_rules(scores, policy)]


def _rule(name: str, title: str, figure: Any, passed: bool, good: str, bad: str) -> Rule:
    return Rule(name, title, bool(passed), figure, good if passed else bad)


def _about_rule(scores: Mapping[str, Any], synthetic: Cohort) -> Rule:
    found = about(scores)
    return _rule(
        "evidence_of_this_cohort", "The evidence is about this cohort", found, found == synthetic.digest,
        "The digest of the evaluated cohort is the digest of this one.",
        "The evidence is about another cohort: the digests differ. Evaluate this cohort.",
    )


def _policy_rule(scores: Mapping[str, Any], policy: Policy) -> Rule:
    judged = _get(scores, "policy", "digest")
    other = _get(scores, "policy", "name") or "unknown"
    return _rule(
        "evidence_by_this_policy", "The evidence was judged by this policy", judged, judged == policy.digest,
        f"The verdicts were reached with the thresholds of the policy “{policy.name}”.",
        f"The verdicts were reached under another policy (“{other}”) than the one asked for (“{policy.name}”), or it "
        "was "
        "changed since. Evaluate again with this policy.",
    )


def _order_rule(scores: Mapping[str, Any]) -> Rule:
    disorder = _guarded(lambda: _disorder(scores))
    return _rule(
        "evidence_in_order", "The evidence does not contradict itself", disorder, not disorder,
        "The summary of the scores agrees with the verdict of each check.",
        f"The scores contradict themselves: {'; '.join(disorder)}. Evaluate again.",
    )


def _disorder(scores: Mapping[str, Any]) -> list[str]:
    """Where the summary of scores.json does not follow from its families."""
    families = _get(scores, "families")
    if not isinstance(families, Mapping):
        return ["there are no verdicts"]
    found = []
    verdicts = {name: _get(families, name, "verdict") for name in FAMILIES}
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


def _family_rules(scores: Mapping[str, Any], policy: Policy) -> list[Rule]:
    return [_family_rule(name, _get(scores, "families", name), name in policy.release.must_pass) for name in FAMILIES]


def _family_rule(name: str, found: Any, must_pass: bool) -> Rule:
    """`must_pass` families need a pass; the others must not fail. A missing verdict is no verdict."""
    verdict = found.get("verdict") if isinstance(found, Mapping) else None
    why = str(_get(found, "reason") or "no reason recorded").strip().rstrip(".")
    title = FAMILY_WORDS[name]
    title = title[0].upper() + title[1:]
    figure = {"verdict": verdict, "demanded": "pass" if must_pass else "not fail", **dict(_get(found, "figures") or {})}
    if verdict == "pass":
        return Rule(f"family:{name}", title, True, figure, f"Passed: {why}.")
    if verdict == "inconclusive" and not must_pass:
        return Rule(f"family:{name}", title, True, figure, f"Could not be concluded, which this policy allows: {why}.")
    stated = f"that {FAMILY_WORDS[name]} (check “{name}”)"
    if verdict == "inconclusive" and why == "not built yet":
        bad = f"Not checked by this version: {stated}."
    elif verdict == "inconclusive":
        bad = f"Not concluded: {stated}: {why}."
    elif verdict == "fail":
        bad = f"Failed to show {stated}: {why}."
    else:
        bad = f"No evidence: {stated}."
    return Rule(f"family:{name}", title, False, figure, bad)


def _cohort_rules(scores: Mapping[str, Any], synthetic: Cohort) -> list[Rule]:
    total = len(synthetic)
    real = sum(value is not False for value in synthetic.column("derived_from_real"))
    screened = synthetic.info.get("screened") is True and _get(scores, "synthetic", "screened") is True
    counted = _get(scores, "synthetic", "images")
    damage = _guarded(lambda: synthetic.verify())
    unlabeled = [name for name in synthetic.labels if any(value is None for value in synthetic.column(name))]
    odd = sum(PLAIN_ID.fullmatch(name) is None for name in synthetic.image_ids)
    twice = total - len({name.lower() for name in synthetic.image_ids})
    return [
        _rule(
            "origin_synthetic", "The cohort is synthetic", synthetic.origin, synthetic.origin == "synthetic",
            "The cohort says that its images were generated.", "The cohort does not say that its images were "
                                                               "generated.",
        ),
        _rule(
            "not_derived_from_real", "No image was made from a real one", real, real == 0,
            "No image was edited from a patient’s image.",
            f"{real} of {total} images were made from a patient’s image. They can’t be released.",
        ),
        _rule(
            "screened", "Copies were screened out before writing", screened, screened,
            "Each image was compared with the training images before it was written.",
            "The cohort was generated without the copy screen, or does not say that it was. Generate it with the "
            "screen.",
        ),
        _rule(
            "images_counted", "There are images, as many as were evaluated", total, total > 0 and counted == total,
            f"{total} images, all of them in the evidence.",
            f"The cohort has {total} images, the evidence is about {counted}.",
        ),
        _rule(
            "files_intact", "Every file is as it was written", damage, not damage,
            "Each file of the cohort has the digest that the cohort states.",
            f"The cohort is damaged or was changed: {'; '.join(damage[:5])}.",
        ),
        _rule(
            "labels_complete", "Every image has its labels", unlabeled, bool(synthetic.labels) and not unlabeled,
            f"Labels present on all images: {', '.join(synthetic.labels)}.",
            f"Images without a value in: {', '.join(unlabeled)}." if unlabeled else "The cohort has no labels.",
        ),
        _rule(
            "names_plain", "Image names are plain and unique", odd + twice, odd + twice == 0,
            "Names are letters, digits, dot, dash and underscore, none twice.",
            f"{odd} image names have other characters than letters, digits, dot, dash and underscore, or are too "
            f"long; {twice} "
            "occur twice.",
        ),
    ]


def _license_rule(config: ReleaseConfig) -> Rule:
    text = config.license.strip()
    return _rule(
        "license", "A license is stated", text, bool(text), f"The license is “{text}”.",
        "No license is stated. Say under which license the images may be used (release.license).",
    )


def _guarded(check: Callable[[], list[str]]) -> list[str]:
    """A check that breaks down is a problem found, never a pass."""
    try:
        return check()
    except Exception as error:
        return [f"it cannot be checked ({type(error).__name__})"]


def _get(mapping: Any, *keys: str) -> Any:
    """A nested value, None where anything on the way is missing or of another kind."""
    for key in keys:
        if not isinstance(mapping, Mapping):
            return None
        mapping = mapping.get(key)
    return mapping
