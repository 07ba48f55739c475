import json
from dataclasses import replace

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import InputError
from synthcohort.core.files import digest_file, read_json, write_json
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.release import decide as plain_decide
from synthcohort.release.decision import Signature

HELD = Signature("", "ed25519:" + "ee" * 32)


def decide(scores, cohort, policy, config, **more):
    """The decision on scores whose signature holds."""
    return plain_decide(scores, cohort, policy, config, **{"signature": HELD, **more})


def broken(decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


def judge(scores, verdict: str, *families: str) -> None:
    """Gives families a verdict and keeps the summary in step."""
    for name in families:
        scores["families"][name] = {"verdict": verdict, "reason": "the reason stands here", "figures": {"value": 0.1}}
    verdicts = {name: scores["families"][name]["verdict"] for name in FAMILIES}
    scores["failed"] = [name for name in FAMILIES if verdicts[name] == "fail"]
    scores["inconclusive"] = [name for name in FAMILIES if verdicts[name] == "inconclusive"]
    scores["verdict"] = "fail" if scores["failed"] else "inconclusive" if scores["inconclusive"] else "pass"


def test_everything_in_order_is_released(scores, cohort, policy, config):
    decision = decide(scores, cohort, policy, config)
    assert decision.decision == "release"
    assert decision.reasons == []
    assert {f"family:{name}" for name in FAMILIES} <= {rule.name for rule in decision.rules}
    assert decision.questions == (), "all is stated"
    json.dumps(decision.to_mapping())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "perhaps", None])
def test_open_policy_demands_every_family(scores, cohort, policy, config, family, verdict):
    judge(scores, verdict, family)
    decision = decide(scores, cohort, policy, config)
    assert decision.decision == "refuse"
    assert f"family:{family}" in broken(decision)
    if verdict in ("fail", "inconclusive"):
        assert broken(decision) == {f"family:{family}"}
        assert "the reason stands here" in decision.reasons[0]


def test_internal_policy_allows_open_checks_but_no_failed_one(scores, cohort, config):
    internal = load_policy("internal")
    scores["policy"] = internal.summary()
    judge(scores, "inconclusive", "membership", "harm")
    assert decide(scores, cohort, internal, config).decision == "release"
    judge(scores, "inconclusive", "copies")
    assert broken(decide(scores, cohort, internal, config)) == {"family:copies"}
    judge(scores, "pass", "copies")
    judge(scores, "fail", "harm")
    assert broken(decide(scores, cohort, internal, config)) == {"family:harm"}


def test_missing_evidence_refuses(scores, cohort, policy, config):
    del scores["families"]["copies"]
    decision = decide(scores, cohort, policy, config)
    assert {"family:copies", "evidence_in_order"} <= broken(decision)
    assert decide({}, cohort, policy, config).decision == "refuse"
    nonsense = {"families": [], "scores": [3], "policy": 1, "synthetic": "x"}
    assert decide(nonsense, cohort, policy, config).decision == "refuse"


def test_evidence_of_another_cohort_refuses(scores, make_cohort, policy, config):
    decision = decide(scores, make_cohort(count=5), policy, config)
    assert broken(decision) == {"evidence_of_this_cohort", "images_counted"}


def test_other_thresholds_refuse(scores, cohort, policy, config):
    thresholds = replace(policy.thresholds, copies=replace(policy.thresholds.copies, detectable_rate=0.5))
    assert broken(decide(scores, cohort, replace(policy, thresholds=thresholds), config)) == {"evidence_by_this_policy"}


@pytest.mark.parametrize(
    ("key", "value"), [("verdict", "fail"), ("failed", ["copies"]), ("inconclusive", None), ("verdict", None)]
)
def test_evidence_that_contradicts_itself_refuses(scores, cohort, policy, config, key, value):
    scores[key] = value
    assert broken(decide(scores, cohort, policy, config)) == {"evidence_in_order"}


def test_an_interval_that_ends_before_it_begins_refuses(scores, cohort, policy, config):
    scores["scores"][0]["high"] = 0.1
    assert broken(decide(scores, cohort, policy, config)) == {"evidence_in_order"}


def test_a_verdict_turned_over_its_failed_score_refuses(scores, cohort, policy, config):
    scores["scores"][0].update(family="coverage", verdict="fail")
    assert broken(decide(scores, cohort, policy, config)) == {"evidence_in_order"}


def test_unscreened_cohort_refuses(scores, make_cohort, policy, config):
    cohort = make_cohort(screened=False)
    assert broken(decide(scores, cohort, policy, config)) == {"screened"}


