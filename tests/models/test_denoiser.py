"""The U-Net: shapes, what it depends on, that it is the function it always was, and its settings."""

import dataclasses

import pytest
import torch
from torch import Tensor

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError
from synthcohort.models.condition import Condition, TextSpec, Vocabulary
from synthcohort.models.denoiser import Denoiser, NetworkConfig, UNet

GRADES = [LabelColumn("grade", "ordinal", (0, 1, 2))]
VOCABULARY = Vocabulary.of(GRADES, {})
WITH_TEXT = Vocabulary.of(GRADES, {}, text=TextSpec("made up", "", width=12, length=5))
SMALL = NetworkConfig(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16
)


def grades(*values: float) -> Condition:
    return Condition(torch.tensor(values)[:, None])


def texts(count: int, seed: int = 0, said: int = 3) -> Condition:
    tokens = torch.randn(count, 5, 12, generator=torch.Generator().manual_seed(seed))
    return Condition(torch.zeros(count, 1), tokens, (torch.arange(5) < said).expand(count, 5))


def denoiser(
    channels: int = 1,
    size: tuple[int, ...] = (16, 24),
    precision: str = "float32",
    vocabulary: Vocabulary = VOCABULARY,
    config: NetworkConfig = SMALL,
) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(UNet(config, size, channels, vocabulary), 0.5, precision)  # type: ignore[arg-type]
    for parameter in model.parameters():  # the zero-initialized ends would hide what depends on what
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(16, 24), (8, 8, 12)])
def test_output_is_float32_of_the_input_shape(channels: int, precision: str, size: tuple[int, ...]) -> None:
    x = torch.randn(2, channels, *size)
    for vocabulary, condition in ((VOCABULARY, grades(0, 2)), (WITH_TEXT, texts(2))):
        model = denoiser(channels, size, precision, vocabulary)
        out = model(x, torch.tensor([0.1, 2.0]), condition)
        assert out.shape == x.shape
        assert out.dtype == torch.float32
        assert bool(out.isfinite().all())


@pytest.mark.parametrize(("largest", "others"), [((16, 24), [(24, 16), (4, 48), (8, 8)]), ((8, 8, 12), [(4, 12, 8)])])
def test_any_size_of_the_same_dimensions_goes_through(largest: tuple[int, ...], others: list[tuple[int, ...]]) -> None:
    model = denoiser(size=largest, vocabulary=WITH_TEXT)
    for size in others:
        assert model(torch.randn(1, 1, *size), torch.ones(1), texts(1)).shape == (1, 1, *size)


def test_function_is_the_one_of_the_first_models() -> None:
    """Numbers from the network before it knew text and volumes: parameters by name, and what comes out."""
    model = Denoiser(UNet(SMALL, (16, 24), 1, VOCABULARY), 0.5, "float32").requires_grad_(False)
    for name, parameter in model.named_parameters():
        phase = torch.arange(parameter.numel(), dtype=torch.float64) * 1.7 + sum(map(ord, name))
        parameter.copy_(0.3 * phase.sin().reshape(parameter.shape))
    x = (torch.arange(2 * 16 * 24, dtype=torch.float64) * 0.9).sin().float().reshape(2, 1, 16, 24)
    out = model(x, torch.tensor([0.2, 3.0]), grades(1.0, float("nan"))).flatten()[::97]
    before = [0.034246, -0.553811, -0.843294, -0.676241, -0.091768, -0.021707, -0.108874, -0.262684]
    torch.testing.assert_close(out, torch.tensor(before), atol=2e-5, rtol=0)


def test_precision_is_the_one_that_is_applied() -> None:
    seen = []
    model = denoiser(precision="bfloat16")
    model.network.stem.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    model(torch.zeros(1, 1, 16, 24), torch.ones(1), grades(0))
    model.precision = "float32"
    model(torch.zeros(1, 1, 16, 24), torch.ones(1), grades(0))
    assert seen == [torch.bfloat16, torch.float32]


def test_output_depends_on_condition_and_on_the_whole_image() -> None:
    model = denoiser()
    x, sigma = torch.randn(1, 1, 16, 24), torch.ones(1)
    reference = model(x, sigma, grades(0))
    assert not torch.equal(reference, model(x, sigma, grades(2)))
    assert not torch.equal(reference, model(x, sigma, VOCABULARY.null(1)))
    changed = x.clone()
    changed[0, 0, 0, 0] += 5
    assert float((model(changed, sigma, grades(0)) - reference)[0, 0, -1, -1]) != 0


