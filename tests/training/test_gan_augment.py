"""Augmentation for discriminators: exact moves, gradients, and that what it does to a distribution can be undone."""

import math

import numpy as np
import pytest
import torch

from synthcohort.training.gan_augment import (
    CUT_DOWN,
    CUT_OUT,
    CUT_RIGHT,
    DOWN,
    LARGER,
    LIGHT,
    MIRROR,
    MOST_AUGMENT,
    RIGHT,
    STEEP,
    TURN,
    WIDTH,
    adapted,
    draw_moves,
    moved,
)


def move(**numbers: float) -> torch.Tensor:
    names = {
        "mirror": MIRROR, "right": RIGHT, "down": DOWN, "turn": TURN, "larger": LARGER, "light": LIGHT, "steep": STEEP,
        "cut": CUT_OUT, "cut_right": CUT_RIGHT, "cut_down": CUT_DOWN,
    }  # fmt: skip
    moves = torch.zeros(1, WIDTH)
    for name, value in numbers.items():
        moves[0, names[name]] = value
    return moves


IMAGE = torch.randn(1, 2, 8, 16, generator=torch.Generator().manual_seed(0))


def test_each_move_is_what_it_says() -> None:
    assert moved(IMAGE, move()) is IMAGE
    assert torch.equal(moved(IMAGE, move(mirror=1)), IMAGE.flip(3))
    torch.testing.assert_close(moved(IMAGE, move(right=0.125))[..., 2:], IMAGE[..., :-2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved(IMAGE, move(down=0.25))[..., 2:, :], IMAGE[..., :-2, :], rtol=1e-4, atol=1e-5)
    half_turn = moved(IMAGE, move(turn=math.pi))
    torch.testing.assert_close(half_turn, IMAGE.flip(2, 3), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved(IMAGE, move(light=0.3)), IMAGE + 0.3)
    torch.testing.assert_close(moved(IMAGE, move(steep=1.0)), 2 * IMAGE)
    cut = moved(IMAGE, move(cut=1, cut_right=0.0, cut_down=0.5))
    assert not cut[:, :, 2:6, :4].any()
    assert torch.equal(cut[:, :, :, 4:], IMAGE[:, :, :, 4:])
    larger = moved(torch.ones(1, 1, 9, 9).tril(), move(larger=1.0))
    assert larger[0, 0, 4, 4] > 0.5  # the center stays


def test_unchanged_rows_are_the_same_bits() -> None:
    images = torch.randn(3, 1, 8, 8)
    moves = torch.cat([move(), move(turn=0.2, steep=0.5), move()])
    found = moved(images, moves)
    assert torch.equal(found[::2], images[::2])
    assert not torch.equal(found[1], images[1])


def test_gradients_against_differences() -> None:
    images = torch.randn(4, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    moves = draw_moves(4, 0.8, mirror=True, generator=torch.Generator().manual_seed(3)).double()
    assert moves.any()
    assert torch.autograd.gradcheck(lambda x: moved(x, moves), images)


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.8])
def test_shares_of_changes(probability: float) -> None:
    moves = draw_moves(20_000, probability, mirror=True, generator=torch.Generator().manual_seed(1))
    shares = {
        name: float(moves[:, place].ne(0).float().mean())
        for name, place in [("mirror", MIRROR), ("shift", RIGHT), ("turn", TURN), ("size", LARGER), ("light", LIGHT),
                            ("steep", STEEP), ("cut", CUT_OUT)]
    }  # fmt: skip
    assert shares.pop("mirror") == pytest.approx(probability / 2, abs=0.012)
    assert all(share == pytest.approx(probability, abs=0.012) for share in shares.values())
    assert not draw_moves(50, probability, mirror=False, generator=torch.Generator())[:, MIRROR].any()


def test_no_change_can_hide_in_the_distribution() -> None:
    """Each change, as an operator on distributions, has no eigenvalue near 0 up to the largest probability.

    Shifts and turns act on frequency k of an image's distribution along the move as the mean of cos(k move); the others
    likewise in log size, brightness and log contrast. The mirror has eigenvalues 1 and 1 - 2 P(mirrored).
    """
    moves = draw_moves(200_000, MOST_AUGMENT, mirror=True, generator=torch.Generator().manual_seed(2)).double().numpy()
    assert 1 - 2 * moves[:, MIRROR].mean() > 0.15
    assert 1 - moves[:, CUT_OUT].mean() > 0.15
    for place in (RIGHT, DOWN, TURN, LARGER, LIGHT, STEEP):
        scale = np.abs(moves[:, place]).max()
        for k in np.linspace(0.1, 40, 60):
            assert np.cos(k * moves[:, place] / scale).mean() > 0.005, (place, k)


def test_probability_follows_the_signs() -> None:
    assert adapted(0.1, 0.7, 0.6, 500, 5_000) == pytest.approx(0.2)
    assert adapted(0.1, 0.5, 0.6, 500, 5_000) == pytest.approx(0.0)
    assert adapted(0.0, -1.0, 0.6, 500, 5_000) == 0.0
    assert adapted(0.79, 1.0, 0.6, 500, 5_000) == MOST_AUGMENT
