"""Task: cross-entropy on the worked solutions of the data. Needs no teacher.

    loss = - sum over labelled tokens of log p_S(y_i | y_<i) / labelled tokens of the whole optimiser step

Shape suffixes: B rows, L tokens, m labelled tokens in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from distill.config.method import Method
from distill.losses import IGNORED
from distill.objectives.base import Batch, Models, Objective, ObjectiveOutput, StudentOutputs

if TYPE_CHECKING:
    from torch import Tensor

SOLUTION, ANSWER = 0, 1  # batch["origin"]: a solution of the data, an answer of a teacher


class TaskConfig(Method):
    """Cross-entropy on the worked solution."""

    kind: Literal["task"] = "task"

    title: ClassVar[str] = "Worked solutions"
    help: ClassVar[str] = (
        "The student learns to write the solution of each problem, word by word (cross-entropy). Needs no teacher."
    )
    name: ClassVar[str] = "worked solutions"
    short: ClassVar[str] = "the solutions"
    needs_teachers: ClassVar[bool] = False

    def build(self, models: Models) -> TaskObjective:
        return TaskObjective(weight=self.weight)


class TaskObjective(Objective):
    """`completion_cross_entropy` on texts of one origin, divided by the labelled tokens of the whole optimiser step.

    With `num_items` in the batch the terms (and gradients) of accumulated micro-batches add up to those of one big
    batch, however it was split. Without it each batch counts its own.
    """

    kind = "task"
    origin = SOLUTION

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        own_B = batch["origin"] == self.origin if "origin" in batch else None
        loss = completion_cross_entropy(outputs, batch["labels"], batch.get("num_items"), own_B)
        return ObjectiveOutput({self.kind: loss})


def completion_cross_entropy(
    outputs: StudentOutputs, labels_BL: Tensor, num_items: Tensor | int | None = None, own_B: Tensor | None = None
) -> Tensor:
    """Sum of -log p (nats) over the labelled tokens / num_items, of the rows that are `own_B` (None: of all).

    Without `num_items` it is the mean; without labelled tokens it is 0. Logits are made for labelled tokens only: the
    other positions cost no memory and get exactly zero gradient.
    """
    logprobs_m = outputs.logprobs(labels_BL)
    if own_B is not None:
        logprobs_m = logprobs_m[own_B[:, None].expand(-1, labels_BL.shape[1] - 1)[labels_BL[:, 1:] != IGNORED]]
    count = len(logprobs_m) if num_items is None else num_items
    return -logprobs_m.sum() / max(count, 1)
