"""The last step of a language model, from states to logits, as a value that losses can apply piece by piece.

This module knows nothing of models: distill/readout.py finds the head of one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """logits = softcap * tanh(scale (h W^T + b) / softcap), or scale (h W^T + b) without a softcap. W is frozen."""

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def vocabulary(self) -> int:
        """How many logits it gives."""
        return len(self.weight_VD)

    def sliced(self, vocabulary: int) -> Head:
        """The head of the first `vocabulary` tokens: what is padded beyond them is no token at all."""
        if vocabulary == self.vocabulary:
            return self
        bias_V = None if self.bias_V is None else self.bias_V[:vocabulary]
        return replace(self, weight_VD=self.weight_VD[:vocabulary], bias_V=bias_V)

    def logits(self, states_mD: Tensor) -> Tensor:
        """[m, V], float32 (float64 for float64 states); differentiable in the states."""
        z_mV = torch.nn.functional.linear(states_mD.to(self.weight_VD.dtype), self.weight_VD, self.bias_V)
        z_mV = z_mV if z_mV.dtype == torch.float64 else z_mV.float()
        z_mV = z_mV * self.scale if self.scale != 1.0 else z_mV
        return z_mV if self.softcap is None else self.softcap * torch.tanh(z_mV / self.softcap)
