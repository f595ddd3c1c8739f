"""Generalised knowledge distillation (GKD, 2306.13649): teachers correct, token by token, what the student wrote.

    loss = sum over tokens y_i of sum_t g_t JSD_beta(p_t(. | y_<i), p_S(. | y_<i)) / tokens of the step

beta 0 is KL(p_t||p_S), 1 is KL(p_S||p_t). No gradient passes through the sampling, and the prompt has no part in it.
Whether a step reads the student's answers or the data's texts is decided by training/on_policy.py; this module reads
what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distill.data.encoding import IGNORED
from distill.losses.chunked import divergence_of_states
from distill.objectives.base import Batch, Objective, ObjectiveOutput, StudentOutputs, items_of
from distill.objectives.gate import Shares
from distill.objectives.task import ANSWER
from distill.teachers.live import LiveTeacher


class GkdObjective(Objective):
    """`live`: {teacher: LiveTeacher}; `vocabulary`: tokens that all of them and the student have in common.

    Reads batch["completion_bytes"] [B] for a gate of kind prior: a teacher is believed on the texts that it finds
    likely. With `seq_kd` a batch of the data counts only where a teacher wrote the text (batch["origin"]).
    """

    kind = "gkd"
    reads_own = True

    def __init__(
        self,
        *,
        live: Mapping[str, LiveTeacher],
        vocabulary: int,
        beta: float = 0.5,
        seq_kd: bool = False,
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
    ):
        super().__init__(weight, frozenset({"live"}))
        self.live = dict(live)  # no submodules: they are neither trained nor saved
        self.vocabulary = vocabulary
        self.beta = beta
        self.seq_kd = seq_kd
        self.shares = Shares(tuple(live), gate)

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        if self.seq_kd and "origin" in batch:
            theirs_B = batch["origin"] == ANSWER
            batch = {**batch, "labels": batch["labels"].masked_fill(~theirs_B[:, None], IGNORED)}
        states_mD, targets_m = outputs.predicting(batch["labels"])
        rows_m = (batch["labels"][:, 1:] != IGNORED).nonzero()[:, 0]
        head = outputs.head.sliced(self.vocabulary)
        found = [
            divergence_of_states(
                states_mD,
                head,
                teacher.states(batch),
                teacher.head.sliced(self.vocabulary),
                "jsd",
                beta=self.beta,
                targets_m=targets_m if self.shares.needs else None,
            )
            for teacher in self.live.values()
        ]
        g_BT = self._shares(batch, rows_m, [result.teacher_logprobs_m for result in found])
        losses_mT = torch.stack([result.losses_m for result in found], dim=1)
        loss = (g_BT[rows_m] * losses_mT).sum() / items_of(batch, len(targets_m))
        metrics = {}
        if len(self.live) > 1 and len(targets_m):
            means = losses_mT.detach().mean(0).tolist()
            metrics = {f"gkd/{teacher}": mean for teacher, mean in zip(self.live, means, strict=True)}
        return ObjectiveOutput({"gkd": loss}, metrics)

    def _shares(self, batch: Batch, rows_m: Tensor, logprobs: list[Tensor]) -> Tensor:
        """g [B, T]; the likelihoods are those of the completion, its end token included."""
        size, device = len(batch["labels"]), rows_m.device
        if not self.shares.needs:
            return self.shares.of({}, size, device)
        bytes_B = batch["completion_bytes"].to(device).clamp_min(1)
        nats = {
            teacher: -torch.zeros(size, device=device).index_add_(0, rows_m, logprobs_m.float()) / bytes_B
            for teacher, logprobs_m in zip(self.live, logprobs, strict=True)
        }
        return self.shares.of({"nll_per_byte": nats}, size, device)
