"""The decision: named rules over evidence, cohort, provenance and statements. One that does not hold refuses.

Rules stand in `rules`; here they are put together, and a person's written reason may set one aside where the policy
allows that. It stays visible: in the decision, in the bundle's documents, and for whoever verifies the bundle.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError, Problem
from synthcohort.core.files import digest_json
from synthcohort.core.policy import Policy
from synthcohort.release import rules as judge
from synthcohort.release.config import ReleaseConfig, says_nothing
from synthcohort.release.rules import Rule

FORMAT, VERSION = "decision", 2
SCORES_FORMAT, SCORES_VERSION = "scores", 1
STATEMENTS = ("license", "intended_use", "not_intended_for", "contact")

QUESTIONS = {
    "intended_use": "What are the images meant to be used for? (release.intended_use)",
    "not_intended_for": "What must they not be used for? (release.not_intended_for)",
    "contact": "Who answers questions about them? (release.contact)",
}


@dataclass(frozen=True)
class Signature:
    """What is known of the signature on the scores: `problem` is empty when it holds, None when there is none."""

    problem: str | None = None
    signer: str | None = None  # fingerprint of the key


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
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """Why not: one sentence for each rule that does not hold."""
        return [rule.reason for rule in self.rules if not rule.holds]

    @property
    def overrides(self) -> dict[str, str]:
        """Rules that were set aside, with the written reason."""
        return {rule.name: rule.override for rule in self.rules if rule.override is not None}

    def to_mapping(self) -> dict[str, Any]:
        """What decision.json holds (docs/formats.md)."""
        return {
            "decision": self.decision,
            "rules": [asdict(rule) for rule in self.rules],
            "reasons": self.reasons,
            "overrides": self.overrides,
            "policy": dict(self.policy),
            "statement": dict(self.statement),
            "answers": dict(self.answers),
            "questions": list(self.questions),
            "scores_digest": self.scores_digest,
            "synthetic_digest": self.synthetic_digest,
        }


def decide(
    scores: Mapping[str, Any],
    synthetic: Cohort,
    policy: Policy,
    config: ReleaseConfig,
    *,
    signature: Signature | None = None,
    overrides: Mapping[str, str] | None = None,
    answers: Mapping[str, str] | None = None,
) -> Decision:
    """Judges a cohort and its evidence by the policy's rules. Reads every file of the cohort once (digests).

    `overrides` answer a refusal; release.overrides were written before, and those of rules that hold are not used.
    Raises InputError for an override of a rule that is unknown or holds anyway, or whose reason says nothing.
    """
    answers = {name: text.strip() for name, text in (answers or {}).items() if text.strip()}
    statement = {name: getattr(config, name).strip() or answers.get(name, "") for name in STATEMENTS}
    signed = signature or Signature()
    evidence = judge.evidence_rules(scores, policy, {**answers, **statement})
    cohort = judge.cohort_rules(scores, synthetic)
    seal = judge.signature_rule(signed.problem, signed.signer, policy.release.must_be_signed)
    found = [cohort[0], *evidence[:2], seal, *evidence[2:-1], *cohort[1:], evidence[-1]]
    holding = {rule.name for rule in found if rule.passed}
    before = {name: reason for name, reason in config.overrides.items() if name not in holding}
    ruled = set_aside(found, {**before, **(overrides or {})}, policy)
    return Decision(
        decision="release" if all(rule.holds for rule in ruled) else "refuse",
        rules=tuple(ruled),
        policy={"name": policy.name, "digest": policy.digest, "purpose": policy.purpose},
        statement=statement,
        questions=tuple(text for key, text in QUESTIONS.items() if not statement[key]),
        scores_digest=digest_of_scores(scores),
        synthetic_digest=synthetic.digest,
        answers=answers,
    )


def set_aside(found: list[Rule], overrides: Mapping[str, str], policy: Policy) -> list[Rule]:
    """Rules with the written reasons that set some aside. A reason for a rule that nothing sets aside changes nothing.

    Raises InputError for a rule that is not there or holds, and for a reason that says nothing.
    """
    broken = {rule.name for rule in found if not rule.passed}
    problems = []
    for name, reason in overrides.items():
        if name not in broken:
            holds = any(rule.name == name for rule in found)
            what = "holds: there is nothing to set aside" if holds else "is no rule of this decision"
            problems.append(Problem(f"--override {name}", what, ", ".join(sorted(broken)) or "none: every rule holds"))
        elif says_nothing(reason):
            problems.append(Problem(f"--override {name}", "its reason says nothing", "a sentence that others can read"))
    if problems:
        raise InputError(*problems)
    return [_with(rule, overrides, policy) for rule in found]


def _with(rule: Rule, overrides: Mapping[str, str], policy: Policy) -> Rule:
    if rule.passed or rule.name not in overrides:
        return rule
    if not may_be_overridden(rule.name, policy):
        return replace(rule, reason=f"{rule.reason} No written reason sets this rule aside.")
    return replace(rule, override=overrides[rule.name].strip())


def may_be_overridden(name: str, policy: Policy) -> bool:
    """Whether a written reason counts: never against facts about the data, nor where the policy says so."""
    return name not in judge.NEVER_OVERRIDE and name not in policy.release.never_override


def digest_of_scores(scores: Mapping[str, Any]) -> str:
    """Digest of the content of scores.json, whatever its layout."""
    return digest_json(scores)


def about(scores: Mapping[str, Any]) -> Any:
    """The digest of the cohort that the scores are about."""
    return judge.get(scores, "synthetic", "digest")


def problems_again(made: Mapping[str, Any], scores: Mapping[str, Any], policy: Policy) -> list[str]:
    """What a receiver finds who repeats the decision from scores, policy and statements; empty when it follows."""
    stated = {**(judge.get(made, "answers") or {}), **(judge.get(made, "statement") or {})}
    recorded = {item.get("name"): item for item in made.get("rules") or [] if isinstance(item, Mapping)}
    overrides = judge.get(made, "overrides") or {}
    problems = []
    for rule in judge.evidence_rules(scores, policy, stated):
        before = recorded.get(rule.name)
        reason = overrides.get(rule.name)
        if before is None or before.get("passed") is not rule.passed or before.get("override") != reason:
            problems.append(f"the rule {rule.name!r} was recorded otherwise than it is found")
        if not rule.passed and not (reason and may_be_overridden(rule.name, policy)):
            problems.append(f"does not follow from scores.json and policy.toml: {rule.reason}")
    for name, item in recorded.items():
        if item.get("passed") is not True and not (
            isinstance(overrides.get(name), str) and may_be_overridden(str(name), policy)
        ):
            problems.append(f"the rule {name!r} does not hold and nothing sets it aside")
    if made.get("policy", {}).get("digest") != policy.digest:
        problems.append("was made under another policy than policy.toml")
    return problems
