"""Losses across tokenizers: the vectors of docs/methods.md, 4, and what makes each a divergence."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from distill.losses.cross_tokenizer import alm, projected_kl, shared_kl, uld, uld_topk

M, V_S, V_T = 6, 9, 7


def numbers(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def top(logits_T, k):
    """What a teacher keeps of its distribution."""
    found = logits_T.log_softmax(-1).topk(k)
    return found.values, found.indices


# --- ALM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tau", "expected"), [(1, 0.022582421), (100, 3.7318866e-4)])
def test_alm_vectors(tau, expected):
    l_T, l_S = torch.tensor([0.4, 0.3], dtype=torch.float64).log().split(1)
    assert alm(l_S, l_T, tau).item() == pytest.approx(expected, rel=1e-7)
    assert alm(l_S.float(), l_T.float(), tau).item() == pytest.approx(expected, rel=2e-4)


def test_alm_is_the_papers_cross_entropy_less_the_teachers_entropy():
    l_S, l_T = -numbers(50, seed=1).abs(), -numbers(50, seed=2).abs()
    for tau in (1, 10, 100):
        p, q = (l_T / tau).exp(), (l_S / tau).exp()
        cross = -(p * l_S / tau + (1 - p) * torch.log(1 - q))
        entropy = -(p * p.log() + (1 - p) * torch.log(1 - p))
        torch.testing.assert_close(alm(l_S, l_T, tau), cross - entropy, atol=1e-12, rtol=1e-7)


def test_alm_is_0_where_both_agree_and_positive_elsewhere():
    spread = torch.tensor([0.0, -1e-9, -1e-5, -1e-3, -0.1, -1, -10, -1000])
    for tau in (1, 100):
        both = alm(spread[:, None], spread[None], tau)
        assert both.isfinite().all() and (both > -1e-6).all()
        assert torch.equal(both.diag(), torch.zeros(8))
        assert (both[4:, :4] > 0).all() and (both[:4, 4:] > 0).all()


def test_alm_of_a_large_tau_compares_log_probabilities():
    l_T, l_S = torch.tensor([2.0, 0.5, 30.0]).double(), torch.tensor([3.0, 0.1, 20.0]).double()
    limit = l_T * torch.log(l_T / l_S) - l_T + l_S
    torch.testing.assert_close(1e4 * alm(-l_S, -l_T, 1e4), limit, rtol=5e-3, atol=0)


def test_certainty_can_be_unlearnt_and_the_gradient_is_finite():
    l_S = torch.tensor([0.0, -1e-8, -0.01, -500.0], requires_grad=True)
    alm(l_S, torch.tensor([-1.0, -1.0, -1.0, -1.0]), 100).sum().backward()
    assert (l_S.grad[:3] > 0).all() and l_S.grad[3] < 0 and l_S.grad.isfinite().all()
    l_S = torch.tensor([0.0, -1e-8, -2.0], requires_grad=True)
    alm(l_S, l_S.detach(), 100).sum().backward()
    assert l_S.grad.abs().max() < 1e-6  # at rest where both agree, the certain included


# --- KLs with a bucket for the rest ---------------------------------------------------------------------------------


def dense_shared(z_S, z_T, shared, listed):
    """The divergence by hand, from whole distributions: the tokens shared and listed, and all others."""
    p_S, p_T = z_S.softmax(-1), z_T.softmax(-1)
    total, rest_S, rest_T = 0.0, 1.0, 1.0
    for t in listed.tolist():
        if shared[t] >= 0:
            total += (p_T[t] * (p_T[t] / p_S[shared[t]]).log()).item()
            rest_S, rest_T = rest_S - p_S[shared[t]].item(), rest_T - p_T[t].item()
    return total + (rest_T * math.log(rest_T / rest_S) if rest_T > 1e-12 else 0.0)


SHARED = torch.tensor([3, -1, 0, 8, -1, 1, -1])


@pytest.mark.parametrize("k", [1, 3, V_T])
def test_shared_kl_by_hand(k):
    z_S, z_T = numbers(M, V_S, seed=3), numbers(M, V_T, seed=4)
    logprobs, ids = top(z_T, k)
    expected = [dense_shared(z_S[m], z_T[m], SHARED, ids[m]) for m in range(M)]
    found = shared_kl(z_S, logprobs, ids, SHARED)
    assert found.tolist() == pytest.approx(expected, abs=1e-9) and (found >= 0).all()


def test_shared_kl_of_the_same_vocabulary_is_kl_and_0_for_the_same_model():
    z_S, z_T, same = numbers(M, V_T, seed=5), numbers(M, V_T, seed=6), torch.arange(V_T)
    kl = (z_T.softmax(-1) * (z_T.log_softmax(-1) - z_S.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(shared_kl(z_S, *top(z_T, V_T), same), kl, atol=1e-9, rtol=1e-7)
    assert (shared_kl(z_S, *top(z_T, 3), same) <= kl + 1e-9).all()  # coarser distributions are never further apart
    torch.testing.assert_close(shared_kl(z_T, *top(z_T, 3), same), torch.zeros(M).double(), atol=1e-9, rtol=0)
    assert torch.equal(shared_kl(z_S, *top(z_T, 3), same - V_T), torch.zeros(M).double())  # nothing is shared


def sparse(seed=7):
    """A W of four teacher tokens a student token, one row empty, and teacher token 4 beyond reach."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(V_T - 1, generator=draw)[:4] for _ in range(V_S)])
    ids[ids == 4] = V_T - 1
    weights = torch.rand(V_S, 4, generator=draw, dtype=torch.float64)
    weights[2:4, 1:] = 0
    weights = weights / weights.sum(1, keepdim=True)
    weights[5] = 0
    return ids, weights


