"""What is certain before any work: no key where the policy asks for one, and statements that nobody made."""

from dataclasses import replace
from pathlib import Path

import pytest

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.policy import load_policy
from synthcohort.core.signing import fingerprint, load_private
from synthcohort.release import Request, decide, foresee
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.rules import is_of_copies, is_stated, rule_names


def test_a_signed_and_stated_request_has_nothing_against_it(config, key) -> None:
    found = foresee(config, Request("open", key))
    assert found.unsigned is None
    assert found.unsaid == ()
    assert found.signer == fingerprint(load_private(key).public_key())


@pytest.mark.parametrize(("policy", "needs"), [("open", True), ("partner", True), ("internal", False)])
def test_the_levels_that_need_a_signature_say_how_to_get_one(config, policy: str, needs: bool) -> None:
    found = foresee(config, Request(policy))
    assert (found.unsigned is not None) == needs
    if found.unsigned:
        assert "synthcohort keys --out owner.key" in str(found.unsigned)
        assert repr(policy) in str(found.unsigned)


def test_statements_come_from_settings_or_answers(config, key, tmp_path: Path) -> None:
    silent = ReleaseConfig()
    said = " ".join(foresee(silent, Request("partner", key)).unsaid)
    assert "license" in said
    assert "contact" in said
    answers = tmp_path / "answers.toml"
    answers.write_text('contact = "The desk."\n')
    assert "contact" not in " ".join(foresee(silent, Request("partner", key, None, answers)).unsaid)
    answers.write_text("contact = \n")
    with pytest.raises(ConfigError):
        foresee(silent, Request("partner", key, None, answers))
    with pytest.raises(InputError, match="private key"):
        foresee(silent, Request("partner", tmp_path / "no.key"))
    assert foresee(replace(silent, license="CC0"), Request("internal")).unsaid == ()


def test_which_rules_new_images_can_change() -> None:
    policy = load_policy("open")
    rules = [asked.name for asked in policy.release.figures if is_of_copies(asked.name, policy)]
    assert rules == ["copy_rate_bounded"]
    assert is_of_copies("family:copies", policy)
    assert not is_of_copies("family:membership", policy)
    assert is_stated("license")
    assert is_stated("stated:contact")
    assert not is_stated("evidence_signed")


def test_written_reasons_are_looked_at_before_the_work(config, key) -> None:
    told = replace(config, overrides={"family:harm": "The partner tests for this."})
    assert foresee(told, Request("partner", key)).vain == ()
    for name in ("family:copies", "license"):
        (vain,) = foresee(replace(config, overrides={name: "We see no problem here."}), Request("partner", key)).vain
        assert f"no written reason sets {name} aside" in vain
    with pytest.raises(ConfigError, match="override family:beauty: is no rule of the policy 'partner'"):
        foresee(replace(config, overrides={"family:beauty": "They look very nice."}), Request("partner", key))
    with pytest.raises(ConfigError, match=r"release\.overrides\.family:harm: its reason says nothing"):
        replace(config, overrides={"family:harm": "because"})


def test_every_rule_of_a_decision_has_a_known_name(scores, cohort, config) -> None:
    for name in ("open", "partner", "internal"):
        policy = load_policy(name)
        assert {rule.name for rule in decide(scores, cohort, policy, config).rules} == set(rule_names(policy))
