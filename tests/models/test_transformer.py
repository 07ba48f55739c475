"""The transformer: shapes, what it depends on, its positions and its settings."""

import dataclasses

import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError
from synthcohort.models.condition import Condition, TextSpec, Vocabulary
from synthcohort.models.denoiser import Denoiser
from synthcohort.models.network import architecture_of, build_network
from synthcohort.models.transformer import Transformer, TransformerConfig, rotary, rotated

GRADES = [LabelColumn("grade", "ordinal", (0, 1, 2))]
VOCABULARY = Vocabulary.of(GRADES, {})
WITH_TEXT = Vocabulary.of(GRADES, {}, text=TextSpec("made up", "", width=12, length=5))
SMALL = TransformerConfig(patch=4, width=32, depth=2, head_width=16, embedding_width=16)


def grades(*values: float) -> Condition:
    return Condition(torch.tensor(values)[:, None])


def texts(count: int, seed: int = 0, said: int = 3) -> Condition:
    tokens = torch.randn(count, 5, 12, generator=torch.Generator().manual_seed(seed))
    return Condition(torch.zeros(count, 1), tokens, (torch.arange(5) < said).expand(count, 5))


def denoiser(
    channels: int = 1,
    size: tuple[int, ...] = (16, 24),
    precision: str = "float32",
    vocabulary: Vocabulary = WITH_TEXT,
    config: TransformerConfig = SMALL,
) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(Transformer(config, size, channels, vocabulary), 0.5, precision)  # type: ignore[arg-type]
    for parameter in model.parameters():  # the zero-initialized ends would hide what depends on what
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(16, 24), (8, 8, 12)])
def test_output_is_float32_of_the_input_shape(channels: int, precision: str, size: tuple[int, ...]) -> None:
    x = torch.randn(2, channels, *size)
    for vocabulary, condition in ((VOCABULARY, grades(0, 2)), (WITH_TEXT, texts(2))):
        out = denoiser(channels, size, precision, vocabulary)(x, torch.tensor([0.1, 2.0]), condition)
        assert out.shape == x.shape
        assert out.dtype == torch.float32
        assert bool(out.isfinite().all())


@pytest.mark.parametrize(("largest", "others"), [((16, 24), [(24, 16), (4, 48), (8, 8)]), ((8, 8, 12), [(4, 12, 8)])])
def test_any_size_of_the_same_dimensions_goes_through(largest: tuple[int, ...], others: list[tuple[int, ...]]) -> None:
    model = denoiser(size=largest)
    for size in others:
        assert model(torch.randn(1, 1, *size), torch.ones(1), texts(1)).shape == (1, 1, *size)


def test_output_depends_on_condition_text_and_the_whole_image() -> None:
    model, said = denoiser(), texts(1)
    x, sigma = torch.randn(1, 1, 16, 24), torch.ones(1)
    reference = model(x, sigma, said)
    assert said.tokens is not None
    assert not torch.equal(reference, model(x, sigma, dataclasses.replace(said, labels=torch.full((1, 1), 2.0))))
    assert not torch.equal(reference, model(x, sigma, said.null()))
    swapped, padded = said.tokens.clone(), said.tokens.clone()
    swapped[0, 0] += 1.0  # the same words by their mean, so only attention can tell
    swapped[0, 1] -= 1.0
    assert float((model(x, sigma, dataclasses.replace(said, tokens=swapped)) - reference).abs().max()) > 1e-5
    padded[0, 3:] = 9.0
    assert torch.equal(model(x, sigma, dataclasses.replace(said, tokens=padded)), reference)
    changed = x.clone()
    changed[0, 0, 0, 0] += 5
    assert float((model(changed, sigma, said) - reference)[0, 0, -1, -1]) != 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_row_does_not_depend_on_the_other_rows(precision: str) -> None:
    model = denoiser(precision=precision)
    x, sigma, one = torch.randn(4, 1, 16, 24), torch.tensor([0.1, 0.5, 2.0, 9.0]), texts(4)
    others = Condition.cat([one[:1], texts(3, seed=1, said=5)])
    changed = torch.cat([x[:1], torch.randn(3, 1, 16, 24)])
    assert torch.equal(model(x, sigma, one)[0], model(changed, torch.tensor([0.1, 4.0, 1.0, 0.2]), others)[0])


def test_fresh_network_is_the_linear_denoiser() -> None:
    torch.manual_seed(0)
    fresh = Denoiser(Transformer(SMALL, (16, 24), 1, WITH_TEXT), 0.5, "float32")
    x = torch.randn(2, 1, 16, 24)
    torch.testing.assert_close(fresh(x, torch.ones(2), texts(2)), x * 0.25 / 1.25)


def test_text_is_learned_from_the_start() -> None:
    """Two prompts ask for two gray levels: after a few steps each gets its own, and no prompt lies between."""
    torch.manual_seed(0)
    model = Denoiser(Transformer(SMALL, (8, 8), 1, WITH_TEXT), 0.5, "float32")
    prompts = Condition.cat([texts(1, seed=1), texts(1, seed=2), texts(1).null()])
    x = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    target = torch.tensor([0.5, -0.5, 0.0])[:, None, None, None].expand(3, 1, 8, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(60):
        loss = (model(x, torch.ones(3), prompts) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if step == 3:
            assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    bright, dark, silent = model(x, torch.ones(3), prompts).detach().mean((1, 2, 3)).tolist()
    assert bright > silent + 0.15
    assert silent > dark + 0.15


def test_recomputed_activations_give_the_same_gradients() -> None:
    x, condition, grads = torch.randn(2, 1, 16, 24), texts(2), []
    for recompute in (False, True):
        config = dataclasses.replace(SMALL, recompute=recompute, dropout=0.2)
        model = denoiser(config=config, precision="bfloat16").train().requires_grad_(True)
        torch.manual_seed(1)
        model(x, torch.ones(2), condition).square().sum().backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for kept, again in zip(*grads, strict=True):
        assert (kept is None and again is None) or torch.equal(kept, again)


@pytest.mark.parametrize("grid", [(3, 5), (2, 3, 4)])
@pytest.mark.parametrize("width", [8, 20, 64])
def test_rotated_products_depend_on_the_distance_alone(grid: tuple[int, ...], width: int) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, width)
    count = torch.Size(grid).numel()
    rotation = rotary(grid, width, torch.device("cpu"))
    products = rotated(q.expand(1, 1, count, width), rotation) @ rotated(
        k.expand(1, 1, count, width), rotation
    ).transpose(2, 3)
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid))
    by_distance: dict[tuple[int, ...], list[float]] = {}
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            by_distance.setdefault(tuple((a - b).tolist()), []).append(float(products[0, 0, i, j]))
    assert all(max(values) - min(values) < 1e-4 for values in by_distance.values())
    assert len({round(values[0], 4) for values in by_distance.values()}) == len(by_distance)


def test_built_by_the_type_of_its_settings() -> None:
    network = build_network(SMALL, (16, 24), 1, VOCABULARY)
    assert isinstance(network, Transformer)
    assert architecture_of(SMALL) == "transformer"


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError, match=r"train\.transformer\.patch") as caught:
        TransformerConfig(patch=3, width=100, depth=0, dropout=1.0)
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="multiples of 4"):
        Transformer(SMALL, (18, 16), 1, VOCABULARY)
