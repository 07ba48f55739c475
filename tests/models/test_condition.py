"""The condition vocabulary and its embedding."""

import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import InputError
from synthcohort.models.condition import ConditionEmbedding, Vocabulary

GRADE = LabelColumn("grade", "ordinal", (0, 1, 2, 3, 4))
SITE = LabelColumn("site", "nominal", ("a", "b"))
AGE = LabelColumn("age_years", "continuous")


def vocabulary() -> Vocabulary:
    return Vocabulary.of([GRADE, SITE, AGE], {"age_years": [40.0, 60.0, None]})


def test_encoding_and_null() -> None:
    encoded = vocabulary().encode([{"grade": 3, "site": "b", "age_years": 60}, {"grade": "2"}, {}])
    assert encoded[0].tolist() == [3.0, 1.0, 1.0]
    assert float(encoded[1, 0]) == 2.0
    assert encoded[1, 1:].isnan().all()
    assert torch.equal(encoded[2:].isnan(), vocabulary().null(1).isnan())
    assert Vocabulary().encode([{}, {}]).shape == (2, 0)


def test_unknown_columns_and_values_are_named_together() -> None:
    with pytest.raises(InputError) as caught:
        vocabulary().check({"grade": 7, "colour": "red"})
    text = str(caught.value)
    assert "grade: unknown value 7" in text
    assert "0, 1, 2, 3, 4" in text
    assert "'colour'" in text
    assert "grade, site, age_years" in text


def test_mapping_round_trip() -> None:
    assert Vocabulary.from_mapping(vocabulary().to_mapping()) == vocabulary()


def test_embedding_keeps_conditions_apart_and_ordinal_steps_add_up() -> None:
    torch.manual_seed(0)
    embedding = ConditionEmbedding(Vocabulary.of([GRADE], {}), 16)
    conditions = torch.tensor([[0.0], [1.0], [4.0], [float("nan")]])
    vectors = embedding(conditions)
    assert torch.pdist(vectors).min() > 0.1
    steps = embedding.tables[0].weight
    torch.testing.assert_close(vectors[2], steps.sum(0))
    torch.testing.assert_close(vectors[1] - vectors[0], steps[1])
    torch.testing.assert_close(vectors[3], embedding.null[0])


def test_embedding_of_every_kind_has_gradients_and_is_finite_at_null() -> None:
    embedding = ConditionEmbedding(vocabulary(), 16)
    out = embedding(vocabulary().encode([{"grade": 1, "site": "a", "age_years": 50}, {}]))
    out.square().sum().backward()
    assert bool(out.isfinite().all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in embedding.parameters())
    assert ConditionEmbedding(Vocabulary(), 16)(torch.zeros(3, 0)).shape == (3, 16)
