"""Divergences between next-token distributions: the vectors of docs/methods.md, 3, and what always holds."""

from __future__ import annotations

import math

import pytest
import torch
from feature_cases import normal
from logit_cases import KINDS, logprobs
from torch import Tensor
from torch.autograd import gradcheck

from distill.losses.divergences import buckets, divergence, resolved, with_tail

HALF, SURE = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).log()
P, Q = torch.tensor([[[0.6, 0.2, 0.1, 0.06, 0.04]], [[0.3, 0.3, 0.2, 0.1, 0.1]]], dtype=torch.float64).log()


def stored(log_t: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What a bank keeps of a teacher: its k likeliest tokens."""
    return log_t.topk(k, dim=-1)


def bucketed(log_s: Tensor, log_t: Tensor, k: int, *how, **kwargs) -> Tensor:
    values, ids = stored(log_t, k)
    return divergence(buckets(log_s, ids), with_tail(values), *how, **kwargs)


# --- vectors -----------------------------------------------------------------------------------------------------


def test_hintons_vector():
    z_s, z_t = torch.tensor([[2.0, 1, 0], [0, 1, 3]]).double()
    kl = divergence((z_s / 2).log_softmax(-1), (z_t / 2).log_softmax(-1), "forward")
    assert kl.item() == pytest.approx(0.518454082, abs=1e-9)
    assert 4 * kl.item() == pytest.approx(2.073816329, abs=4e-9)


@pytest.mark.parametrize(
    ("beta", "value"), [(0, 0.368064207), (0.1, 0.033602999), (0.5, 0.101749225), (0.9, 0.043074091), (1, 0.510825624)]
)
def test_generalised_jsd_vectors(beta, value):
    assert divergence(HALF, SURE, "jsd", beta).item() == pytest.approx(value, abs=1e-9)


def test_topk_vector():
    full, tail = divergence(Q, P, "forward").item(), bucketed(Q, P, 2, "forward").item()
    assert full == pytest.approx(0.198179402, abs=1e-9)
    assert tail == pytest.approx(0.196165851, abs=1e-9)
    renormalised = divergence(Q[:, :2].log_softmax(-1), P[:, :2].log_softmax(-1), "forward").item()
    assert renormalised == pytest.approx(0.130812036, abs=1e-9)  # what this is not
    assert bucketed(Q, P, 1, "forward").item() == pytest.approx(0.6 * math.log(2) + 0.4 * math.log(4 / 7), abs=1e-12)


# --- properties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_never_negative_and_zero_only_between_equals(kind, beta, spread):
    for seed in range(10):
        log_s, log_t = (logprobs(6, 17, seed=2 * seed + i, spread=spread) for i in (0, 1))
        value = divergence(log_s, log_t, kind, beta)
        assert value.shape == (6,) and (value > 1e-12).all()
        assert divergence(log_s, log_s, kind, beta).abs().max() < 1e-15


@pytest.mark.parametrize("spread", [1.0, 30.0, 300.0])
def test_jsd_is_what_its_definition_says(spread):
    log_s, log_t = (logprobs(40, 17, seed=seed, spread=spread) for seed in (0, 1))
    for beta in (0.001, 0.1, 0.5, 0.9):
        log_m = torch.logaddexp(log_s + math.log(1 - beta), log_t + math.log(beta))
        kls = [(log_p.exp() * (log_p - log_m)).sum(-1) for log_p in (log_t, log_s)]
        torch.testing.assert_close(divergence(log_s, log_t, "jsd", beta), beta * kls[0] + (1 - beta) * kls[1])


def test_jsd_is_symmetric_at_one_half_and_bounded():
    for seed in range(10):
        log_s, log_t = logprobs(5, 9, seed=seed, spread=8), logprobs(5, 9, seed=seed + 100, spread=8)
        there, back = divergence(log_s, log_t, "jsd"), divergence(log_t, log_s, "jsd")
        torch.testing.assert_close(there, back)
        assert (there <= math.log(2)).all()
        mirrored = divergence(log_t, log_s, "jsd", 0.8)
        torch.testing.assert_close(divergence(log_s, log_t, "jsd", 0.2), mirrored)


def test_only_the_continuous_jsd_reaches_the_kls_at_its_ends():
    log_s, log_t = logprobs(8, 11, spread=1), logprobs(8, 11, seed=1, spread=1)
    for beta, kind in ((1e-6, "forward"), (1 - 1e-6, "reverse")):
        kl = divergence(log_s, log_t, kind)
        torch.testing.assert_close(divergence(log_s, log_t, "jsd", beta, continuous=True), kl, rtol=1e-4, atol=1e-6)
        assert (divergence(log_s, log_t, "jsd", beta) < 1e-4 * kl).all()
        torch.testing.assert_close(divergence(log_s, log_t, "jsd", round(beta), continuous=True), kl)
    beta = 0.3
    plain = divergence(log_s, log_t, "jsd", beta)
    torch.testing.assert_close(divergence(log_s, log_t, "jsd", beta, continuous=True), plain / (beta * (1 - beta)))


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("continuous", [False, True])
def test_gradcheck(kind, beta, continuous):
    z_s, z_t = normal(3, 6).requires_grad_(), normal(3, 6, seed=1).requires_grad_()
    how = (kind, beta, continuous)
    assert gradcheck(lambda a, b: divergence(a.log_softmax(-1), b.log_softmax(-1), *how), (z_s, z_t))


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_confident_and_disagreeing_models_give_finite_values_and_gradients(kind, beta):
    z_s = torch.tensor([[400.0, 0, 0], [0, 0, 300]]).requires_grad_()
    z_t = torch.tensor([[0.0, 400, 0], [0, 0, 300]])
    value = divergence(z_s.log_softmax(-1), z_t.log_softmax(-1), kind, beta)
    value.sum().backward()
    assert value.isfinite().all() and z_s.grad.isfinite().all()
    assert value[0] > 0.3 and value[1] == 0


def test_sixteen_bit_inputs_and_autocast_change_nothing():
    log_s, log_t = logprobs(4, 9).bfloat16(), logprobs(4, 9, seed=1).bfloat16()
    exact = divergence(log_s.double(), log_t.double(), "jsd")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = divergence(log_s, log_t, "jsd")
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="forward, reverse, jsd, not 'kl'"):
        divergence(HALF, SURE, "kl")
    with pytest.raises(ValueError, match=r"not at 1\.5"):
        divergence(HALF, SURE, "jsd", 1.5)
    assert [resolved("jsd", beta) for beta in (0, 0.5, 1)] == ["forward", "jsd", "reverse"]
    assert resolved("forward", 1) == "forward"  # beta is of jsd only


# --- buckets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_buckets_never_exceed_the_full_divergence_and_reach_it(kind, beta):
    for seed in range(10):
        log_s, log_t = logprobs(5, 12, seed=seed), logprobs(5, 12, seed=seed + 100)
        full, last = divergence(log_s, log_t, kind, beta), torch.zeros(5).double()
        for k in (1, 2, 5, 11, 12):
            coarse = bucketed(log_s, log_t, k, kind, beta)
            assert (coarse <= full + 1e-12).all() and (coarse >= last - 1e-12).all()
            last = coarse
        torch.testing.assert_close(last, full, rtol=0, atol=1e-12)
    assert (bucketed(log_s, log_t, 1, kind, beta) > 1e-6).all()  # renormalised, one token would be 0 for any student


def test_buckets_are_the_probabilities_of_those_tokens_and_of_the_rest():
    z, ids = normal(4, 9), torch.tensor([[0, 3], [8, 1], [2, 5], [7, 6]])
    p = z.softmax(-1)
    top = p.gather(-1, ids)
    torch.testing.assert_close(buckets(z, ids).exp(), torch.cat([top, 1 - top.sum(-1, keepdim=True)], -1))
    torch.testing.assert_close(with_tail(top.log()), buckets(z, ids))
    assert gradcheck(lambda z: buckets(z, ids), (z.requires_grad_(),))
    assert gradcheck(with_tail, (top.log().detach().requires_grad_(),))


def test_a_tiny_tail_is_exact_and_still_pulled_up():
    """1 - p would be 0 in float32 here; a teacher with some mass in the tail must move the student all the same."""
    z = torch.tensor([[60.0, 0, 0, 1]]).requires_grad_()
    ids = torch.tensor([[0]])
    log_tail = buckets(z, ids)[0, 1]
    assert log_tail.item() == pytest.approx(math.log(2 + math.e) - 60, rel=1e-6)
    divergence(buckets(z, ids), with_tail(torch.tensor([[math.log(0.9)]])), "forward").sum().backward()
    assert z.grad[0, 0].item() == pytest.approx(0.1, abs=1e-6)  # p_S - p_T
    assert z.grad[0, 1:].sum().item() == pytest.approx(-0.1, abs=1e-6)


@pytest.mark.parametrize("over", [0.0, 1e-7, 3e-6])
@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_rounding_may_bring_the_teachers_sum_to_one_and_beyond(over, kind, beta):
    topk = (torch.tensor([[0.75, 0.25], [1.0, 1e-30]]).log() + over).requires_grad_()
    log_t = with_tail(topk)
    assert log_t.isfinite().all() and (log_t[:, -1].exp() <= 2e-7).all()
    z = torch.randn(2, 5).requires_grad_()
    value = divergence(buckets(z, torch.tensor([[1, 2], [4, 0]])), log_t, kind, beta)
    value.sum().backward()
    assert value.isfinite().all() and z.grad.isfinite().all() and topk.grad.isfinite().all()


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_all_tokens_stored_leave_an_empty_rest_in_float32_too(kind, beta):
    z, log_t = normal(5, 12).float().requires_grad_(), logprobs(5, 12, seed=1).float()
    coarse, full = bucketed(z, log_t, 12, kind, beta), divergence(z.log_softmax(-1), log_t, kind, beta)
    torch.testing.assert_close(coarse, full, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(x.sum(), z)[0] for x in (coarse, full)), rtol=1e-4, atol=1e-5)


def test_tokens_the_student_does_not_have_count_among_the_rest():
    """The teacher's padded logits: mass on them is mass of the tail."""
    log_t = logprobs(6, 14, seed=3)
    values, ids = stored(log_t, 8)
    known = ids < 10
    assert (~known).any()
    z = normal(6, 10, seed=4).requires_grad_()
    log_s = buckets(z, ids)
    kl = divergence(log_s, with_tail(values, known), "forward")
    for row in range(6):
        kept = ids[row][known[row]][None]
        expected = divergence(buckets(z[row : row + 1], kept), with_tail(log_t[row][kept]), "forward")
        torch.testing.assert_close(kl[row : row + 1], expected)
    kl.sum().backward()
    assert z.grad.isfinite().all()


def test_the_last_real_token_is_not_taken_for_one_beyond():
    z = normal(1, 4)
    p = z.softmax(-1)[0]
    found = buckets(z, torch.tensor([[3, 7, 9]])).exp()[0]
    torch.testing.assert_close(found, torch.stack([p[3], 0 * p[0], 0 * p[0], p[:3].sum()]))


def test_padding_of_the_vocabulary_changes_nothing_once_sliced():
    """Qwen2.5 gives 151,936 or 152,064 logits for 151,665 tokens."""
    real, padded = 151_665, (151_936, 152_064)
    z = [torch.cat([normal(3, real, seed=i), 9 * normal(3, padded[i] - real, seed=9)], 1).float() for i in (0, 1)]
    log_s, log_t = (z_mV[:, :real].log_softmax(-1) for z_mV in z)
    values, ids = z[1].log_softmax(-1).topk(64)  # asked of the whole head
    known = ids < real
    sliced = with_tail(values, known)
    torch.testing.assert_close(sliced.logsumexp(-1), torch.zeros(3), rtol=0, atol=1e-5)
    exact = divergence(log_s, log_t, "jsd")
    assert exact.isfinite().all() and (bucketed(log_s, log_t, 64, "jsd") <= exact + 1e-6).all()
