"""How several teachers share the attention of a method that listens to them token by token: a fixed gate, by text.

This module knows nothing of what they say. The gates themselves are gate.py's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from distill.objectives.base import Signals
from distill.objectives.gate import Gate


class Shares:
    """g [B, T] over `teachers`, in this order; `gate`: keyword arguments of `Gate`, whose kind is uniform or prior."""

    def __init__(self, teachers: Sequence[str], gate: Mapping[str, Any] | None = None):
        self.teachers = tuple(teachers)
        self._gate = Gate(teachers=self.teachers, student_width=0, **(gate or {"kind": "uniform"}))

    @property
    def needs(self) -> frozenset[str]:
        """The signals that the shares depend on; a single teacher has all, whatever the gate."""
        return frozenset({"nll_per_byte"} if self._gate.needs_bpb and len(self.teachers) > 1 else ())

    def of(self, signals: Signals, rows: int, device: torch.device | str = "cpu") -> Tensor:
        """g [rows, T], float32, rows summing to 1; reads `nll_per_byte` [rows] (nats) where `needs` says so."""
        nothing = torch.zeros(rows, 0, device=device)
        if not self.needs:
            return nothing.new_full((rows, len(self.teachers)), 1 / len(self.teachers))
        nats = [signals["nll_per_byte"][teacher].to(nothing) for teacher in self.teachers]
        return self._gate.weights(nothing, torch.stack(nats, dim=1) / math.log(2)).detach()
