"""The average of the weights."""

import torch

from synthcohort.training.ema import average_decay, update_average


def test_average_reaches_back_over_its_share() -> None:
    average = [torch.zeros(1)]
    for step in range(1, 2001):
        update_average(average, [torch.full((1,), float(step))], average_decay(step, 0.1))
    assert 0.85 < float(average[0]) / 2000 < 0.95  # the mean age is about a tenth of the past


def test_no_share_is_the_weights_themselves() -> None:
    average = [torch.zeros(2)]
    update_average(average, [torch.ones(2)], average_decay(7, 0.0))
    assert average[0].tolist() == [1.0, 1.0]
