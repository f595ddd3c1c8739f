"""Logits: at every token of a solution the student's next-token distribution should be its teachers'.

    loss = T^2 sum over labelled tokens and teachers of share(row) * divergence / labelled tokens of the whole step

both distributions being softmax(logits / T); the factor keeps gradients of the same size at every T (Hinton et al.
1503.02531). What the teachers say is `stored` (each was asked once: its k likeliest tokens, and the rest as one) or
`live` (they stay loaded: all their logits). They have the student's tokenizer. Formulas: losses/divergences.py.

This module knows nothing of models, tokenizers or of how signals are made. Shape suffixes: B rows, M labelled tokens of
the longest row, m labelled tokens in all, D width, V vocabulary, k a teacher's stored tokens, T teachers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill.data.encoding import IGNORED
from distill.losses.chunked import divergence_of_states, in_chunks
from distill.losses.divergences import buckets, divergence, resolved, with_tail
from distill.losses.head import Head
from distill.objectives.base import Batch, Objective, ObjectiveOutput, Signals, StudentOutputs, items_of
from distill.objectives.chunks import Chunks
from distill.objectives.gate import Shares

if TYPE_CHECKING:
    from distill.teachers.live import LiveTeacher

STORED = frozenset({"chunk_of", "chunk_single", "chunk_topk_logprobs", "chunk_topk_ids"})
SCALINGS = ("plain", "continuous")


class LogitsObjective(Objective):
    """teachers: in the order of the gate. divergence: forward, reverse or jsd, with its beta and scaling (plain or
    continuous). temperature: T, at which stored log-probabilities were asked for. gate: keyword arguments of `Shares`.
    vocabulary: how many tokens the student and the teachers have in common; logits beyond are padding. live: {teacher:
    LiveTeacher} for source "live".

    Accumulated micro-batches add up, and a batch without labelled tokens costs 0. A labelled token that a stored
    teacher did not read as the same token (in no chunk, or in one of several tokens) costs nothing with that teacher.
    Metrics: of several teachers "logits/<teacher>", its own loss (the mean over the tokens it spoke of, times T^2),
    whatever its share.
    """

    kind = "logits"

    def __init__(
        self,
        *,
        teachers: Sequence[str],
        vocabulary: int,
        divergence: str = "forward",
        beta: float = 0.5,
        scaling: str = "plain",
        temperature: float = 1.0,
        source: str = "stored",
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        live: Mapping[str, LiveTeacher] | None = None,
    ):
        resolved(divergence, beta)  # or ValueError
        if scaling not in SCALINGS:
            raise ValueError(f"the scaling of a divergence is one of {', '.join(SCALINGS)}, not {scaling!r}")
        if source not in ("stored", "live"):
            raise ValueError(f"teachers' logits are stored or live, not {source!r}")
        missing = [teacher for teacher in teachers if source == "live" and teacher not in (live or {})]
        if missing:
            raise ValueError(f"source 'live' needs teacher {missing[0]!r} loaded")
        shares = Shares(teachers, gate)
        super().__init__(weight, (STORED if source == "stored" else frozenset({"live"})) | shares.needs)
        self.shares = shares
        self.vocabulary = vocabulary
        self.temperature = temperature
        self.how = {"kind": divergence, "beta": beta, "continuous": scaling == "continuous"}
        # No submodules: they are neither trained nor saved.
        self.live = {teacher: live[teacher] for teacher in teachers} if source == "live" else {}

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        labelled_BL = batch["labels"][:, 1:] != IGNORED
        states_mD, _ = outputs.predicting(batch["labels"])
        head = outputs.head.sliced(self.vocabulary)
        if self.live:
            losses_mT = self._of_live(states_mD, head, batch)
            heard_mT = torch.ones_like(losses_mT, dtype=torch.bool)
        else:
            losses_mT, heard_mT = self._of_stored(states_mD, head, batch["signals"], labelled_BL.sum(1))
        losses_mT = self.temperature**2 * losses_mT
        g_BT = self.shares.of(batch.get("signals", {}), len(labelled_BL), states_mD.device)
        weight_mT = g_BT.to(losses_mT)[labelled_BL.nonzero()[:, 0]]
        loss = (weight_mT * losses_mT).sum() / items_of(batch, len(states_mD))
        return ObjectiveOutput({"logits": loss}, self._metrics(losses_mT.detach(), heard_mT))

    def _of_live(self, states_mD: Tensor, head: Head, batch: Batch) -> Tensor:
        found = []
        for teacher in self.live.values():
            theirs, states_mE = teacher.head.sliced(self.vocabulary), teacher.states(batch)
            result = divergence_of_states(states_mD, head, states_mE, theirs, temperature=self.temperature, **self.how)
            found.append(result.losses_m)
        return torch.stack(found, dim=1)

    def _of_stored(self, states_mD: Tensor, head: Head, signals: Signals, count_B: Tensor) -> tuple[Tensor, Tensor]:
        """(divergences [m, T], whether the teacher spoke of the token [m, T]); the student's logits are made once."""
        listed, heard = [], []
        for teacher in self.shares.teachers:
            chunks = Chunks.of(signals["chunk_of"][teacher].to(states_mD.device), count_B)
            said = (signals[name][teacher].to(states_mD.device) for name in ("chunk_topk_logprobs", "chunk_topk_ids"))
            logprobs_hk, ids_hk = (chunks.chosen(values_BCk)[chunks.group_k] for values_BCk in said)
            # Where nothing was said, all k tokens are unknown ones: both sides are one bucket, and exactly alike.
            logprobs_mk = logprobs_hk.new_zeros(len(states_mD), logprobs_hk.shape[1])
            ids_mk = ids_hk.new_full(logprobs_mk.shape, self.vocabulary)
            # A chunk of several tokens has one distribution, its first token's, which is not that of the others.
            alike_h = chunks.chosen(signals["chunk_single"][teacher].to(states_mD.device))[chunks.group_k]
            alike_m = chunks.member_m.clone()
            alike_m[chunks.member_m] = alike_h
            logprobs_mk[alike_m], ids_mk[alike_m] = logprobs_hk[alike_h], ids_hk[alike_h]
            listed += [logprobs_mk, ids_mk]
            heard.append(alike_m)
        return in_chunks(self._bucketed, head, states_mD, *listed), torch.stack(heard, dim=1)

    def _bucketed(self, logits_cV: Tensor, *listed: Tensor) -> Tensor:
        """[c, T]; `listed`: of each teacher in turn the log-probabilities [c, k] and the tokens [c, k]."""
        scaled_cV = logits_cV if self.temperature == 1 else logits_cV / self.temperature
        losses = []
        for logprobs_ck, ids_ck in zip(listed[::2], listed[1::2], strict=True):
            log_t = with_tail(logprobs_ck, ids_ck < self.vocabulary)
            losses.append(divergence(buckets(scaled_cV, ids_ck), log_t, **self.how))
        return torch.stack(losses, dim=1)

    def _metrics(self, losses_mT: Tensor, heard_mT: Tensor) -> dict[str, float]:
        if losses_mT.shape[1] < 2:
            return {}
        counts = heard_mT.sum(0).tolist()
        sums = (losses_mT * heard_mT).sum(0).tolist()
        named = zip(self.shares.teachers, sums, counts, strict=True)
        return {f"logits/{teacher}": total / count for teacher, total, count in named if count}
