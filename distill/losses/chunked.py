"""Losses on logits that are never all there: from hidden states and heads to one number a token, chunk by chunk.

At a vocabulary of 151,936 the logits of one token take 0.6 MB, and a divergence written with autograd keeps about
10 MB a token. Two ways out:

    divergence_of_states    one autograd.Function: makes the float32 logits of a few tokens of both models, writes the
                            closed-form gradient over them, multiplies it by the head and keeps only that: [m, D]
    in_chunks               any other function of the logits, recomputed chunk by chunk in the backward pass

Both heads are frozen: no gradient reaches their weights. Nothing is multiplied by T^2. The plain reference is
divergences.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from distill.losses.divergences import FARTHEST, resolved
from distill.losses.head import Head, Projection
from distill.losses.precision import full_precision

ELEMENTS = 1 << 24  # logits of one model at a time: 64 MiB in float32, 110 tokens of a vocabulary of 151,936
GROUP = 1 << 20  # of those, how many the arithmetic between the two products takes at a time


class Divergence(NamedTuple):
    """What `divergence_of_states` finds: [m] nats, and [m] log-probabilities if targets were given, else None."""

    losses_m: Tensor
    teacher_logprobs_m: Tensor | None


def divergence_of_states(
    states_S_mD: Tensor,
    head_S: Head,
    states_T_mE: Tensor,
    head_T: Head,
    kind: str,
    beta: float = 0.5,
    temperature: float = 1.0,
    continuous: bool = False,
    targets_m: Tensor | None = None,
    elements: int = ELEMENTS,
) -> Divergence:
    """`divergences.divergence` of softmax(logits / temperature) of both models at m positions, without all the logits.

    Differentiable in the student's states only, once; callers may weigh the tokens as they like. float32 inside (and
    float64 where states or weights are), whatever autocast says. `teacher_logprobs_m`: the teacher's log-probability of
    `targets_m` at temperature 1, without gradient. `elements`: float32 logits of one model held at a time.
    ValueError where the heads' vocabularies or the numbers of states differ, or for a kind or beta that is none.
    """
    if head_S.vocabulary != head_T.vocabulary:
        raise ValueError(
            f"the heads have {head_S.vocabulary} and {head_T.vocabulary} logits: slice both to the tokens they share"
        )
    if len(states_S_mD) != len(states_T_mE):
        raise ValueError(f"{len(states_S_mD)} states of the student, but {len(states_T_mE)} of the teacher")
    recipe = _Recipe(
        head_S, head_T, resolved(kind, beta), beta, temperature, continuous, elements,
        gradient=torch.is_grad_enabled() and states_S_mD.requires_grad,
    )  # fmt: skip
    losses_m, teacher_logprobs_m = _FromStates.apply(states_S_mD, states_T_mE.detach(), targets_m, recipe)
    return Divergence(losses_m, None if targets_m is None else teacher_logprobs_m)


def in_chunks(
    function: Callable[..., Tensor], head: Head, states_mD: Tensor, *rowwise: Tensor, elements: int = ELEMENTS
) -> Tensor:
    """function(logits_cV, *rowwise_c) -> [c, ...] over chunks of the m states, joined: [m, ...].

    `function` treats rows alone and draws no random numbers: in the backward pass it runs again on each chunk, so that
    only one chunk's logits exist at a time. A single chunk is kept and not recomputed. `rowwise`: tensors [m, ...].
    """

    def of_chunk(states_cD: Tensor, *rowwise_c: Tensor) -> Tensor:
        return function(head.logits(states_cD), *rowwise_c)

    rows = max(1, elements // head.vocabulary)
    if len(states_mD) <= rows:
        return of_chunk(states_mD, *rowwise)
    chunks = zip(states_mD.split(rows), *(values.split(rows) for values in rowwise), strict=True)
    if not (torch.is_grad_enabled() and states_mD.requires_grad):
        return torch.cat([of_chunk(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(of_chunk, *c, use_reentrant=False, preserve_rng_state=False) for c in chunks])


def logprobs_of(head: Head, states_mD: Tensor, targets_m: Tensor, elements: int = ELEMENTS) -> Tensor:
    """[m] log-probabilities (nats, temperature 1) of the targets; differentiable in the states."""
    return in_chunks(_picked, head, states_mD, targets_m, elements=elements)


@full_precision
def _picked(logits_mV: Tensor, targets_m: Tensor) -> Tensor:
    return logits_mV.gather(-1, targets_m[:, None])[:, 0] - logits_mV.logsumexp(-1)


# --- divergence and gradient in one pass -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recipe:
    """What is to be computed, besides the tensors."""

    head_S: Head
    head_T: Head
    kind: str
    beta: float
    temperature: float
    continuous: bool
    elements: int
    gradient: bool


class _FromStates(torch.autograd.Function):
    """Losses [m] and, kept for the backward pass, d loss / d states [m, D]: the tokens do not see each other."""

    @staticmethod
    def forward(ctx, states_S_mD: Tensor, states_T_mE: Tensor, targets_m: Tensor | None, recipe: _Recipe) -> Any:
        losses_m, logprobs_m, gradient_mD = _over_chunks(states_S_mD, states_T_mE, targets_m, recipe)
        ctx.save_for_backward(gradient_mD)
        ctx.dtype = states_S_mD.dtype
        ctx.mark_non_differentiable(logprobs_m)
        return losses_m, logprobs_m

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_m: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_mD,) = ctx.saved_tensors
        return (gradient_mD * grad_m[:, None]).to(ctx.dtype), None, None, None


def _over_chunks(
    states_S_mD: Tensor, states_T_mE: Tensor, targets_m: Tensor | None, recipe: _Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """(losses [m], log-probabilities of the targets [m or 0], gradients [m, D or 0])."""
    m, vocabulary = len(states_S_mD), recipe.head_S.vocabulary
    given = (states_S_mD, states_T_mE, recipe.head_S.weight_VD, recipe.head_T.weight_VD)
    dtype = torch.float64 if torch.float64 in [x.dtype for x in given] else torch.float32
    device = states_S_mD.device.type
    student, teacher = (Projection(head, dtype, device) for head in (recipe.head_S, recipe.head_T))
    losses_m = states_S_mD.new_empty(m, dtype=dtype)
    logprobs_m = losses_m.new_empty(0 if targets_m is None else m)
    gradient_mD = losses_m.new_empty(m, states_S_mD.shape[1] if recipe.gradient else 0)
    rows = max(1, min(m, recipe.elements // vocabulary))
    buffers = losses_m.new_empty(2, rows, vocabulary)  # made once: fresh pages cost more than arithmetic on the CPU
    with torch.autocast(device, enabled=False):
        for start in range(0, m, rows):
            at = slice(start, min(start + rows, m))
            z_S_cV, z_T_cV = buffers[:, : at.stop - start]
            student.logits(states_S_mD[at], out=z_S_cV)
            teacher.logits(states_T_mE[at], out=z_T_cV)
            if targets_m is not None:
                logprobs_m[at] = _in_groups(_picked, z_T_cV, targets_m[at])
            losses_m[at] = _in_groups(_loss_and_gradient, z_S_cV, z_T_cV, recipe=recipe)
            if recipe.gradient:
                student.pulled_back(z_S_cV, out=gradient_mD[at])
    return losses_m, logprobs_m, gradient_mD


def _in_groups(function: Callable[..., Tensor], *rowwise_c: Tensor, **kwargs: Any) -> Tensor:
    """function(*rowwise_g) over a few rows at a time, joined: its temporaries stay small, and in the cache."""
    size = max(1, GROUP // rowwise_c[0].shape[1])
    groups = zip(*(values.split(size) for values in rowwise_c), strict=True)
    return torch.cat([function(*group, **kwargs) for group in groups])


def _loss_and_gradient(z_S_gV: Tensor, z_T_gV: Tensor, recipe: _Recipe) -> Tensor:
    """The losses [g] of finished logits; d loss / d (h W^T + b) is written over the student's, if wanted."""
    T = recipe.temperature
    log_s, log_t = (_log_softmax(z_gV if T == 1 else z_gV / T) for z_gV in (z_S_gV, z_T_gV))
    factor = 1.0
    if recipe.kind == "jsd":
        factor = 1 / (recipe.beta * (1 - recipe.beta)) if recipe.continuous else 1.0
        loss_g, gradient_gV = _jsd(log_s, log_t, recipe.beta, recipe.gradient)
    else:
        loss_g, gradient_gV = (_forward if recipe.kind == "forward" else _reverse)(log_s, log_t, recipe.gradient)
    if gradient_gV is not None:
        head = recipe.head_S
        if head.softcap is not None:  # d z = (1 - tanh^2), and the logit is softcap * tanh
            gradient_gV.mul_(z_S_gV.div_(head.softcap).square_().neg_().add_(1))
        torch.mul(gradient_gV, factor * head.scale / T, out=z_S_gV)
    return loss_g.mul_(factor)


