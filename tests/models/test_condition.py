"""The condition vocabulary and its embedding."""

import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import InputError
from synthcohort.models.condition import AUGMENT_WIDTH, Condition, ConditionEmbedding, TextSpec, Vocabulary

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
    assert torch.equal(encoded[2:].isnan(), vocabulary().null(1).labels.isnan())
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
    vectors, context, mask = embedding(Condition(conditions))
    assert context is None
    assert mask is None
    assert torch.pdist(vectors).min() > 0.1
    steps = embedding.tables[0].weight
    torch.testing.assert_close(vectors[2], steps.sum(0))
    torch.testing.assert_close(vectors[1] - vectors[0], steps[1])
    torch.testing.assert_close(vectors[3], embedding.null[0])


def test_embedding_of_every_kind_has_gradients_and_is_finite_at_null() -> None:
    embedding = ConditionEmbedding(vocabulary(), 16)
    out, _, _ = embedding(Condition(vocabulary().encode([{"grade": 1, "site": "a", "age_years": 50}, {}])))
    out.square().sum().backward()
    assert bool(out.isfinite().all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in embedding.parameters())
    assert ConditionEmbedding(Vocabulary(), 16)(Condition(torch.zeros(3, 0)))[0].shape == (3, 16)


def with_text() -> Vocabulary:
    return Vocabulary.of([GRADE, SITE], {}, text=TextSpec("toy", "sha256:0", 6, 4), augmented=True)


def spoken() -> Condition:
    torch.manual_seed(1)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True], [False] * 4])
    return Condition(with_text().encode([{"grade": 1}, {"site": "a"}, {}]), torch.randn(3, 4, 6), mask)


def test_text_vocabulary_round_trip_and_prompts() -> None:
    words = with_text()
    assert Vocabulary.from_mapping(words.to_mapping()) == words
    assert words.check({"prompt": "a knee", "grade": "3"}) == {"prompt": "a knee", "grade": 3}
    with pytest.raises(InputError, match="trained without text"):
        vocabulary().check({"prompt": "a knee"})


def test_conditions_are_picked_joined_and_emptied() -> None:
    whole = spoken()
    again = Condition.cat([whole[:1], whole[torch.tensor([1, 2])]])
    torch.testing.assert_close(again.labels, whole.labels, equal_nan=True)
    torch.testing.assert_close(again.tokens, whole.tokens)
    assert whole.null().labels.isnan().all()
    assert not whole.null().mask.any()
    one = whole.without([0])
    assert one.labels[:, 0].isnan().all()
    assert torch.equal(one.labels[:, 1].isnan(), whole.labels[:, 1].isnan())
    assert torch.equal(one.mask, whole.mask)
    hidden = whole.hidden(
        torch.tensor([[True, False], [False, True], [False, False]]), torch.tensor([True, False, False])
    )
    assert hidden.labels.isnan().all()
    assert not hidden.mask[0].any()
    assert float(hidden.tokens[0].abs().sum()) == 0
    assert hidden.mask[1].all()
    null = with_text().null(2)
    assert null.tokens.shape == (2, 4, 6)
    assert len(whole.repeat(2)) == 6


def test_what_stands_behind_the_mask_does_not_matter() -> None:
    torch.manual_seed(0)
    embedding = ConditionEmbedding(with_text(), 16)
    condition = spoken()
    vector, context, mask = embedding(condition)
    assert context.shape == (3, 1 + 2 + 4, 16)
    assert mask[:, :3].all()
    assert torch.equal(mask[:, 3:], condition.mask)
    other = condition.tokens + 5.0 * ~condition.mask[:, :, None]
    again, _, _ = embedding(Condition(condition.labels, other, condition.mask))
    torch.testing.assert_close(again, vector)


def test_augmentation_moves_the_vector_and_zeros_do_not() -> None:
    embedding = ConditionEmbedding(with_text(), 16)
    plain = spoken()
    vector, _, _ = embedding(plain)
    zero = Condition(plain.labels, plain.tokens, plain.mask, torch.zeros(3, AUGMENT_WIDTH))
    torch.testing.assert_close(embedding(zero)[0], vector)
    ones = Condition(plain.labels, plain.tokens, plain.mask, torch.ones(3, AUGMENT_WIDTH))
    assert not torch.allclose(embedding(ones)[0], vector)