def test_words_count_one_by_one_and_padding_does_not() -> None:
    model = denoiser(vocabulary=WITH_TEXT)
    x, sigma, said = torch.randn(1, 1, 16, 24), torch.ones(1), texts(1)
    assert said.tokens is not None
    reference = model(x, sigma, said)
    swapped = said.tokens.clone()  # the same words by their mean, so only cross-attention can tell
    swapped[0, 0] += 1.0
    swapped[0, 1] -= 1.0
    assert float((model(x, sigma, dataclasses.replace(said, tokens=swapped)) - reference).abs().max()) > 1e-5
    padded = said.tokens.clone()
    padded[0, 3:] = 9.0
    assert torch.equal(model(x, sigma, dataclasses.replace(said, tokens=padded)), reference)
    assert not torch.equal(model(x, sigma, said.null()), reference)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_row_does_not_depend_on_the_other_rows(precision: str) -> None:
    model = denoiser(vocabulary=WITH_TEXT, precision=precision)
    x, sigma = torch.randn(4, 1, 16, 24), torch.tensor([0.1, 0.5, 2.0, 9.0])
    one, other = texts(4), texts(4, seed=1, said=5)
    first = Condition.cat([one[:1], other[1:]])
    others = torch.cat([x[:1], torch.randn(3, 1, 16, 24)])
    assert torch.equal(
        model(x, sigma, one)[0], model(others, sigma.flip(0).index_fill(0, torch.tensor(0), 0.1), first)[0]
    )


def test_fresh_network_is_the_linear_denoiser() -> None:
    """Zero-initialized ends: training starts from the best answer that knows nothing."""
    torch.manual_seed(0)
    fresh = Denoiser(UNet(SMALL, (16, 24), 1, WITH_TEXT), 0.5, "float32")
    x = torch.randn(2, 1, 16, 24)
    torch.testing.assert_close(fresh(x, torch.ones(2), texts(2)), x * 0.25 / 1.25)


def fit(model: Denoiser, steps: int, x: Tensor, target: Tensor, condition: Condition) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = (model(x, torch.ones(len(x)), condition) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_text_is_learned_from_the_start() -> None:
    """Two prompts ask for two gray levels: after a few steps each gets its own, and no prompt lies between."""
    torch.manual_seed(0)
    model = Denoiser(UNet(SMALL, (8, 8), 1, WITH_TEXT), 0.5, "float32")
    prompts = Condition.cat([texts(1, seed=1), texts(1, seed=2), texts(1).null()])
    x = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    target = torch.tensor([0.5, -0.5, 0.0])[:, None, None, None].expand(3, 1, 8, 8)
    # the head first, then the ends of the branches, then what is in them
    for part in ("head", "1.2.out", "1.2.key_value"):
        fit(model, 1, x, target, prompts)
        grads = [p.grad for name, p in model.named_parameters() if part in name]
        assert grads
        assert all(grad is not None and float(grad.abs().max()) > 0 for grad in grads)
    fit(model, 60, x, target, prompts)
    bright, dark, silent = model(x, torch.ones(3), prompts).detach().mean((1, 2, 3)).tolist()
    assert bright > silent + 0.15
    assert silent > dark + 0.15


def test_recomputed_activations_give_the_same_gradients() -> None:
    x, condition = torch.randn(2, 1, 16, 24), texts(2)
    grads = []
    for recompute in (False, True):
        config = dataclasses.replace(SMALL, recompute=recompute, dropout=0.2)
        model = denoiser(vocabulary=WITH_TEXT, config=config, precision="bfloat16").train().requires_grad_(True)
        torch.manual_seed(1)
        model(x, torch.ones(2), condition).square().sum().backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for kept, again in zip(*grads, strict=True):
        assert (kept is None and again is None) or torch.equal(kept, again)


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkConfig(patch=3, encoder_blocks=(1,), attention_levels=(7,))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("size", [(18, 18), (16, 16, 2), (0, 16)])
def test_image_size_must_fit_the_levels(size: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiples of 4"):
        UNet(SMALL, size, 1, VOCABULARY)
