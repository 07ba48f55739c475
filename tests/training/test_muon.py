"""Muon: what orthogonal means, and which weights it gets."""

import torch
from torch import nn

from synthcohort.training.muon import Muon, orthogonalized, split_parameters


def test_singular_values_come_near_one_and_directions_stay() -> None:
    torch.manual_seed(0)
    for shape in ((48, 96), (96, 48), (40, 40)):
        u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        matrix = u @ torch.diag(torch.logspace(-1, 1, len(u.T))) @ v  # condition number 100
        result = orthogonalized(matrix)
        values = torch.linalg.svdvals(result)
        assert 0.4 < float(values.min()) < float(values.max()) < 1.35
        assert float(torch.diagonal(u.T @ result @ v.T).min()) > 0.4


def test_scale_of_the_gradient_does_not_matter() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(32, 64)
    torch.testing.assert_close(orthogonalized(matrix), orthogonalized(4 * matrix), atol=0.02, rtol=0.02)


def test_step_lowers_a_loss() -> None:
    torch.manual_seed(0)
    layer, x, target = nn.Linear(32, 32, bias=False), torch.randn(64, 32), torch.randn(64, 32)
    optimizer = Muon(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        loss = (layer(x) - target).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]


def test_hidden_matrices_go_to_muon_and_the_rest_to_adam() -> None:
    network = nn.ModuleDict(
        {
            "stem": nn.Conv2d(32, 64, 3),
            "hidden": nn.Conv2d(64, 64, 3),
            "volumes": nn.Conv3d(64, 64, 3),
            "thin": nn.Linear(64, 8),
            "norm": nn.GroupNorm(4, 64),
            "table": nn.Embedding(64, 64),
            "head": nn.Conv2d(64, 32, 3),
        }
    )
    hidden, rest = split_parameters(network, ends=("stem", "head"))
    assert [id(p) for p in hidden] == [id(network["hidden"].weight), id(network["volumes"].weight)]
    assert len(hidden) + len(rest) == len(list(network.parameters()))