@pytest.mark.parametrize("k", [1, 3, V_T])
def test_projected_kl_by_hand(k):
    z_S, z_T = numbers(M, V_S, seed=8), numbers(M, V_T, seed=9)
    ids, weights = sparse()
    W = torch.zeros(V_S, V_T).double().scatter_add_(1, ids, weights)
    q, p = z_S.softmax(-1) @ W, z_T.softmax(-1)
    logprobs, listed = top(z_T, k)
    reached = W.sum(0) > 0
    assert reached.tolist() == [t != 4 for t in range(V_T)]
    expected = []
    for m in range(M):
        chosen = [t for t in listed[m].tolist() if reached[t]]
        rest_p, rest_q = 1 - p[m, chosen].sum(), 1 - q[m, chosen].sum()
        kl = (p[m, chosen] * (p[m, chosen] / q[m, chosen]).log()).sum()
        expected.append((kl + rest_p * (rest_p / rest_q).log()).item())
    found = projected_kl(z_S, logprobs, listed, ids, weights, V_T)
    assert found.tolist() == pytest.approx(expected, abs=1e-9) and (found >= 0).all()


def test_projection_onto_itself_is_kl_and_0_for_the_same_model():
    z_S, z_T = numbers(M, V_T, seed=10), numbers(M, V_T, seed=11)
    ids, weights = torch.arange(V_T)[:, None], torch.ones(V_T, 1).double()
    kl = (z_T.softmax(-1) * (z_T.log_softmax(-1) - z_S.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(projected_kl(z_S, *top(z_T, V_T), ids, weights, V_T), kl, atol=1e-9, rtol=1e-7)
    zero = projected_kl(z_T.float(), *top(z_T.float(), 3), ids, weights.float(), V_T)
    torch.testing.assert_close(zero, torch.zeros(M), atol=2e-6, rtol=0)


def test_the_digits_of_a_number_are_not_lost():
    # The student's one token "201" is the teacher's "2", "0", "1": the case where comparing shared tokens only fails.
    z_S = torch.tensor([[10.0, 0.0, 0.0], [0.0, 10.0, 0.0]])  # "201", "7", "x"
    ids, weights = (
        torch.tensor([[0, 1, 2], [3, 0, 0], [4, 0, 0]]),
        torch.tensor([[0.9, 0.09, 0.01], [1, 0, 0], [1, 0, 0]]),
    )
    log_T = torch.tensor([[0.9, 0.05, 0.03, 0.01, 0.01]] * 2).log()  # it is about to write a 2
    found = projected_kl(z_S, log_T, torch.arange(5).expand(2, 5), ids, weights, 5)
    assert found[0] < 0.2 < 3 < found[1]


# --- ULD ------------------------------------------------------------------------------------------------------------


def test_uld_is_0_on_permutations_however_far_they_are():
    p = torch.tensor([0.97, 0.015, 0.015, 0.0])
    assert uld(p, p.flip(0)).item() == 0 and (p - p.flip(0)).abs().sum() / 2 == pytest.approx(0.97)
    assert uld(torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.1, 0.7])).item() == pytest.approx(0.2 + 0.3 + 0.1)


