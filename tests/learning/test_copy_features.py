import numpy as np
import pytest
import torch

from synthcohort.learning.copy_features import NUM_PLACES, agreement, bands, margins, plain_score

NOTHING = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def picture(made, number: int) -> torch.Tensor:
    return torch.from_numpy(made.person(number, 64)[None, None].astype(np.float32)) / 127.5 - 1


def test_an_image_agrees_with_itself_everywhere_and_with_a_stranger_nowhere(made):
    a, b = picture(made, 1), picture(made, 2)
    same = torch.tanh(agreement(bands(a), bands(a), NOTHING))
    assert same.shape == (1, NUM_PLACES)
    assert float(same.min()) > 0.75
    other = torch.tanh(agreement(bands(a), bands(b), NOTHING))
    assert float(other[:, [0, 3]].abs().max()) < 0.4  # mean and median of the finest band


def test_brightness_and_contrast_fall_out(made):
    a, b = picture(made, 1), picture(made, 2)
    one, two = (agreement(bands(a), bands(x), NOTHING) for x in (b, 0.5 * b + 0.3))
    assert torch.allclose(torch.tanh(one), torch.tanh(two), atol=0.02)


def test_a_rim_that_all_images_share_does_not_decide(made):
    y, x = np.mgrid[:64, :64] / 31.5 - 1
    disc = torch.from_numpy((np.hypot(x, y) < 0.8).astype(np.float32))
    a, b = ((0.1 * picture(made, i) + 0.2) * disc - (1 - disc) for i in (1, 2))
    whole = torch.corrcoef(torch.cat([a.flatten(1), b.flatten(1)]))[0, 1]
    assert float(whole) > 0.9  # the rim is nearly all there is
    strangers, copy = (torch.tanh(agreement(bands(a), bands(x), NOTHING))[0] for x in (b, a))
    assert float(strangers[0]) < 0.7 < 0.75 < float(copy[0])
    assert float(strangers[1]) < 0.1 < 0.3 < float(copy[1])  # a tenth of the places tells them apart


def test_what_a_copy_does_not_show_is_not_counted(made):
    a = picture(made, 1)
    half = a.clone()
    half[..., 32:] = 0.0
    moved = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])  # the template's left half lies where the query ends
    shifted = torch.roll(a, 32, 3)
    assert float(torch.tanh(agreement(bands(a), bands(shifted), moved))[0, 2]) > 0.8
    assert float(torch.tanh(agreement(bands(a), bands(half), NOTHING))[0, 0]) < 0.7


def test_margins_measure_against_the_candidates_that_are_no_family():
    value = torch.tensor([[0.9, 0.2, 0.8, 0.2, 0.2, 0.85]])
    found = margins(value, torch.tensor([[0, 1]]))
    assert found[0, 0, 1] == pytest.approx(np.arctanh(0.9) - np.arctanh(0.2), abs=1e-5)
    assert found[0, 1, 1] == pytest.approx(0.0, abs=1e-5)


def test_the_plain_score_is_even_at_nine_tenths():
    features = np.zeros((2, NUM_PLACES + 5))
    features[:, NUM_PLACES] = np.arctanh([0.9, 0.99])
    assert plain_score(features)[0] == pytest.approx(0.0)
    assert plain_score(features)[1] > 5
