import json
from dataclasses import replace

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_file, read_json, write_json
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.release import decide


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
    assert len(decision.questions) == 2, "what nobody stated stays visible"
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
