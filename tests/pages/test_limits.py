import pytest

from synthcohort.core.config import to_mapping
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.pages.limits import ASKS, HELD, limit_of, policy_rows, thresholds_of

POLICY = {
    "thresholds": {"image_damage": {"max_shift": 0.2, "max_damaged_share": 0.05}, "coverage": {"min_ratio": 0.7}},
    "release": {"figures": [{"name": "copies_would_be_seen", "score": "copy_sensitivity", "subset": None,
                             "at_least": 0.8, "at_most": None, "widest": None, "why": "An audit must see."}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "family", "key", "value", "text"),
    [
        ("damage_shift_blur", "image_damage", "image_damage.max_shift", 0.7, "at most 0.7"),
        ("damaged_share", "image_damage", "image_damage.max_damaged_share", None, "at most 0.05 above real images"),
        ("coverage_ratio", "coverage", "coverage.min_ratio", 0.7, "at least 0.7"),
        ("copy_sensitivity", "copies", "release.copies_would_be_seen", 0.8, "at least 0.8"),
    ],
)
def test_a_figure_is_held_against_its_line(name, family, key, value, text):
    limit = limit_of({"name": name, "family": family, "subset": None}, POLICY)
    assert (limit.key, limit.value, limit.text) == (key, value, text)


@pytest.mark.parametrize(
    ("name", "family", "subset"),
    [("damaged_share", "subgroups", None), ("frechet_distance", None, None), ("copy_sensitivity", "copies", "sex=F")],
)
def test_a_figure_of_no_line_has_none(name, family, subset):
    assert limit_of({"name": name, "family": family, "subset": subset}, POLICY) is None
    assert limit_of({"name": "coverage_ratio", "family": "coverage", "subset": None}, None) is None


def test_every_threshold_of_a_real_policy_is_explained_and_every_rule_names_one():
    thresholds = to_mapping(load_policy("open").thresholds)
    known = {f"{family}.{key}" for family, found in thresholds.items() for key in found}
    assert known == set(ASKS)
    assert {f"{held.family}.{held.key}" for held in HELD} <= known


def test_rows_name_number_and_meaning():
    rows = policy_rows(POLICY, FAMILIES)
    assert ("coverage.min_ratio", "0.7", ASKS["coverage.min_ratio"]) in rows
    assert rows[-1] == (
        "release.copies_would_be_seen",
        "at least 0.8",
        "An audit must see. (Figure: copy_sensitivity.)",
    )
    assert policy_rows(None, FAMILIES) == []
    assert thresholds_of(POLICY, "coverage") == [("min_ratio", "0.7")]