def _log_softmax(z_gV: Tensor) -> Tensor:
    # torch's own log_softmax adds a row's exponentials one by one on the CPU: over 151,665 tokens it is off by up to
    # 2e-5, and the gradient by up to 5e-4. logsumexp adds them pairwise: 6e-7.
    return z_gV - z_gV.logsumexp(-1, keepdim=True)


# Each of these overwrites its arguments and gives (loss [g], d loss / d (z_S / T) [g, V] or None).


def _forward(log_s: Tensor, log_t: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """KL(p_T || p_S); gradient p_S - p_T."""
    gap = log_t - log_s
    p_t = log_t.exp_()
    return gap.mul_(p_t).sum(-1), log_s.exp_().sub_(p_t) if gradient else None


def _reverse(log_s: Tensor, log_t: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """KL(p_S || p_T); gradient p_S (log(p_S / p_T) - KL)."""
    gap = log_s - log_t
    p_s = log_s.exp_()
    loss_g = torch.mul(gap, p_s, out=log_t).sum(-1)
    return loss_g, gap.sub_(loss_g[:, None]).mul_(p_s) if gradient else None


def _jsd(log_s: Tensor, log_t: Tensor, beta: float, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """b KL(p_T || m) + (1-b) KL(p_S || m); gradient (1-b) p_S (log(p_S / m) - KL(p_S || m))."""
    gap = torch.sub(log_t, log_s).clamp_(max=FARTHEST)
    p_t, p_s = log_t.exp_(), log_s.exp_()
    rise = torch.expm1(gap).mul_(beta).log1p_()  # log(m / p_S); see divergences.py
    teacher_g = gap.sub_(rise).mul_(p_t).sum(-1)
    student_g = torch.mul(p_s, rise, out=gap).sum(-1).neg_()
    loss_g = beta * teacher_g + (1 - beta) * student_g
    return loss_g, rise.add_(student_g[:, None]).mul_(p_s).mul_(beta - 1) if gradient else None
