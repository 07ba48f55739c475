"""Quotas: what is asked, what can be had, and what is said of the rest."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.generation.plan import plan_conditions
from synthcohort.generation.quotas import Quota, plan_quotas, read_quotas
from synthcohort.models.condition import TextSpec, Vocabulary

GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))
SEX = LabelColumn("sex", "nominal", ("F", "M"))
AGE = LabelColumn("age", "continuous")
WORDS = Vocabulary.of([GRADE, SEX, AGE], {"age": [50.0]}, {"sex": "attribute"}, TextSpec("toy", "sha256:0", 4, 4))
COUNTS: list[dict[str, Any]] = [
    {"condition": {"grade": 0, "sex": "F", "age": 50.0}, "count": 60},
    {"condition": {"grade": 0, "sex": "M", "age": 60.0}, "count": 30},
    {"condition": {"grade": 1, "sex": "F", "age": 70.0}, "count": 10},
]


def written(folder: Path, text: str) -> Path:
    (folder / "quotas.toml").write_text(text)
    return folder / "quotas.toml"


def test_quotas_are_read_and_crossed(tmp_path: Path) -> None:
    quotas = read_quotas(
        written(
            tmp_path,
            '[[quota]]\ncount = 3\nwhere = { grade = 1, sex = "F" }\n'
            '[[quota]]\ncount = 4\nprompt = "a knee"\nbalance = "sex"\n',
        )
    )
    assert quotas == [Quota(3, {"grade": 1, "sex": "F"}), Quota(4, {}, "a knee", "sex")]
    conditions, owners, unmet = plan_quotas(WORDS, COUNTS, quotas, 0)
    assert owners == [1] * 3 + [2] * 4
    assert not unmet
    assert all(c["grade"] == 1 and c["sex"] == "F" for c in conditions[:3])
    assert Counter(c["sex"] for c in conditions[3:]) == {"F": 2, "M": 2}
    assert all(c["prompt"] == "a knee" and "grade" not in c for c in conditions[3:])


def test_what_cannot_be_met_is_reported_and_nothing_else_suffers() -> None:
    quotas = [Quota(2, {"grade": 2}), Quota(5, {"grade": 0})]
    _, owners, unmet = plan_quotas(WORDS, COUNTS, quotas, 0)
    assert owners == [2] * 5
    assert [(item.quota, item.asked, item.planned) for item in unmet] == [(1, 2, 0)]
    assert "no training image has grade=2" in unmet[0].reason
    with pytest.raises(InputError, match="no training image"):
        plan_quotas(WORDS, COUNTS, quotas[:1], 0)


def test_wrong_quotas_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan_quotas(WORDS, COUNTS, [Quota(2, {"color": 1}), Quota(5, {"grade": 9})], 0)
    assert len(caught.value.problems) == 2
    assert "quota 1" in str(caught.value)
    for text, words in (
        ("count = 3", "a list of"),
        ("[[quota]]\ncount = 0", "1 or more"),
        ("[[quota]]\ncount = 1\nwhere = 4", "a table"),
        ("[[quota]]\ncount = 1\nwhen = 4", "unknown"),
        ("[[quota]]\nwhere = { a = 1 }", "count"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_quotas(written(tmp_path, text))


def test_a_number_may_be_any_and_a_prompt_leaves_the_rest_unsaid() -> None:
    conditions = plan_conditions(WORDS, COUNTS, 10, 0, where={"age": 63})
    assert {c["age"] for c in conditions} == {63.0}
    assert Counter(c["grade"] for c in conditions) == {0: 9, 1: 1}
    spoken = plan_conditions(WORDS, COUNTS, 4, 0, where={"sex": "M"}, prompt="a knee")
    assert spoken == [{"sex": "M", "prompt": "a knee"}] * 4
