"""What is certain before there is any evidence: a release that is refused whatever the images are."""

from dataclasses import dataclass

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.core.policy import Policy, load_policy
from synthcohort.core.signing import fingerprint, load_private
from synthcohort.pages.pdf import check_pdf
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.credentials import check_credentials
from synthcohort.release.decision import STATEMENTS, may_be_overridden
from synthcohort.release.questions import read_answers
from synthcohort.release.request import Request
from synthcohort.release.rules import rule_names, stated_rules


@dataclass(frozen=True)
class Foreseen:
    """What a request leads to, as far as it is known before the work."""

    signer: str | None  # fingerprint of the key
    unsigned: Problem | None  # the policy asks for a signature, and nobody can give one
    unsaid: tuple[str, ...]  # what only a person can state and nobody has: reasons of the refusal
    vain: tuple[str, ...]  # written reasons that set nothing aside


def foresee(config: ReleaseConfig, request: Request) -> Foreseen:
    """Judges a request by what stands in it. Raises InputError or ConfigError for a policy, key or answers file that
    can't be read, for a written reason against no rule of the policy, and for what can't be made on this machine."""
    policy = load_policy(request.policy)
    check_names(config, policy)
    key = load_private(request.key) if request.key else None
    signer = fingerprint(key.public_key()) if key else None
    if config.pdf:
        check_pdf()
    check_credentials(config, key)
    answers = read_answers(request.answers) if request.answers else {}
    stated = {**answers, **{name: getattr(config, name) or answers.get(name, "") for name in STATEMENTS}}
    vain = [name for name in config.overrides if not may_be_overridden(name, policy)]
    unsigned = None
    if policy.release.must_be_signed and signer is None:
        unsigned = Problem(
            "key",
            f"none given, and the policy {policy.name!r} refuses scores without the owner’s signature",
            "an Ed25519 key of the owner",
            "make one with synthcohort keys --out owner.key and give --key owner.key, or choose the policy internal",
        )
    unsaid = tuple(rule.reason for rule in stated_rules(policy, stated) if not rule.passed)
    return Foreseen(
        signer, unsigned, tuple(dict.fromkeys(unsaid)),
        tuple(f"no written reason sets {name} aside under the policy {policy.name!r}" for name in vain),
    )  # fmt: skip


def check_names(config: ReleaseConfig, policy: Policy) -> None:
    """Raises ConfigError for a written reason against something that is no rule of the policy."""
    known = rule_names(policy)
    problems = [
        Problem(f"override {name}", f"is no rule of the policy {policy.name!r}", ", ".join(known))
        for name in config.overrides
        if name not in known
    ]
    if problems:
        raise ConfigError(*problems)
