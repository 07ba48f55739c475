"""Muon: momentum whose matrices are made orthogonal before each step.

Every direction of a weight matrix then learns at the same speed, where plain gradients are ruled by a few. On 64-pixel
knees it reached the validation loss of AdamW with a third of the images (docs/decisions/0012-muon.md).
Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration that brings all singular values near 1 in five steps (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_SIDE = 32  # matrices thinner than this are left to AdamW


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with all singular values about 1 (0.7 to 1.2), by Newton-Schulz iteration; [rows, columns]."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    if transposed := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        # a x + (b gram + c gram gram) x, with the sums inside the products: a third faster, and rounded less often
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if transposed else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Orthogonalized Nesterov momentum for weight matrices; convolutions count as [out, in * rows * columns]."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum: Tensor = state["momentum"]
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(momentum, group["momentum"])
                matrix = ahead.reshape(len(ahead), -1)
                size = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                weight.add_(orthogonalized(matrix).reshape(weight.shape), alpha=-group["lr"] * size)


def split_parameters(network: nn.Module, ends: tuple[str, ...]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights for Muon; the rest for AdamW: biases, norms, embeddings, thin matrices, the modules named in `ends`."""
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for path, module in network.named_modules():
        for parameter in module.parameters(recurse=False):
            sides = min(parameter.flatten(1).shape) if parameter.ndim >= 2 else 0
            inner = isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)) and not path.endswith(ends)
            (hidden if inner and sides >= SMALLEST_SIDE else rest).append(parameter)
    return hidden, rest
