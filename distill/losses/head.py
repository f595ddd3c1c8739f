"""The last step of a language model, from states to logits, as a value that losses can apply piece by piece.

distill/models/lm_head.py finds the head of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 1 << 23  # numbers of a head that are converted at a time where it is kept in another precision


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
        """[..., V] of [..., D], float32 (float64 where states or weights are), differentiable in the states, once.

        Sixteen-bit states and weights are not rounded again: logits of 20 would lose all below 1/16 in bfloat16.
        """
        z_mV = _Linear.apply(states_mD.reshape(-1, states_mD.shape[-1]), self)
        z_mV = z_mV.view(*states_mD.shape[:-1], self.vocabulary)
        z_mV = z_mV * self.scale if self.scale != 1.0 else z_mV
        return z_mV if self.softcap is None else self.softcap * torch.tanh(z_mV / self.softcap)


class _Linear(torch.autograd.Function):
    """h W^T + b; nothing is kept but the head, which is there anyway."""

    @staticmethod
    def forward(ctx, states_mD: Tensor, head: Head) -> Tensor:
        wide = torch.float64 if torch.float64 in (states_mD.dtype, head.weight_VD.dtype) else torch.float32
        ctx.product, ctx.dtype = Projection(head, wide, states_mD.device.type), states_mD.dtype
        z_mV = states_mD.new_empty(len(states_mD), head.vocabulary, dtype=wide)
        with torch.autocast(states_mD.device.type, enabled=False):
            ctx.product.linear(states_mD, out=z_mV)
        return z_mV

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient_mV: Tensor) -> tuple[Tensor, None]:
        gradient_mD = gradient_mV.new_empty(len(gradient_mV), ctx.product.head.weight_VD.shape[1])
        with torch.autocast(gradient_mV.device.type, enabled=False):
            ctx.product.pulled_back(gradient_mV, out=gradient_mD)
        return gradient_mD.to(ctx.dtype), None


class Projection:
    """The products with one head, in place and in float32 (float64), whatever precision the head is kept in.

    On CUDA sixteen-bit factors are multiplied as they are (in autocast all are narrowed so) and summed in float32:
    logits are not rounded. On the CPU they are widened first, a tile of the head at a time.
    """

    def __init__(self, head: Head, wide: torch.dtype, device: str):
        self.head = head
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head.weight_VD.dtype
        mixed = device == "cuda" and wide == torch.float32 and narrow.itemsize == 2
        self.factors = narrow if mixed else wide
        self._as = {"out_dtype": torch.float32} if mixed else {}

    def _tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """The head's rows in the precision of the product: at once if kept so, else tile by tile."""
        weight_VD = self.head.weight_VD
        size = len(weight_VD) if weight_VD.dtype == self.factors else max(1, TILE // weight_VD.shape[1])
        for start in range(0, len(weight_VD), size):
            tile = slice(start, start + size)
            yield tile, weight_VD[tile].to(self.factors)

    def linear(self, states_cD: Tensor, out: Tensor) -> None:
        """h W^T + b into `out` [c, V]."""
        states_cD = states_cD.to(self.factors)
        for tile, weight_tD in self._tiles():
            torch.mm(states_cD, weight_tD.T, out=out[:, tile], **self._as)
        if self.head.bias_V is not None:
            out.add_(self.head.bias_V)

    def logits(self, states_cD: Tensor, out: Tensor) -> None:
        """Head.logits into `out` [c, V]."""
        head = self.head
        self.linear(states_cD, out)
        if head.scale != 1.0:
            out.mul_(head.scale)
        if head.softcap is not None:
            out.div_(head.softcap).tanh_().mul_(head.softcap)

    def pulled_back(self, gradient_cV: Tensor, out: Tensor) -> None:
        """gradient W into `out` [c, D]."""
        out.zero_()
        for tile, weight_tD in self._tiles():
            torch.addmm(out, gradient_cV[:, tile].to(self.factors), weight_tD, out=out, **self._as)
