"""Made-up heads, states and distributions for the tests of losses on logits."""

from __future__ import annotations

import torch
from feature_cases import normal
from torch import Tensor

from distill.losses.head import Head

KINDS = (("forward", 0.5), ("reverse", 0.5), ("jsd", 0.5), ("jsd", 0.1), ("jsd", 0.9), ("jsd", 0.0), ("jsd", 1.0))


def logprobs(*shape: int, seed: int = 0, spread: float = 2.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (spread * normal(*shape, seed=seed, dtype=dtype)).log_softmax(-1)


def head(vocabulary: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64, **kwargs) -> Head:
    return Head(normal(vocabulary, width, seed=seed, dtype=dtype), **kwargs)


def capped(vocabulary: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Head:
    """A head with everything that a head may have."""
    bias_V = normal(vocabulary, seed=seed + 50, dtype=dtype)
    return head(vocabulary, width, seed, dtype, bias_V=bias_V, scale=0.7, softcap=3.0)
