"""Rows of unlike length in one tensor: what teachers say of each token of each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """`values` [m, ...] holds the rows one after another, `lengths` [n] (int64) how long each is; m = sum(lengths)."""

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if len(self.values) != int(self.lengths.sum()):
            raise ValueError(f"lengths add up to {int(self.lengths.sum())}, but there are {len(self.values)} values")

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def _ends(self) -> list[int]:
        return self.lengths.cumsum(0).tolist()

    def row(self, index: int) -> Tensor:
        """Row `index`, [length, ...]."""
        end = self._ends[index]
        return self.values[end - int(self.lengths[index]) : end]

    def rows(self, indices: Sequence[int] | Tensor) -> Ragged:
        """These rows, in this order."""
        indices = [int(index) for index in indices]
        return Ragged.of([self.row(index) for index in indices], like=self.values)

    def padded(self, indices: Sequence[int] | Tensor, filler: float = 0) -> Tensor:
        """These rows as one tensor [len(indices), longest, ...], filled up on the right."""
        rows = [self.row(int(index)) for index in indices]
        width = max((len(row) for row in rows), default=0)
        out = self.values.new_full((len(rows), width, *self.values.shape[1:]), filler)
        for at, row in enumerate(rows):
            out[at, : len(row)] = row
        return out

    @staticmethod
    def of(rows: Sequence[Tensor], like: Tensor | None = None) -> Ragged:
        """From a list of rows; `like` gives shape and type where there are none."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        if rows:
            return Ragged(torch.cat(list(rows)), lengths)
        return Ragged(like[:0], lengths)

    @staticmethod
    def cat(parts: Sequence[Ragged]) -> Ragged:
        """Several one after another."""
        return Ragged(torch.cat([part.values for part in parts]), torch.cat([part.lengths for part in parts]))
