"""Problems as the trainer reads them: tokens, labels, and what each teacher signalled about the same text.

Signals are looked up by row, so the training loop never meets a teacher. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distill.data.prompts import Example, collate
from distill.objectives.base import Signals


@dataclass
class TrainingSet(torch.utils.data.Dataset):
    """`examples[i]` and row i of every signal belong to one text; `families[i]` is the number of its family."""

    examples: Sequence[Example]
    signals: Signals
    families: Sequence[int]
    pad_id: int

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict:
        """The batch of these rows: ids, masks and labels [B, L], family [B], signals by teacher [B, ...]."""
        index = torch.as_tensor(list(rows))
        batch = collate([self.examples[row] for row in rows], self.pad_id)
        batch["family"] = torch.as_tensor([self.families[row] for row in rows])
        batch["signals"] = {
            name: {teacher: values[index] for teacher, values in by_teacher.items()}
            for name, by_teacher in self.signals.items()
        }
        return batch

    def whole(self) -> dict:
        """All rows as one batch."""
        return self.collate(range(len(self)))
