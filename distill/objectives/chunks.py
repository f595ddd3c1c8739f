"""The chunks of a batch: pieces of text that end at the same character for the student and one of its teachers.

Which tokens make a chunk is decided in teachers/alignment.py; this module reads what it found, for every method that
compares chunk by chunk. Shape suffixes: B rows, M labelled tokens of the longest row, m labelled tokens in all, k of
them in a chunk, c chunks, C chunks of the row that has most, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.losses.features import group_means

SLOTS = 2**31  # more chunks than any text has


@dataclass(frozen=True)
class Chunks:
    """The chunks of one teacher that exist in a batch, in order of rows."""

    row_c: Tensor
    number_c: Tensor  # in its row
    member_m: Tensor  # which labelled tokens are in a chunk
    group_k: Tensor  # the chunk, 0 to c - 1, of each of those

    @classmethod
    def of(cls, chunk_of_BM: Tensor, count_B: Tensor) -> Chunks:
        """`chunk_of_BM` says the chunk of a row's j-th labelled token, -1 for none; `count_B` how many a row has."""
        rows, width = chunk_of_BM.shape
        real_BM = torch.arange(width, device=chunk_of_BM.device) < count_B.unsqueeze(1)
        chunk_m = chunk_of_BM[real_BM]
        row_m = torch.arange(rows, device=chunk_of_BM.device).repeat_interleave(count_B)
        if len(row_m) != len(chunk_m):
            raise ValueError(f"chunk_of has room for {width} tokens a row, but {int(count_B.max())} are labelled")
        member_m = chunk_m >= 0
        key_c, group_k = (row_m * SLOTS + chunk_m)[member_m].unique(return_inverse=True)
        return cls(key_c // SLOTS, key_c % SLOTS, member_m, group_k)

    def means(self, tokens_mD: Tensor) -> Tensor:
        """[c, D]: the mean over each chunk's tokens."""
        return group_means(tokens_mD[self.member_m], self.group_k, len(self.row_c))

    def chosen(self, values_BC: Tensor) -> Tensor:
        """[c, ...] of [B, C, ...], what a teacher said of these chunks."""
        return values_BC[self.row_c, self.number_c]
