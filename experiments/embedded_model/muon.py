"""Muon: momentum whose matrices are made orthogonal, for the hidden matrices of a model that starts at random.

Jordan et al. 2024; step size and weight decay as Liu et al. 2025 give them, so that learning rates are like AdamW's.
`torch.optim.Muon` takes the same steps matrix by matrix: 1,680 small products a step for a model of 12 + 4 layers, 45 where
all matrices of one shape go together.
"""

import torch
from torch import Tensor
from torch.nn import Parameter

MOMENTUM = 0.95
DECAY = 0.1
QUINTIC = 3.4445, -4.7750, 2.0315  # a x + b x^3 + c x^5 moves singular values towards 1


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """The matrices [n, rows, columns] with all singular values brought to about 1, in bfloat16."""
    tall = x.shape[1] > x.shape[2]
    x = (x.transpose(1, 2) if tall else x).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Muon:
    """`momentum` holds a matrix for each parameter, views of one tensor per shape."""

    def __init__(self, matrices: list[Parameter]) -> None:
        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        self.groups = [[m for m in matrices if tuple(m.shape) == shape] for shape in shapes]
        self.stacks = [torch.zeros_like(torch.stack(list(group))) for group in self.groups]
        self.momentum = {
            matrix: moment
            for group, stack in zip(self.groups, self.stacks, strict=True)
            for matrix, moment in zip(group, stack.unbind(), strict=True)
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for group, stack in zip(self.groups, self.stacks, strict=True):
            gradient = torch.stack([matrix.grad for matrix in group])
            stack.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonal(gradient.lerp(stack, MOMENTUM)).to(stack.dtype)
            size = 0.2 * max(update.shape[1:]) ** 0.5  # entries as large as AdamW's
            torch._foreach_mul_(group, 1 - lr * DECAY)
            torch._foreach_add_(group, list(update.unbind()), alpha=-lr * size)