def test_uld_of_the_likeliest_is_a_lower_bound_that_the_whole_reaches():
    for v_S, v_T in ((V_S, V_T), (V_T, V_S), (3, V_S)):
        z_S, z_T = numbers(M, v_S, seed=12), numbers(M, v_T, seed=13)
        whole = uld(z_S.softmax(-1), z_T.softmax(-1))
        bounds = torch.stack([uld_topk(z_S, top(z_T, k)[0]) for k in range(1, v_T + 1)])
        assert (bounds <= whole + 1e-12).all() and (bounds.diff(dim=0) >= -1e-12).all()
        if v_S <= v_T:
            torch.testing.assert_close(bounds[-1], whole)


# --- all of them ----------------------------------------------------------------------------------------------------


def losses(z_S, k=3):
    z_T = numbers(M, V_T, seed=20)
    ids, weights = sparse()
    return {
        "alm": lambda z: alm(z.log_softmax(-1)[:, 0], z_T.log_softmax(-1)[:, 0].to(z), 100),
        "shared": lambda z: shared_kl(z, *top(z_T, k), SHARED),
        "projected": lambda z: projected_kl(z, *top(z_T, k), ids, weights, V_T),
        "uld": lambda z: uld(z.softmax(-1), z_T.softmax(-1)),
        "uld_topk": lambda z: uld_topk(z, top(z_T, k)[0]),
    }


@pytest.mark.parametrize("name", list(losses(None)))
def test_gradcheck(name):
    z_S = numbers(M, V_S, seed=21)
    assert gradcheck(losses(z_S)[name], (z_S.requires_grad_(),))


@pytest.mark.parametrize("name", list(losses(None)))
def test_of_extreme_logits_all_is_finite_and_autocast_changes_nothing(name):
    z_S = numbers(M, V_S, seed=22, scale=60.0).float().requires_grad_()
    loss = losses(z_S)[name](z_S)
    loss.sum().backward()
    assert loss.isfinite().all() and z_S.grad.isfinite().all() and (loss >= -1e-6).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(losses(z_S)[name](z_S), loss)
    if name in ("shared", "projected", "uld_topk"):  # those that take logits widen them
        half = z_S.detach().bfloat16()
        torch.testing.assert_close(losses(half)[name](half), losses(half)[name](half.float()))


@pytest.mark.parametrize("name", ["shared", "projected", "uld_topk"])
def test_no_rows_are_no_loss(name):
    ids, weights = sparse()
    z, logprobs, listed = (
        torch.zeros(0, V_S, requires_grad=True),
        torch.zeros(0, 3),
        torch.zeros(0, 3, dtype=torch.long),
    )
    found = {
        "shared": lambda: shared_kl(z, logprobs, listed, SHARED),
        "projected": lambda: projected_kl(z, logprobs, listed, ids, weights.float(), V_T),
        "uld_topk": lambda: uld_topk(z, logprobs),
    }[name]()
    assert found.shape == (0,) and found.requires_grad
