"""Distillation from teachers with any tokenizer: what they and the student say of the same chunks of the same solution.

    alm       how likely each chunk is, as a whole: tau * binary KL at temperature tau (losses/cross_tokenizer.py)
    xtoken    which of the teacher's tokens come where a chunk begins, the student's tokens taken to the teacher's
    uld       how sure of itself the model is there, whatever of: a baseline

To know: xtoken and uld look at the first token of a chunk only (X-Token's authors average over all of them). Where a
chunk is " =" for the student and " ", "=" for the teacher, they don't see what follows the space: alone, and with few
teachers, xtoken can leave a student worse off, and uld did with six. alm sees whole chunks.

`shared` adds, where a chunk is one token of both, a KL on the tokens that both have. ALM's loss is multiplied by tau
as Hinton's is by T^2: the KL goes down as 1 / tau where tau is large, and a weight of 1 would mean nothing.
This module knows nothing of tokenizers or of where signals come from. Shape suffixes: B rows, m labelled tokens in all,
c chunks, D width, V vocabulary, k a teacher's stored tokens, T teachers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from distill.data.encoding import IGNORED
from distill.losses.chunked import in_chunks
from distill.losses.cross_tokenizer import alm, projected_kl, shared_kl, uld_topk
from distill.losses.head import Head
from distill.objectives.base import Batch, Objective, ObjectiveOutput, Signals, StudentOutputs, items_of
from distill.objectives.chunks import Chunks
from distill.objectives.gate import Shares
from distill.teachers.token_map import Bridge

LOSSES = ("alm", "xtoken", "uld")
_LISTED = frozenset({"chunk_topk_logprobs", "chunk_topk_ids"})


class CrossTokenizerObjective(Objective):
    """sum over teachers and chunks of share(row) * loss(chunk) / labelled tokens of the whole optimiser step.

    teachers: in the order of the gate. loss: alm, xtoken or uld. tau: of alm. shared: the weight of the KL on shared
    tokens. gate: keyword arguments of `Shares`. projections: {teacher: Bridge}, read by xtoken and by `shared`.
    vocabulary: how many of the student's logits are tokens; None: as many as the bridges say, or all.

    So accumulated micro-batches add up, and a batch without chunks costs 0. Metrics: of several teachers
    "cross_tokenizer/<teacher>", its own loss (the mean over chunks) in this micro-batch, whatever its share.
    """

    kind = "cross_tokenizer"

    def __init__(
        self,
        *,
        teachers: Sequence[str],
        loss: str = "alm",
        tau: float = 100.0,
        shared: float = 0.0,
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        projections: Mapping[str, Bridge] | None = None,
        vocabulary: int | None = None,
    ):
        if loss not in LOSSES:
            raise ValueError(f"a loss across tokenizers is one of {', '.join(LOSSES)}, not {loss!r}")
        bridged = loss == "xtoken" or shared > 0
        missing = [teacher for teacher in teachers if bridged and teacher not in (projections or {})]
        if missing:
            raise ValueError(f"loss {loss!r} with shared {shared:g} needs the projection of teacher {missing[0]!r}")
        shares = Shares(teachers, gate)
        needs = {"chunk_of"} | ({"chunk_logprobs"} if loss == "alm" else _LISTED) | shares.needs
        super().__init__(weight, frozenset(needs | ({"chunk_single"} | _LISTED if shared else set())))
        self.shares = shares
        self.loss = loss
        self.tau = tau
        self.shared = shared
        self.vocabulary = vocabulary
        for number, teacher in enumerate(teachers if bridged else ()):  # by number: names may contain dots
            made = projections[teacher]
            self.vocabulary = self.vocabulary or len(made.ids_Vk)
            for name in ("ids_Vk", "weights_Vk", "shared_T"):  # made again with the objective, so kept in no checkpoint
                self.register_buffer(f"{name}_{number}", getattr(made, name), persistent=False)

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        states_mD, targets_m = outputs.predicting(batch["labels"])
        count_B = (batch["labels"][:, 1:] != IGNORED).sum(1)
        head = outputs.head if self.vocabulary is None else outputs.head.sliced(self.vocabulary)
        g_BT = self.shares.of(batch["signals"], len(count_B), states_mD.device)
        logprobs_m = outputs.logprobs(batch["labels"], head.vocabulary) if self.loss == "alm" else None
        terms, metrics = [], {}
        for number, teacher in enumerate(self.shares.teachers):
            said = _said_by(teacher, self.needs, batch["signals"], states_mD.device)
            chunks = Chunks.of(said["chunk_of"], count_B)
            loss_c = self._losses(number, chunks, said, head, states_mD, logprobs_m)
            terms.append((g_BT[chunks.row_c, number].to(loss_c) * loss_c).sum())
            if len(self.shares.teachers) > 1 and len(loss_c):
                metrics[f"cross_tokenizer/{teacher}"] = loss_c.detach().mean().item()
        loss = torch.stack(terms).sum() / items_of(batch, len(targets_m))
        return ObjectiveOutput({"cross_tokenizer": loss}, metrics)

    def _losses(
        self,
        number: int,
        chunks: Chunks,
        said: dict[str, Tensor],
        head: Head,
        states_mD: Tensor,
        logprobs_m: Tensor | None,
    ) -> Tensor:
        """[c] of teacher `number`."""
        first_c = _first_tokens(chunks)
        listed = [chunks.chosen(said[name]) for name in ("chunk_topk_logprobs", "chunk_topk_ids") if name in said]
        if self.loss == "alm":
            own_c = logprobs_m.new_zeros(len(first_c)).index_add(0, chunks.group_k, logprobs_m[chunks.member_m])
            loss_c = self.tau * alm(own_c, chunks.chosen(said["chunk_logprobs"]), self.tau)
        elif self.loss == "xtoken":
            loss = partial(
                projected_kl,
                ids_Vk=self._bridge("ids_Vk", number),
                weights_Vk=self._bridge("weights_Vk", number),
                size_T=len(self._bridge("shared_T", number)),
            )
            loss_c = in_chunks(loss, head, states_mD[first_c], *listed)
        else:
            loss_c = in_chunks(uld_topk, head, states_mD[first_c], listed[0])
        if self.shared:
            single = chunks.chosen(said["chunk_single"]).nonzero()[:, 0]
            loss = partial(shared_kl, shared_T=self._bridge("shared_T", number))
            kl_s = in_chunks(loss, head, states_mD[first_c[single]], *(values[single] for values in listed))
            loss_c = loss_c.index_add(0, single, self.shared * kl_s.to(loss_c))
        return loss_c

    def _bridge(self, name: str, number: int) -> Tensor:
        return getattr(self, f"{name}_{number}")


def _said_by(teacher: str, needs: frozenset[str], signals: Signals, device: torch.device) -> dict[str, Tensor]:
    """What one teacher said, of all that is said of chunks."""
    return {name: signals[name][teacher].to(device) for name in needs if name.startswith("chunk_")}


def _first_tokens(chunks: Chunks) -> Tensor:
    """[c]: which labelled token (of all m) each chunk begins with; the state there predicts it."""
    members_k = chunks.member_m.nonzero()[:, 0]
    first_c = members_k.new_full((len(chunks.row_c),), len(chunks.member_m))
    return first_c.scatter_reduce(0, chunks.group_k, members_k, "amin")
