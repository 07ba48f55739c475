"""Changes of images that the network is told of: nothing is done unasked, and what is done is what is said."""

import math

import pytest
import torch
from torch import Tensor

from synthcohort.models.condition import AUGMENT_WIDTH
from synthcohort.training.augment import (
    DEGREES,
    DOWN,
    GAIN,
    LIGHT,
    MIRROR,
    RIGHT,
    SCALE,
    SHIFT,
    SIZE,
    STRETCH,
    STRETCH_COS,
    STRETCH_SIN,
    TURN,
    change,
    draw_changes,
)

SIDE = 64


def spot(x: float, y: float, side: int = SIDE, wide: float = 2.0) -> Tensor:
    """A soft bright spot on black, `x` pixels right and `y` pixels below the middle: [1, 1, H, W] in [-1, 1]."""
    axis = torch.arange(side) + 0.5 - side / 2
    square = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    return (2 * torch.exp(-square / (2 * wide**2)) - 1)[None, None]


def center(image: Tensor) -> tuple[float, float]:
    """Where the spot is, as `spot` takes it."""
    weight = (image[0, 0] + 1).clamp(min=0.05) - 0.05
    axis = torch.arange(image.shape[-1]) + 0.5 - image.shape[-1] / 2
    return float((weight.sum(0) * axis).sum() / weight.sum()), float((weight.sum(1) * axis).sum() / weight.sum())


def said(**parts: float) -> Tensor:
    changes = torch.zeros(1, AUGMENT_WIDTH)
    for name, value in parts.items():
        changes[0, globals()[name]] = value
    return changes


def test_nothing_asked_is_nothing_done_bit_by_bit() -> None:
    images = torch.rand(6, 3, 20, 28) * 2 - 1
    changes = draw_changes(6, 0.0, True, torch.Generator().manual_seed(0))
    assert torch.equal(changes, torch.zeros(6, AUGMENT_WIDTH))
    assert torch.equal(change(images, changes), images)
    changes[2, TURN] = 1.0  # the others stay, also beside one that is turned
    changed = change(images, changes)
    assert [torch.equal(a, b) for a, b in zip(changed, images, strict=True)] == [True, True, False, True, True, True]


def test_each_number_does_what_it_says() -> None:
    x, y = 14.0, 6.0
    image = spot(x, y)
    turn = math.radians(DEGREES)
    scale, stretch = 2**SCALE, 2**STRETCH
    diagonal = (stretch + 1 / stretch) / 2, (stretch - 1 / stretch) / 2
    expected = {
        "MIRROR": (-x, y),
        "SIZE": (x * scale, y * scale),
        "STRETCH_COS": (x * stretch, y / stretch),
        "STRETCH_SIN": (x * diagonal[0] + y * diagonal[1], x * diagonal[1] + y * diagonal[0]),
        "TURN": (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)),
        "RIGHT": (x + SHIFT * SIDE, y),
        "DOWN": (x, y + SHIFT * SIDE),
    }
    for name, where in expected.items():
        assert center(change(image, said(**{name: 1.0}))) == pytest.approx(where, abs=0.15), name
    brighter = change(image, said(LIGHT=1.0))
    torch.testing.assert_close(brighter + 1, (image + 1) * 2**GAIN)
    assert float(brighter.min()) == pytest.approx(-1.0, abs=1e-6)  # black stays black


def test_turns_do_not_shear_images_that_are_not_square() -> None:
    wide = torch.full((1, 1, 32, 96), -1.0)
    wide[:, :, :, 32:64] = spot(6.0, 0.0, side=32)
    turn = math.radians(2 * DEGREES)
    turned = change(wide, said(TURN=2.0))[:, :, :, 32:64]
    assert center(turned) == pytest.approx((6 * math.cos(turn), 6 * math.sin(turn)), abs=0.15)


def test_slices_of_a_volume_move_alike() -> None:
    volume = torch.stack([spot(10.0, 0.0)] * 2, dim=2)
    moved = change(volume, said(RIGHT=1.0, TURN=-1.0))
    assert torch.equal(moved[:, :, 0], moved[:, :, 1])
    assert torch.equal(moved[:, :, 0], change(spot(10.0, 0.0), said(RIGHT=1.0, TURN=-1.0)))


def test_a_change_and_its_opposite_give_the_image_back() -> None:
    image = spot(8.0, -5.0, wide=5.0)
    for name in ("TURN", "RIGHT", "SIZE", "STRETCH_COS", "STRETCH_SIN"):
        back = change(change(image, said(**{name: 1.5})), said(**{name: -1.5}))
        assert float((back - image).abs()[..., 8:-8, 8:-8].max()) < 0.03, name


def test_the_probability_holds_for_each_change_and_numbers_stay_small() -> None:
    changes = draw_changes(20_000, 0.3, True, torch.Generator().manual_seed(1))
    for part in (SIZE, STRETCH_COS, STRETCH_SIN, TURN, RIGHT, DOWN, LIGHT):
        assert float((changes[:, part] != 0).float().mean()) == pytest.approx(0.3, abs=0.015)
    assert float(changes[:, MIRROR].mean()) == pytest.approx(0.15, abs=0.012)  # half of those chosen
    assert float(changes.abs().max()) <= 2.0
    assert torch.equal(changes[:, RIGHT] != 0, changes[:, DOWN] != 0)
    assert not draw_changes(500, 1.0, False, torch.Generator().manual_seed(1))[:, MIRROR].any()


def test_draws_are_the_generators() -> None:
    first, again = (draw_changes(50, 0.5, True, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