def test_evidence_that_forgot_the_screen_refuses(scores, cohort, policy, config):
    scores["synthetic"]["screened"] = None
    assert broken(decide(scores, cohort, policy, config)) == {"screened"}


def test_real_cohort_refuses(scores, make_cohort, policy, config):
    cohort = make_cohort(origin="real")
    scores["synthetic"]["digest"] = cohort.digest
    assert broken(decide(scores, cohort, policy, config)) == {"origin_synthetic"}


def test_image_made_from_a_real_one_refuses(scores, make_cohort, policy, config):
    cohort = make_cohort(derived_from_real=True)
    scores["synthetic"]["digest"] = cohort.digest
    decision = decide(scores, cohort, policy, config)
    assert broken(decision) == {"not_derived_from_real"}
    assert "6 of 6" in decision.reasons[0]


def test_missing_label_refuses(scores, make_cohort, policy, config):
    cohort = make_cohort(kl_grade=None)
    scores["synthetic"]["digest"] = cohort.digest
    assert broken(decide(scores, cohort, policy, config)) == {"labels_complete"}


def test_missing_license_refuses(scores, cohort, policy, config):
    assert broken(decide(scores, cohort, policy, replace(config, license="  "))) == {"license"}


def test_a_name_that_is_a_path_refuses(scores, make_cohort, policy, config):
    cohort = make_cohort(count=1, image_id="../../outside")
    scores["synthetic"].update(digest=cohort.digest, images=1)
    assert broken(decide(scores, cohort, policy, config)) == {"names_plain"}


def test_changed_pixels_refuse(scores, cohort, policy, config):
    shard = cohort.path / "images" / "00000.npy"
    pixels = np.load(shard)
    pixels[0, 0, 0] ^= 1
    np.save(shard, pixels)
    assert broken(decide(scores, cohort, policy, config)) == {"files_intact"}


def test_changed_records_refuse_even_with_their_digest_mended(scores, cohort, policy, config):
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = cohort.path / "records.parquet"
    table = pq.read_table(records)
    grades = pa.array([2] * len(cohort), pa.int64())
    pq.write_table(table.set_column(table.schema.get_field_index("kl_grade"), "kl_grade", grades), records)
    info = read_json(cohort.path / "cohort.json")
    info["files"]["records.parquet"] = digest_file(records)
    write_json(cohort.path / "cohort.json", info)
    assert broken(decide(scores, Cohort.open(cohort.path), policy, config)) == {"files_intact"}


def test_what_nobody_stated_refuses_where_the_policy_asks_for_it(scores, cohort, policy, config):
    silent = replace(config, contact=" ", intended_use="")
    decision = decide(scores, cohort, policy, silent)
    assert broken(decision) == {"stated:contact", "stated:intended_use"}
    assert len(decision.questions) == 2, "what nobody stated stays visible"
    told = decide(scores, cohort, policy, silent, answers={"contact": "The desk.", "intended_use": "Research."})
    assert told.decision == "release"
    assert told.statement["contact"] == "The desk."


def test_every_rule_is_explained_in_words(scores, cohort, policy, config):
    for rule in decide(scores, cohort, policy, config).rules:
        assert rule.explanation.endswith((".", "!")), rule.name
        assert rule.title, rule.name


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"high": 0.03}, "0.02 is the most"),
        ({"low": None}, "no interval"),
        ({"high": float("nan")}, "no interval"),
        ({"high": True}, "no interval"),
        ({"low": -0.02, "high": 0.01}, "is the widest"),
    ],
)
def test_the_interval_is_judged_and_not_the_value(scores, cohort, policy, config, change, why):
    scores["scores"][1].update(change)
    decision = decide(scores, cohort, policy, config)
    assert "copy_rate_bounded" in broken(decision)
    rule = next(rule for rule in decision.rules if rule.name == "copy_rate_bounded")
    assert why in rule.reason
    assert rule.figure["value"] == 0.0, "the value itself is as good as it can be"


def test_an_interval_stands_in_the_rule(scores, cohort, policy, config):
    rules = {rule.name: rule for rule in decide(scores, cohort, policy, config).rules}
    assert rules["copy_rate_bounded"].interval == (0.0, 0.004)
    scores["families"]["copies"]["figures"] = {"rate": {"value": 0.0, "low": 0.0, "high": 0.01}}
    rules = {rule.name: rule for rule in decide(scores, cohort, policy, config).rules}
    assert rules["family:copies"].interval == (0.0, 0.01)


