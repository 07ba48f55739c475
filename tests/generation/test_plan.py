"""Which labels are asked for."""

from collections import Counter
from typing import Any

import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import InputError
from synthcohort.generation.plan import plan_conditions
from synthcohort.models.condition import Vocabulary

VOCABULARY = Vocabulary.of(
    [
        LabelColumn("grade", "ordinal", (0, 1, 2)),
        LabelColumn("site", "nominal", ("a", "b")),
        LabelColumn("age", "continuous"),
    ],
    {"age": [50.0]},
)
COUNTS = [
    {"condition": {"grade": 0, "site": "a", "age": 50.0}, "count": 50},
    {"condition": {"grade": 1, "site": "a", "age": 60.0}, "count": 30},
    {"condition": {"grade": 1, "site": "b", "age": 70.0}, "count": 15},
    {"condition": {"grade": 2, "site": "b", "age": None}, "count": 5},
]


def plan(count: int, **options: Any) -> list[dict[str, Any]]:
    return plan_conditions(VOCABULARY, COUNTS, count, options.pop("seed", 0), **options)


def grades(conditions: list[dict[str, Any]]) -> dict[int, int]:
    return dict(Counter(condition["grade"] for condition in conditions))


def test_training_proportions_are_met_to_within_one() -> None:
    assert grades(plan(1000)) == {0: 500, 1: 450, 2: 50}
    for count in (1, 7, 33):
        found = grades(plan(count))
        assert sum(found.values()) == count
        assert all(abs(found.get(g, 0) - share * count) <= 1 for g, share in ((0, 0.5), (1, 0.45), (2, 0.05)))


def test_order_is_mixed_and_depends_on_the_seed_alone() -> None:
    assert plan(40) == plan(40)
    assert plan(40, seed=1) != plan(40)
    assert len({condition["grade"] for condition in plan(40)[:12]}) > 1


def test_where_fixes_and_keeps_the_other_columns_real() -> None:
    conditions = plan(30, where={"grade": "1"})
    assert grades(conditions) == {1: 30}
    assert Counter(c["site"] for c in conditions) == {"a": 20, "b": 10}


def test_balance_gives_every_value_the_same_share() -> None:
    assert grades(plan(30, balance="grade")) == {0: 10, 1: 10, 2: 10}
    assert Counter(c["grade"] for c in plan(20, balance="grade", where={"site": "b"})) == {1: 10, 2: 10}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": {"grade": 9}}, "0, 1, 2"),
        ({"where": {"color": "red"}}, "grade, site, age"),
        ({"where": {"grade": 0, "site": "b"}}, "no training image has"),
        ({"balance": "age"}, "grade, site"),
        ({"balance": "grade", "where": {"grade": 1}}, "one of the two"),
    ],
)
def test_what_cannot_be_asked_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan(10, **options)


def test_no_images_is_refused() -> None:
    with pytest.raises(InputError, match="1 or more"):
        plan(0)


def test_generator_without_labels() -> None:
    assert plan_conditions(Vocabulary(), [{"condition": {}, "count": 9}], 3, 0) == [{}, {}, {}]
