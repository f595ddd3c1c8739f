"""Problems as the trainer reads them: tokens, labels, and what each teacher signalled about the same text.

Signals are looked up by row, so the training loop never meets a teacher. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill.data.encoding import Example, collate
from distill.teachers.ragged import Ragged


@dataclass
class TrainingSet(torch.utils.data.Dataset):
    """`examples[i]` and row i of every signal belong to one text; `families[i]` is the number of its family.

    A signal has one value a text (a tensor) or one a token or chunk (Ragged, padded in the batch). `origins[i]` says
    whose solution it is (0 the data's, 1 a teacher's); `prompts` {teacher: ids a row} what a live teacher reads before
    the completion, for those whose prompt is not the student's.
    """

    examples: Sequence[Example]
    signals: Mapping[str, Mapping[str, Tensor | Ragged]]
    families: Sequence[int]
    pad_id: int
    origins: Sequence[int] | None = None
    prompts: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict:
        """The batch of these rows: ids, masks and labels [B, L], family [B], signals by teacher [B, ...]."""
        rows = list(rows)
        batch = collate([self.examples[row] for row in rows], self.pad_id)
        batch["family"] = torch.as_tensor([self.families[row] for row in rows])
        batch["completion_bytes"] = torch.as_tensor([self.examples[row].completion_bytes for row in rows])
        if self.origins is not None:
            batch["origin"] = torch.as_tensor([self.origins[row] for row in rows])
        if self.prompts:
            batch["prompts"] = {t: [torch.as_tensor(ids[row]) for row in rows] for t, ids in self.prompts.items()}
        batch["signals"] = {
            name: {teacher: _rows(name, values, rows) for teacher, values in by_teacher.items()}
            for name, by_teacher in self.signals.items()
        }
        return batch

    def whole(self) -> dict:
        """All rows as one batch."""
        return self.collate(range(len(self)))


def _rows(name: str, values: Tensor | Ragged, rows: list[int]) -> Tensor:
    if isinstance(values, Ragged):
        padded = values.padded(rows, -1 if name == "chunk_of" else 0)
        return padded.float() if padded.dtype == torch.float16 else padded
    return values[torch.as_tensor(rows, dtype=torch.long)]
