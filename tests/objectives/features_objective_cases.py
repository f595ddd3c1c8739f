"""Made-up students and teachers for the tests of features as an objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.features import FeaturesObjective

D, BLOCKS, LENGTH = 6, 3, 9
WIDTHS = {"qwen2.5": 4, "smol": 6, "phi": 10}  # narrower, equal and wider than the student; a dot in a name
MAPS = {"qwen2.5": [(1, 0), (3, 1)], "smol": [(2, 1)], "phi": [(1, 1), (2, 0)]}
LOSSES = ("mse", "cosine", "cka", "nbs")
every_loss = pytest.mark.parametrize("loss", LOSSES)
LABELLED = [5, 3, 7, 4]  # tokens of the completion of each row, the rest of it the prompt
# Chunks of the j-th labelled token, a list for each row; -1 in none; row 0 drops chunk 1.
CHUNKS = {
    "qwen2.5": [[0, 0, -1, 2, 3], [0, 1, 2], [0, 1, 1, 1, 2, 3, 4], [0, 0, 1, 2]],
    "smol": [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3]],
    "phi": [[0, 0, 0, 0, 1], [-1, -1, -1], [0, 0, 1, 1, 2, 2, 3], [0, 1, 2, 3]],
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(loss: str = "mse", teachers: tuple[str, ...] = tuple(WIDTHS), **settings) -> FeaturesObjective:
    widths = {teacher: WIDTHS[teacher] for teacher in teachers}
    maps = settings.pop("maps", {teacher: MAPS[teacher] for teacher in teachers})
    return FeaturesObjective(teacher_widths=widths, student_width=D, maps=maps, loss=loss, **settings).double()


def make_batch(left: bool = False, pad: int = 0) -> dict:
    """Four rows of prompt and completion of `LENGTH` tokens in all, padded by `pad` on one side."""
    labels = torch.full((4, LENGTH), -100)
    for row, count in enumerate(LABELLED):
        labels[row, LENGTH - 1 - count : LENGTH - 1] = 1  # and an unlabelled token at the end
    filler = torch.full((4, pad), -100)
    chunk_of = {teacher: torch.full((4, max(LABELLED)), -1) for teacher in WIDTHS}
    for teacher, rows in CHUNKS.items():
        for row, numbers in enumerate(rows):
            chunk_of[teacher][row, : len(numbers)] = torch.tensor(numbers)
    hidden = {teacher: normal(4, 7, 2, width, seed=i) for i, (teacher, width) in enumerate(WIDTHS.items())}
    nll = {teacher: 0.7 + 0.1 * normal(4, seed=20 + i) for i, teacher in enumerate(WIDTHS)}
    return {
        "labels": torch.cat([filler, labels] if left else [labels, filler], 1),
        "num_items": torch.tensor(sum(LABELLED)),
        "signals": {"chunk_of": chunk_of, "chunk_hidden": hidden, "nll_per_byte": nll},
    }


def make_states(left: bool = False, pad: int = 0) -> Tensor:
    """[1 + BLOCKS, 4, LENGTH + pad, D]; what stands at the padding is other numbers."""
    states, filler = normal(1 + BLOCKS, 4, LENGTH, D, seed=50), normal(1 + BLOCKS, 4, pad, D, seed=51)
    return torch.cat([filler, states] if left else [states, filler], 2)


def outputs_of(states: Tensor) -> StudentOutputs:
    return StudentOutputs(states[-1], Head(torch.zeros(2, D, dtype=states.dtype)), tuple(states))


def rows_of(batch: dict, rows: list[int]) -> dict:
    signals = {name: {t: x[rows] for t, x in values.items()} for name, values in batch["signals"].items()}
    return {**batch, "labels": batch["labels"][rows], "signals": signals}


def loss_of(objective: FeaturesObjective, states: Tensor, batch: dict) -> Tensor:
    return objective(outputs_of(states), batch).total()


def gradients(objective: FeaturesObjective, states: Tensor, batch: dict) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The loss, its gradient to the states, and those to the projectors."""
    states = states.clone().requires_grad_()
    objective.zero_grad()
    loss = loss_of(objective, states, batch)
    loss.backward()
    return loss.detach(), states.grad, [p.grad.clone() for p in objective.parameters()]


def by_hand(objective: FeaturesObjective, teacher: str, pair: int) -> tuple[Tensor, Tensor, Tensor]:
    """The student's and the teacher's vectors of every chunk, and its row, one after another in plain loops."""
    states, batch = make_states(), make_batch()
    block, at = MAPS[teacher][pair]
    x, y, row_of = [], [], []
    for row, numbers in enumerate(CHUNKS[teacher]):
        columns = [column for column in range(LENGTH) if batch["labels"][row, column] == 1]
        for number in sorted({n for n in numbers if n >= 0}):
            own = [states[block, row, c] for c, n in zip(columns, numbers, strict=True) if n == number]
            mean = torch.stack([token / token.square().mean().sqrt() for token in own]).mean(0)
            x.append(mean / mean.square().mean().sqrt())
            y.append(batch["signals"]["chunk_hidden"][teacher][row, number, at])
            row_of.append(row)
    return torch.stack(x), torch.stack(y), torch.tensor(row_of)
