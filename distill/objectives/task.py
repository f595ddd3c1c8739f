"""The task itself: cross-entropy on the completion. It needs no teacher, and nothing here knows of one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from distill.losses.precision import full_precision
from distill.objectives.base import Batch, Objective, ObjectiveOutput, StudentOutputs

IGNORED = -100


class TaskObjective(Objective):
    """`completion_cross_entropy`, divided by the labelled tokens of the whole optimiser step.

    With `num_items` in the batch the terms (and gradients) of accumulated micro-batches add up to those of one big
    batch, however it was split. Without it each batch counts its own.
    """

    kind = "task"

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        loss = completion_cross_entropy(outputs.logits_BLV, batch["labels"], batch.get("num_items"))
        return ObjectiveOutput({"task": loss})


def completion_cross_entropy(logits_BLV: Tensor, labels_BL: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Sum of -log p (nats) over the labelled tokens / num_items. Position l of the logits predicts label l + 1.

    Without `num_items` it is the mean; without labelled tokens it is 0. Unlabelled positions are dropped before the
    logits are widened: they cost no memory and get exactly zero gradient.
    """
    targets_BL = labels_BL[:, 1:]
    labelled_BL = targets_BL != IGNORED
    targets_m = targets_BL[labelled_BL]
    count = len(targets_m) if num_items is None else num_items
    return _summed(logits_BLV[:, :-1][labelled_BL], targets_m) / max(count, 1)


@full_precision
def _summed(logits_mV: Tensor, targets_m: Tensor) -> Tensor:
    return F.cross_entropy(logits_mV, targets_m, reduction="sum")
