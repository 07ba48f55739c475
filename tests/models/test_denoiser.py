"""The denoiser: shapes, what it depends on, and its settings."""

import pytest
import torch

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ConfigError
from synthcohort.models.condition import Vocabulary
from synthcohort.models.denoiser import Denoiser, NetworkConfig, UNet

VOCABULARY = Vocabulary.of([LabelColumn("grade", "ordinal", (0, 1, 2))], {})
SMALL = NetworkConfig(
    channels=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), attention_levels=(1,), embedding_width=16
)


def denoiser(channels: int = 1, rows: int = 16, columns: int = 24, precision: str = "float32") -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(UNet(SMALL, rows, columns, channels, VOCABULARY), 0.5, precision)  # type: ignore[arg-type]
    for parameter in model.parameters():  # the zero-initialized ends would hide what depends on what
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_output_is_float32_of_the_input_shape(channels: int, precision: str) -> None:
    x = torch.randn(2, channels, 16, 24)
    out = denoiser(channels, precision=precision)(x, torch.tensor([0.1, 2.0]), torch.tensor([[0.0], [2.0]]))
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())


def test_precision_is_the_one_that_is_applied() -> None:
    seen = []
    model = denoiser(precision="bfloat16")
    model.network.stem.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    model(torch.zeros(1, 1, 16, 24), torch.ones(1), torch.zeros(1, 1))
    model.precision = "float32"
    model(torch.zeros(1, 1, 16, 24), torch.ones(1), torch.zeros(1, 1))
    assert seen == [torch.bfloat16, torch.float32]


def test_output_depends_on_condition_and_on_the_whole_image() -> None:
    model = denoiser()
    x = torch.randn(1, 1, 16, 24)
    sigma = torch.ones(1)
    reference = model(x, sigma, torch.zeros(1, 1))
    assert not torch.equal(reference, model(x, sigma, torch.full((1, 1), 2.0)))
    assert not torch.equal(reference, model(x, sigma, VOCABULARY.null(1)))
    changed = x.clone()
    changed[0, 0, 0, 0] += 5
    assert float((model(changed, sigma, torch.zeros(1, 1)) - reference)[0, 0, -1, -1]) != 0


def test_fresh_network_is_the_linear_denoiser() -> None:
    """Zero-initialized ends: training starts from the best answer that knows nothing."""
    torch.manual_seed(0)
    fresh = Denoiser(UNet(SMALL, 16, 24, 1, VOCABULARY), 0.5, "float32")
    x = torch.randn(2, 1, 16, 24)
    torch.testing.assert_close(fresh(x, torch.ones(2), torch.zeros(2, 1)), x * 0.25 / 1.25)


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkConfig(patch=3, encoder_blocks=(1,), attention_levels=(7,))
    assert len(caught.value.problems) == 3


def test_image_size_must_fit_the_levels() -> None:
    with pytest.raises(ConfigError, match="multiples of 4"):
        UNet(SMALL, 18, 18, 1, VOCABULARY)
