"""Cross-entropy on the completion: on worked solutions (the task itself), or on what teachers answered (response).

Nothing here knows of a teacher: whose text it is, is a number in the batch.
"""

from __future__ import annotations

from torch import Tensor

from distill.data.encoding import IGNORED
from distill.losses.chunked import logprobs_of
from distill.objectives.base import Batch, Objective, ObjectiveOutput, StudentOutputs

SOLUTION, ANSWER = 0, 1  # batch["origin"]: a solution of the data, an answer of a teacher


class TaskObjective(Objective):
    """`completion_cross_entropy` on texts of one origin, divided by the labelled tokens of the whole optimiser step.

    With `num_items` in the batch the terms (and gradients) of accumulated micro-batches add up to those of one big
    batch, however it was split. Without it each batch counts its own.
    """

    kind = "task"
    origin = SOLUTION

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        labels_BL = batch["labels"]
        if "origin" in batch:
            labels_BL = labels_BL.masked_fill((batch["origin"] != self.origin)[:, None], IGNORED)
        loss = completion_cross_entropy(outputs, labels_BL, batch.get("num_items"))
        return ObjectiveOutput({self.kind: loss})


class ResponseObjective(TaskObjective):
    """The same on the teachers' answers (sequence-level distillation, Kim & Rush 2016, 1606.07947)."""

    kind = "response"
    origin = ANSWER


def completion_cross_entropy(
    outputs: StudentOutputs, labels_BL: Tensor, num_items: Tensor | int | None = None
) -> Tensor:
    """Sum of -log p (nats) over the labelled tokens / num_items.

    Without `num_items` it is the mean; without labelled tokens it is 0. Logits are made for labelled tokens only: the
    other positions cost no memory and get exactly zero gradient.
    """
    states_mD, targets_m = outputs.predicting(labels_BL)
    count = len(targets_m) if num_items is None else num_items
    return -logprobs_of(outputs.head, states_mD, targets_m).sum() / max(count, 1)
