"""What is recommended for how many images, how much time and which machine; reasons are said, wishes are heard."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.training.auto import FEW, PASSES, SIZES, Recommendation, choose


def chosen(**facts: Any) -> Recommendation:
    return choose(**{"images": 5_000, "channels": 1, "size": (512, 512), "minutes": 20, "cores": 2} | facts)


def test_enough_images_and_time_take_diffusion_at_a_size_that_time_allows() -> None:
    found = chosen()
    assert found.engine == "diffusion"
    assert found.size[0] == found.size[1] < 512
    assert found.images > 20_000
    assert any("largest that the time on 2 cores allows" in reason for reason in found.reasons)
    assert not found.warnings


def test_few_images_take_a_gan_and_few_passes_of_diffusion() -> None:
    found = chosen(images=FEW - 1, minutes=600)
    assert found.engine == "gan"
    assert "memorizes less" in found.reasons[0]
    assert "few" in found.warnings[-1]
    asked = chosen(images=FEW - 1, minutes=6_000, engine="diffusion", wanted=(64, 64))
    assert asked.images == PASSES["diffusion"] * (FEW - 1)
    assert asked.minutes < 6_000
    assert any("by heart" in reason for reason in asked.reasons)


def test_a_wish_overrules_and_is_said() -> None:
    found = chosen(engine="gan", wanted=(128, 96))
    assert (found.engine, found.size) == ("gan", (128, 96))
    assert sum("as asked" in reason for reason in found.reasons) == 2


def test_little_time_is_warned_of() -> None:
    found = chosen(minutes=1, cores=1)
    assert found.size == (64, 64)
    assert any("begin to look right" in text for text in found.warnings)


def test_a_gpu_and_more_time_allow_larger_images() -> None:
    assert chosen(cuda=True).size > chosen().size
    assert chosen(minutes=600).size > chosen().size


def test_images_keep_their_size_and_aspect() -> None:
    assert chosen(size=(48, 48), minutes=100).size == (48, 48)
    assert chosen(size=(100, 100), minutes=100).size == (96, 96)
    rows, columns = chosen(size=(200, 400), minutes=600).size
    assert columns == pytest.approx(2 * rows, abs=8)


@settings(max_examples=200, deadline=None)
@given(
    images=st.integers(100, 10**6), minutes=st.floats(0.1, 10_000), cores=st.integers(1, 64), cuda=st.booleans(),
    rows=st.integers(16, 3_000), columns=st.integers(16, 3_000), channels=st.sampled_from([1, 3]),
)  # fmt: skip
def test_every_recommendation_can_be_kept(
    images: int, minutes: float, cores: int, cuda: bool, rows: int, columns: int, channels: int
) -> None:
    facts = {"images": images, "channels": channels, "size": (rows, columns), "cores": cores, "cuda": cuda}
    found = choose(minutes=minutes, **facts)
    assert min(found.size) >= 8
    assert max(found.size) <= max(SIZES)
    assert all(side % 8 == 0 for side in found.size)
    assert 1 <= found.images <= PASSES[found.engine] * images
    assert found.minutes <= round(minutes, 1)
    assert found.reasons
    longer = choose(minutes=2 * minutes, engine=found.engine, **facts)
    assert longer.size[0] * longer.size[1] >= found.size[0] * found.size[1] or longer.size == found.size


def test_facts_that_make_no_sense() -> None:
    with pytest.raises(ConfigError) as error:
        chosen(minutes=0, cores=0, channels=2)
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="100 or more"):
        chosen(images=20)
