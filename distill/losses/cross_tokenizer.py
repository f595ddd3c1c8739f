"""How far a student is from a teacher with other tokens. Everything in nats a chunk (ULD: probability a position).

    alm              the likelihood of a chunk of text, whatever tokens it is made of (Minixhofer et al., 2503.20083)
    shared_kl        KL(p_T || p_S) on the tokens that both have, all others of each side being one more
    projected_kl     KL(p_T || W^T p_S), W taking the student's tokens to the teacher's (X-Token's P-KL, 2605.21699)
    uld, uld_topk    L1 between sorted probabilities, whatever they are of (2402.12030): a baseline, blind to meaning

The KLs are of distributions that are whole on both sides, so they are never negative: what is not shared, not among the
teacher's stored tokens or beyond W's reach is one bucket, and the same bucket for both. (TRL's GOLD compares the shared
tokens alone, which is no divergence: it falls below 0 by itself.) W is sparse, two tensors [V_S, k]: student token v
stands for the teacher's tokens ids[v] with shares weights[v] (`teachers.token_map.Bridge`). Everything leaves autocast
and computes in float32, or in float64 when given that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill.losses.divergences import EMPTY, buckets, divergence, with_tail
from distill.losses.precision import full_precision

EPSILON = 1e-6  # how near to certain a chunk can be, as 1 - p^(1 / tau)


@full_precision
def alm(logprobs_S: Tensor, logprobs_T: Tensor, tau: float) -> Tensor:
    """Binary KL between p_T^(1/tau) and p_S^(1/tau), elementwise; differentiable in the student's log-probabilities.

    It is the binary cross-entropy of 2503.20083, less the teacher's entropy, so 0 where both agree. At tau 1 a
    chunk of many tokens is as good as impossible for both; a large tau looks at the ratio of log-probabilities: tau
    times this approaches l_T log(l_T / l_S) - l_T + l_S with l = -log p.
    """
    x_S, x_T = (_certain_at_most(logprobs / tau) for logprobs in (logprobs_S, logprobs_T))
    return x_T.exp() * (x_T - x_S) - torch.expm1(x_T) * (_log1mexp(x_T) - _log1mexp(x_S))


def _certain_at_most(x: Tensor) -> Tensor:
    """x <= log(1 - epsilon) in value. The gradient passes as if it had been there, so certainty can be unlearnt."""
    return x + (x.clamp(max=-EPSILON) - x).detach()


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0."""
    return torch.log(-torch.expm1(x))


@full_precision
def shared_kl(logits_mV: Tensor, topk_logprobs_mk: Tensor, topk_ids_mk: Tensor, shared_T: Tensor) -> Tensor:
    """[m]: KL over the stored tokens of the teacher that the student has too, and all other tokens as one.

    logits_mV: the student's. topk_*: the teacher's likeliest tokens in its own ids. shared_T: the student's token that
    is the same as the teacher's, -1 for none.
    """
    ours_mk = shared_T[topk_ids_mk]
    known_mk = ours_mk >= 0
    log_s = buckets(logits_mV, ours_mk.where(known_mk, logits_mV.shape[-1]))
    return divergence(log_s, with_tail(topk_logprobs_mk, known_mk), "forward")


@full_precision
def projected_kl(
    logits_mV: Tensor, topk_logprobs_mk: Tensor, topk_ids_mk: Tensor, ids_Vk: Tensor, weights_Vk: Tensor, size_T: int
) -> Tensor:
    """[m]: KL(p_T || W^T p_S) over the teacher's stored tokens and all others as one.

    `size_T`: tokens of the teacher. A token of the teacher's that no token of the student's stands for is counted among
    the others, and so is the mass of the student's tokens that stand for none of the teacher's.
    """
    p_mV = logits_mV.softmax(-1)
    q_mT = p_mV.new_zeros(len(p_mV), size_T)
    for ids_V, weights_V in zip(ids_Vk.unbind(1), weights_Vk.unbind(1), strict=True):
        q_mT = q_mT.index_add(1, ids_V, p_mV * weights_V)
    reached_T = torch.zeros(size_T, dtype=torch.bool, device=ids_Vk.device)
    reached_T[ids_Vk[weights_Vk > 0]] = True
    known_mk = reached_T[topk_ids_mk]
    # The rest is added up, not taken from 1, so that it is exact however small.
    listed_mT = torch.zeros_like(q_mT, dtype=torch.bool).scatter_(1, topk_ids_mk, True) & reached_T
    lost_V = 1 - weights_Vk.sum(1)
    rest_m = q_mT.masked_fill(listed_mT, 0).sum(-1) + p_mV @ lost_V.where(lost_V > EPSILON, 0)
    least = torch.finfo(p_mV.dtype)
    top_mk = q_mT.gather(1, topk_ids_mk).clamp_min(least.tiny).log().masked_fill(~known_mk, EMPTY)
    log_s = torch.cat([top_mk, rest_m.where(rest_m > least.tiny, least.eps).log()[:, None]], -1)
    return divergence(log_s, with_tail(topk_logprobs_mk, known_mk), "forward")


@full_precision
def uld(p_S: Tensor, p_T: Tensor) -> Tensor:
    """[..., V_S], [..., V_T] -> [...]: L1 between the probabilities, each sorted, the shorter filled up with zeros.

    0 wherever one is a permutation of the other, though their total variation may be near 1.
    """
    width = max(p_S.shape[-1], p_T.shape[-1])
    s, t = (
        torch.nn.functional.pad(p.sort(dim=-1, descending=True).values, (0, width - p.shape[-1])) for p in (p_S, p_T)
    )
    return (s - t).abs().sum(-1)


@full_precision
def uld_topk(logits_mV: Tensor, topk_logprobs_mk: Tensor) -> Tensor:
    """[m]: `uld` where only the k likeliest of the teacher are known: those one by one, the rest as one number.

    Never more than `uld` of the whole, for the triangle's sake; exact where the teacher's rest is nothing.
    """
    p_mV, p_T_mk = logits_mV.softmax(-1), topk_logprobs_mk.exp()
    k = p_T_mk.shape[-1]
    top_mk = p_mV.topk(min(k, p_mV.shape[-1]), sorted=True).values
    top_mk = torch.nn.functional.pad(top_mk, (0, k - top_mk.shape[-1]))
    return (top_mk - p_T_mk).abs().sum(-1) + (p_T_mk.sum(-1) - top_mk.sum(-1)).abs()
