"""How far apart are two next-token distributions? Divergences between log-probabilities, [..., V] -> [...], in nats.

Three kinds, p_S the student's, p_T the teacher's:

    forward   KL(p_T || p_S)                                  be likely wherever the teacher is (Hinton 1503.02531)
    reverse   KL(p_S || p_T)                                  be unlikely wherever the teacher is
    jsd       b KL(p_T || m) + (1-b) KL(p_S || m)             m = (1-b) p_S + b p_T (GKD, 2306.13649 eq. 1)

jsd is written as TRL 1.16 writes it: beta 0 and 1 stand for forward and reverse, which plain jsd does not approach (it
goes to 0 at both ends). `continuous` divides it by b (1-b): then it does. Nothing here multiplies by T^2.

A teacher of which only the k likeliest tokens are stored is compared on k + 1 buckets: those tokens, and all others as
one. That is a true divergence of coarser distributions, never more than the full one (data processing). Dropping the
rest and renormalising is not: with k = 1 it is 0 whatever the student says.

This module is the plain reference, all V numbers at a time and differentiated by autograd; chunked.py does the same
from hidden states in little memory. Every function leaves autocast and computes in float32, or in float64 when given
float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distill.losses.precision import full_precision

KINDS = ("forward", "reverse", "jsd")
FARTHEST = 80.0  # nats; e^-80 of a probability is nothing in either precision, and e^80 still fits float32
EMPTY = -1e4  # a log-probability below this cannot come from logits: there is no token in the bucket


def resolved(kind: str, beta: float = 0.5) -> str:
    """The kind that is meant: jsd at beta 0 is forward, at beta 1 reverse. ValueError for anything unknown."""
    if kind not in KINDS:
        raise ValueError(f"a divergence is one of {', '.join(KINDS)}, not {kind!r}")
    if kind == "jsd" and not 0 <= beta <= 1:
        raise ValueError(f"beta of a jsd lies between 0 and 1, not at {beta}")
    return {0: "forward", 1: "reverse"}.get(beta, kind) if kind == "jsd" else kind


@full_precision
def divergence(log_s: Tensor, log_t: Tensor, kind: str, beta: float = 0.5, continuous: bool = False) -> Tensor:
    """[..., V] log-probabilities (finite) of student and teacher -> [...], nats; differentiable in both.

    `beta` in [0, 1] and `continuous` are read by jsd only. ValueError for another kind or beta.
    """
    kind = resolved(kind, beta)
    if kind == "forward":
        return _kl(log_t, log_s)
    if kind == "reverse":
        return _kl(log_s, log_t)
    # log(m / p_S) = log(1 + b (p_T / p_S - 1)): exact where the two are alike, where log m - log p_S would cancel.
    gap = (log_t - log_s).clamp(max=FARTHEST)
    rise = torch.log1p(beta * torch.expm1(gap))
    value = (beta * log_t.exp() * (gap - rise) - (1 - beta) * log_s.exp() * rise).sum(-1)
    return value / (beta * (1 - beta)) if continuous else value


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


# --- the k likeliest tokens and the rest -------------------------------------------------------------------------


@full_precision
def buckets(logits_mV: Tensor, topk_ids_mk: Tensor) -> Tensor:
    """[m, k+1] log-probabilities under `logits_mV` of the tokens `topk_ids_mk` and, last, of all the others.

    An id beyond V is no token here: its bucket is empty (as `with_tail` makes it for the same ids). The tail is summed
    from its own logits, not taken from 1, so it is exact however small. All is finite, and so are the gradients.
    """
    rows, vocabulary = logits_mV.shape
    known_mk = topk_ids_mk < vocabulary
    # One column more, for what is not known, then dropped: it must not hide a token that is.
    covered_mV = torch.zeros(rows, vocabulary + 1, dtype=torch.bool, device=logits_mV.device)
    covered_mV = covered_mV.scatter_(-1, topk_ids_mk.clamp(max=vocabulary), True)[:, :vocabulary]
    total_m1 = logits_mV.logsumexp(-1, keepdim=True)
    top_mk = logits_mV.gather(-1, topk_ids_mk.where(known_mk, 0)) - total_m1
    rest_mV = logits_mV.masked_fill(covered_mV, torch.finfo(logits_mV.dtype).min)
    tail_m1 = rest_mV.logsumexp(-1, keepdim=True) - total_m1
    tail_m1 = tail_m1.masked_fill(tail_m1 < EMPTY, math.log(torch.finfo(tail_m1.dtype).eps))
    return torch.cat([top_mk.masked_fill(~known_mk, EMPTY), tail_m1], -1)


@full_precision
def with_tail(topk_logprobs_mk: Tensor, known_mk: Tensor | None = None) -> Tensor:
    """[m, k+1]: the log-probabilities given and, last, that of all other tokens, log(1 - sum).

    The sum of rounded numbers may reach 1 or pass it: the tail is then the least that can be told from 0 (1.2e-7 in
    float32). Where `known_mk` is False the token is counted among the others and its own bucket is empty.
    """
    if known_mk is not None:
        topk_logprobs_mk = topk_logprobs_mk.masked_fill(~known_mk, EMPTY)
    return torch.cat([topk_logprobs_mk, _log_rest(topk_logprobs_mk.logsumexp(-1, keepdim=True))], -1)


def _log_rest(log_p: Tensor) -> Tensor:
    """log(1 - p), 1 - p at least the dtype's epsilon: of the two usual forms the one that does not cancel."""
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    return torch.where(log_p > -math.log(2), torch.log(-torch.expm1(log_p)), torch.log1p(-log_p.exp()))
