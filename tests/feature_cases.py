"""Made-up features for tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def related(n: int, width: int, width_2: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Two views of the same n texts."""
    x_nD = normal(n, width, seed=1)
    return x_nD, x_nD @ normal(width, width_2, seed=2) / math.sqrt(width) + noise * normal(n, width_2, seed=3)
