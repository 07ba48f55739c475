"""Starting from a trained model: what both know gives the same images, what is new starts fresh."""

from dataclasses import replace

import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError
from synthcohort.models.checkpoint import ImageSpec, ModelSpec
from synthcohort.models.condition import IMAGE_TYPE, Condition, TextSpec, Vocabulary
from synthcohort.models.denoiser import NetworkConfig
from synthcohort.models.transfer import start_weights

NETWORK = NetworkConfig(
    channels=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=32
)
GRADE = LabelColumn("grade", "ordinal", (0, 1, 2))
SITE = LabelColumn("site", "nominal", ("a", "b"))
AGE = LabelColumn("age", "continuous")
TEXT = TextSpec("toy", "sha256:0", 6, 4)


def spec(channels: int, labels: list[LabelColumn], size: int = 16, text: TextSpec | None = TEXT) -> ModelSpec:
    image = ImageSpec(rows=size, columns=size, channels=channels, dtype="uint8", low=0, high=255)
    roles = {IMAGE_TYPE: "type"}
    return ModelSpec(NETWORK, (image,), Vocabulary.of(labels, {"age": [40, 60]}, roles, text), 0.5, "float32")


def trained(old: ModelSpec) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: value + 0.1 * torch.randn(value.shape) for name, value in old.build().state_dict().items()}


def test_known_conditions_give_the_same_and_gray_becomes_color() -> None:
    old = spec(1, [GRADE, AGE])
    kind = LabelColumn(IMAGE_TYPE, "nominal", ("x", "y"))
    new = spec(3, [kind, AGE, SITE, replace(GRADE, values=(0, 1, 2, 3))])
    weights = trained(old)
    before, after = old.build(), new.build()
    before.load_state_dict(weights)
    after.load_state_dict(start_weights(weights, old, new, 0))
    with torch.no_grad():  # the new columns' nulls are new: without them, the sums are the same
        for i in (0, 2):
            after.network.condition_embedding.null[i] = 0
    torch.manual_seed(0)
    x, sigma = torch.randn(2, 1, 16, 16), torch.tensor([0.3, 2.0])
    text = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    nan = float("nan")
    vector = before.network.condition_embedding(Condition(torch.tensor([[1.0, 0.5], [2.0, nan]]), *text))[0]
    labels = torch.tensor([[nan, 0.5, nan, 1.0], [nan, nan, nan, 2.0]])
    again = after.network.condition_embedding(Condition(labels, *text))[0]
    torch.testing.assert_close(again, vector)
    stem = before.network.stem(torch.nn.functional.pixel_unshuffle(x, 2))
    color = after.network.stem(torch.nn.functional.pixel_unshuffle(x.expand(-1, 3, -1, -1), 2))
    torch.testing.assert_close(color, stem)
    h = torch.randn(2, 16, 8, 8)
    gray = torch.nn.functional.pixel_shuffle(before.network.head(h), 2)
    shown = torch.nn.functional.pixel_shuffle(after.network.head(h), 2)
    torch.testing.assert_close(shown, gray.expand(-1, 3, -1, -1))
    back = spec(1, [GRADE, AGE])
    down = back.build()
    down.load_state_dict(start_weights(after.state_dict(), new, back, 0))
    torch.testing.assert_close(down.network.stem.weight, before.network.stem.weight)
    assert down(x, sigma, Condition(torch.zeros(2, 2), *text)).shape == x.shape


def test_fresh_parts_come_from_the_seed_and_sizes_are_interpolated() -> None:
    old, new = spec(1, [GRADE]), spec(1, [GRADE, SITE], size=32)
    weights = trained(old)
    first, again, other = (start_weights(weights, old, new, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "network.condition_embedding.tables.1.weight"
    assert not torch.equal(first[name], other[name])
    (position,) = [name for name in first if name.endswith("encoder.1.1.position")]
    assert first[position].shape[2:] == (8, 8)
    torch.testing.assert_close(first[position].mean(), weights[position].mean(), atol=0.02, rtol=0.1)


def test_other_networks_and_other_text_are_refused() -> None:
    old = spec(1, [GRADE])
    wider = replace(old, network=replace(NETWORK, channels=(16, 48)))
    with pytest.raises(ConfigError, match=r"train\.network"):
        start_weights(trained(old), old, wider, 0)
    with pytest.raises(ConfigError, match=r"train\.text"):
        start_weights(trained(old), old, spec(1, [GRADE], text=None), 0)