def test_a_figure_that_nobody_computed_refuses(scores, cohort, policy, config):
    del scores["scores"][2]
    assert broken(decide(scores, cohort, policy, config)) == {"copies_would_be_seen"}
    scores["scores"] = "none"
    assert {"copies_would_be_seen", "copy_rate_bounded"} <= broken(decide(scores, cohort, policy, config))


def test_a_cohort_that_does_not_say_what_drew_it_refuses(scores, cohort, policy, config):
    del scores["synthetic"]["provenance"]["model_digest"]
    decision = decide(scores, cohort, policy, config)
    assert broken(decision) == {"provenance_recorded"}
    assert "model_digest" in decision.reasons[0]


def test_scores_without_a_signature_or_with_another_refuse(scores, cohort, policy, config):
    assert broken(decide(scores, cohort, policy, config, signature=Signature())) == {"evidence_signed"}
    other = Signature("the signature is not that of this key over these bytes", "ed25519:ab")
    assert broken(decide(scores, cohort, policy, config, signature=other)) == {"evidence_signed"}
    internal = load_policy("internal")
    scores["policy"] = internal.summary()
    assert decide(scores, cohort, internal, config, signature=Signature()).decision == "release"
    assert broken(decide(scores, cohort, internal, config, signature=other)) == {"evidence_signed"}


REASON = "The partner tests this itself, see the contract."


def test_a_written_reason_sets_a_rule_aside_and_stays_visible(scores, cohort, policy, config):
    judge(scores, "inconclusive", "harm")
    decision = decide(scores, cohort, policy, config, overrides={"family:harm": REASON})
    assert decision.decision == "release"
    assert decision.overrides == {"family:harm": REASON}
    recorded = next(rule for rule in decision.to_mapping()["rules"] if rule["name"] == "family:harm")
    assert recorded["passed"] is False
    assert recorded["override"] == REASON


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("family:harm", "ok", "says nothing"),
        ("family:harm", "becauseIwantittobe", "says nothing"),
        ("family:coverage", REASON, "nothing to set aside"),
        ("family:magic", REASON, "is no rule"),
    ],
)
def test_an_override_that_says_nothing_is_an_error(scores, cohort, policy, config, name, reason, words):
    judge(scores, "inconclusive", "harm")
    with pytest.raises(InputError, match=words):
        decide(scores, cohort, policy, config, overrides={name: reason})


def test_privacy_and_facts_cannot_be_set_aside(scores, make_cohort, policy, config):
    cohort = make_cohort(derived_from_real=True)
    scores["synthetic"]["digest"] = cohort.digest
    judge(scores, "fail", "copies")
    decision = decide(
        scores, cohort, policy, config, overrides={"family:copies": REASON, "not_derived_from_real": REASON}
    )
    assert decision.decision == "refuse"
    assert broken(decision) == {"family:copies", "not_derived_from_real"}
    assert all("No written reason" in reason for reason in decision.reasons)


def test_one_evaluation_serves_policies_with_the_same_thresholds(scores, cohort, config):
    partner = load_policy("partner")
    judge(scores, "inconclusive", "subgroups")
    assert partner.thresholds == load_policy("open").thresholds
    assert decide(scores, cohort, partner, config).decision == "release"


def test_reasons_in_the_settings_count_where_a_rule_does_not_hold(scores, cohort, config):
    partner = load_policy("partner")
    scores["policy"] = partner.summary()
    reasons = {"family:harm": "The partner tests for this.", "family:coverage": "Not asked by the partner."}
    told = replace(config, overrides=reasons)
    assert decide(scores, cohort, partner, told).overrides == {}, "both hold: there is nothing to set aside"
    judge(scores, "fail", "harm")
    found = decide(scores, cohort, partner, told)
    assert (found.decision, found.overrides) == ("release", {"family:harm": reasons["family:harm"]})
    later = decide(scores, cohort, partner, told, overrides={"family:harm": "Another reason, written later."})
    assert later.overrides == {"family:harm": "Another reason, written later."}
    judge(scores, "fail", "copies")
    privacy = replace(config, overrides={"family:copies": "We see no problem here."})
    refused = decide(scores, cohort, partner, privacy)
    assert refused.decision == "refuse"
    assert any("No written reason sets this rule aside." in reason for reason in refused.reasons)
    with pytest.raises(InputError, match="is no rule of this decision"):
        decide(scores, cohort, partner, replace(config, overrides={"family:beauty": "They look very nice."}))
