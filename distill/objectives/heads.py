"""Heads: linear maps that take every teacher's vectors to the student's width. The deku modes mix their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """One map a teacher, made by `linear(teacher_width, student_width)`. A list, since names may contain dots."""

    def __init__(self, teacher_widths: Iterable[int], student_width: int, linear: Callable[[int, int], nn.Module]):
        super().__init__()
        self.maps = nn.ModuleList(linear(width, student_width) for width in teacher_widths)

    def forward(self, pooled: Sequence[Tensor]) -> list[Tensor]:
        """Each teacher's [n, E] to [n, D], as they are given: no centring, no scaling."""
        return [head(x_nE) for head, x_nE in zip(self.maps, pooled, strict=True)]

    def norm(self) -> Tensor:
        """The Frobenius norm of all maps together."""
        return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(head.weight) for head in self.maps]))


class FrozenLinear(nn.Module):
    """A fixed map with orthonormal rows or columns: widening keeps all angles, narrowing keeps what fits.

    Its weight is a buffer: saved and moved with the module, never trained.
    """

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.register_buffer("weight", nn.init.orthogonal_(torch.empty(width_out, width_in)))

    def forward(self, x_nE: Tensor) -> Tensor:
        return x_nE @ self.weight.T
