"""What a teacher says of every token of a solution: how likely it was, what else might have come, its hidden states.

Rows of unlike length, a text each: a token is one that the teacher's own tokenizer makes of the solution, the end token
included where the answer has ended. This module knows nothing of students, of alignment or of what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.data.encoding import IGNORED, Example
from distill.losses.chunked import ELEMENTS
from distill.losses.head import Head
from distill.models.lm_head import head_of
from distill.teachers.ragged import Ragged

if TYPE_CHECKING:
    from distill.teachers.signals import Request

TOKENWISE = ("tokens", "token_logprobs", "topk", "hidden")  # what may be asked
LIKELIHOODS = frozenset({"token_logprobs", "topk"})  # those that take logits
_TINY = 1e-6  # of hidden states' root mean square: below, a state is nothing and stays nothing


def real_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Head:
    """The head of the tokens that there are: many a model has more logits than its tokenizer has tokens."""
    head = head_of(model)
    return head.sliced(min(head.vocabulary, max(tokenizer.get_vocab().values()) + 1))


def tokens_of(examples: Sequence[Example]) -> Ragged:
    """int32 [m, 2]: (id, end) of the labelled tokens, m in all, the end as in `Example.ends`; no model is asked."""
    pairs = [pair for e in examples for pair in zip(e.input_ids[e.completion_start :], e.ends, strict=True)]
    lengths = torch.tensor([example.labelled for example in examples])
    return Ragged(torch.tensor(pairs, dtype=torch.int32).view(-1, 2), lengths)


def of_tokens(
    examples: Sequence[Example],
    labels_BL: Tensor,
    states_BLD: Tensor,
    hidden_states,
    head: Head | None,
    request: Request,
) -> dict[str, Ragged]:
    """What `request` needs of the labelled tokens (m in all) of a batch that has been read, on the CPU.

    token_logprobs  float32 [m]            log p(token | all before it), nats
    topk_logprobs   float32 [m, k]         the k likeliest in its place, the likeliest first, at `request.temperature`;
    topk_ids        int32 [m, k]           k is `request.top_k`, or as many tokens as there are
    hidden          float16 [m, layers, D] the states of the token itself after the blocks `request.layers` (0: the
                                           embeddings; after the last block: normed), each divided by its RMS over D

    `states_BLD` are what the head reads, `hidden_states` the states by block. `head`, of the tokens that there are,
    makes the logits, a few positions at a time, and only those that predict a labelled token; it may be None where
    neither likelihoods nor topk are needed.
    """
    lengths = torch.tensor([example.labelled for example in examples])
    labelled_BL, found = labels_BL != IGNORED, {}
    if "hidden" in request.needs:
        found["hidden"] = torch.stack([_unit(hidden_states[b][labelled_BL]) for b in request.layers], 1)
    if request.needs & LIKELIHOODS:
        predicting_mD, targets_m = states_BLD[:, :-1][labelled_BL[:, 1:]], labels_BL[labelled_BL]
        found |= _likelihoods(head, predicting_mD, targets_m, request)
    return {name: Ragged(values.cpu(), lengths) for name, values in found.items()}


def _likelihoods(head: Head, states_mD: Tensor, targets_m: Tensor, request: Request) -> dict[str, Tensor]:
    k = min(request.top_k, head.vocabulary)
    said, values, ids = [torch.empty(0)], [torch.empty(0, k)], [torch.empty(0, k, dtype=torch.int32)]
    size = max(1, ELEMENTS // head.vocabulary)
    for states_cD, targets_c in zip(states_mD.split(size), targets_m.split(size), strict=True):
        logits_cV = head.logits(states_cD)
        if "token_logprobs" in request.needs:
            said.append((logits_cV.gather(1, targets_c[:, None])[:, 0] - logits_cV.logsumexp(-1)).float().cpu())
        if "topk" in request.needs:
            top = (logits_cV / request.temperature).log_softmax(-1).topk(k, sorted=True)
            values.append(top.values.float().cpu())
            ids.append(top.indices.int().cpu())
    found = {"token_logprobs": torch.cat(said)} if "token_logprobs" in request.needs else {}
    return found | ({"topk_logprobs": torch.cat(values), "topk_ids": torch.cat(ids)} if "topk" in request.needs else {})


def _unit(states_mD: Tensor) -> Tensor:
    states_mD = states_mD.float()
    return (states_mD / states_mD.square().mean(-1, keepdim=True).sqrt().clamp_min(_TINY)).half()
