"""Divergences from hidden states, chunk by chunk: the same numbers and gradients as with all logits at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from feature_cases import normal
from logit_cases import KINDS, capped, head
from torch.autograd import gradcheck

from distill.losses import chunked
from distill.losses import head as head_module
from distill.losses.chunked import divergence_of_states, in_chunks, logprobs_of
from distill.losses.divergences import divergence

M, V, D, E = 7, 11, 4, 5


def inputs(make=capped, dtype=torch.float64):
    """(student states, student head, teacher states, teacher head)."""
    states = normal(M, D, dtype=dtype), normal(M, E, seed=1, dtype=dtype)
    return states[0].requires_grad_(), make(V, D, 2, dtype), states[1], make(V, E, 3, dtype)


def dense(s, head_s, t, head_t, kind, beta=0.5, temperature=1.0, continuous=False):
    """The plain reference, by autograd."""
    log_s, log_t = ((one.logits(x) / temperature).log_softmax(-1) for one, x in ((head_s, s), (head_t, t)))
    return divergence(log_s, log_t, kind, beta, continuous)


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("make", [head, capped])
def test_chunked_is_dense_and_passes_gradcheck(kind, beta, temperature, make):
    s, *rest = inputs(make)
    weight = normal(M, seed=8)
    expected = dense(s, *rest, kind, beta, temperature, True)
    (gradient,) = torch.autograd.grad((weight * expected).sum(), s)
    for elements in (1, 2 * V, 3 * V, 100 * V):  # 1, 2, 3 and all tokens at a time
        losses = divergence_of_states(s, *rest, kind, beta, temperature, True, elements=elements).losses_m
        torch.testing.assert_close(losses, expected)
        torch.testing.assert_close(torch.autograd.grad((weight * losses).sum(), s)[0], gradient)
    assert gradcheck(
        lambda s: divergence_of_states(s, *rest, kind, beta, temperature, True, elements=3 * V).losses_m, (s,)
    )


def test_groups_and_tiles_change_nothing(monkeypatch):
    s, head_s, t, head_t = inputs(dtype=torch.float32)
    narrow = [type(one)(one.weight_VD.bfloat16(), one.bias_V, one.scale, one.softcap) for one in (head_s, head_t)]
    wide = [type(one)(one.weight_VD.float(), one.bias_V, one.scale, one.softcap) for one in narrow]
    expected = dense(s, wide[0], t, wide[1], "jsd")
    (gradient,) = torch.autograd.grad(expected.sum(), s)
    monkeypatch.setattr(head_module, "TILE", 3 * E)  # a few rows of the head at a time
    monkeypatch.setattr(chunked, "GROUP", 2 * V)
    losses = divergence_of_states(s, narrow[0], t, narrow[1], "jsd", elements=5 * V).losses_m
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(torch.autograd.grad(losses.sum(), s)[0], gradient)


def test_inputs_are_left_as_they_were():
    tensors = inputs()
    before = [tensors[0].detach().clone(), tensors[1].weight_VD.clone(), tensors[2].clone()]
    divergence_of_states(*tensors, "jsd", 0.3, 2.0, targets_m=torch.arange(M)).losses_m.sum().backward()
    for now, then in zip([tensors[0].detach(), tensors[1].weight_VD, tensors[2]], before, strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_teachers_logprobs_are_those_of_its_untempered_distribution(temperature):
    s, head_s, t, head_t = inputs()
    targets = torch.tensor([0, 10, 3, 3, 7, 1, 2])
    found = divergence_of_states(
        s, head_s, t.requires_grad_(), head_t, "jsd", 0.5, temperature, targets_m=targets, elements=2 * V
    )
    expected = head_t.logits(t).log_softmax(-1)[range(M), targets]
    torch.testing.assert_close(found.teacher_logprobs_m, expected.detach())
    assert not found.teacher_logprobs_m.requires_grad
    found.losses_m.sum().backward()
    assert s.grad is not None and t.grad is None  # a teacher is never trained
    assert divergence_of_states(s, head_s, t, head_t, "jsd").teacher_logprobs_m is None


def test_without_a_gradient_wanted_the_values_are_the_same_and_the_work_is_spared(monkeypatch):
    s, *rest = inputs()
    with_gradient = divergence_of_states(s, *rest, "jsd").losses_m
    calls = []
    monkeypatch.setattr(chunked.Projection, "pulled_back", lambda *args, **kwargs: calls.append(1))
    for kind, _ in KINDS[:3]:
        assert not divergence_of_states(s.detach(), *rest, kind).losses_m.requires_grad
        with torch.no_grad():
            losses = divergence_of_states(s, *rest, kind).losses_m
    assert torch.equal(losses, with_gradient.detach()) and not calls


def test_no_token_gives_nothing_with_a_graph():
    s, head_s, t, head_t = inputs()
    found = divergence_of_states(s[:0], head_s, t[:0], head_t, "jsd", targets_m=torch.zeros(0, dtype=torch.long))
    assert found.losses_m.shape == found.teacher_logprobs_m.shape == (0,)
    found.losses_m.sum().backward()
    assert torch.equal(s.grad, torch.zeros_like(s))
    assert logprobs_of(head_s, s[:0], torch.zeros(0, dtype=torch.long)).sum().requires_grad


def test_a_token_does_not_see_the_others():
    s, head_s, t, head_t = inputs()
    order = torch.tensor([4, 2, 6, 0, 1, 5, 3])
    losses = divergence_of_states(s, head_s, t, head_t, "reverse", elements=2 * V).losses_m
    shuffled = divergence_of_states(s[order], head_s, t[order], head_t, "reverse", elements=3 * V).losses_m
    torch.testing.assert_close(shuffled, losses[order])
    (gradient,) = torch.autograd.grad(losses[2], s)
    assert torch.equal(gradient[[0, 1, 3, 4, 5, 6]], torch.zeros(6, D).double()) and (gradient[2] != 0).all()


@pytest.mark.parametrize("kind", ["forward", "reverse", "jsd"])
@pytest.mark.parametrize("autocast", [True, False])
def test_sixteen_bit_states_and_heads_give_float32_logits(kind, autocast):
    """The products are not rounded to sixteen bits: only what came in is."""
    s, t = (normal(M, D, dtype=torch.float32).bfloat16().requires_grad_(), normal(M, E, seed=1).bfloat16())
    heads = head(V, D, 2, torch.bfloat16), head(V, E, 3, torch.bfloat16)
    wide = [type(one)(one.weight_VD.double()) for one in heads]
    exact = dense(s.double(), wide[0], t.double(), wide[1], kind)
    (gradient,) = torch.autograd.grad(exact.sum(), s)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = divergence_of_states(s, heads[0], t, heads[1], kind).losses_m
    losses.sum().backward()
    assert losses.dtype == torch.float32 and s.grad.dtype == torch.bfloat16
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(s.grad, gradient, rtol=1e-2, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_cuda_sixteen_bit_products_are_summed_in_float32():
    torch.manual_seed(0)
    s = torch.randn(40, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    t = torch.randn(40, 64, device="cuda", dtype=torch.bfloat16)
    heads = [chunked.Head((torch.randn(999, 64, device="cuda") / 4).bfloat16()) for _ in range(2)]
    wide = [chunked.Head(one.weight_VD.double()) for one in heads]
    exact = dense(s.double(), wide[0], t.double(), wide[1], "jsd")
    (gradient,) = torch.autograd.grad(exact.sum(), s)
    losses = divergence_of_states(s, heads[0], t, heads[1], "jsd", elements=7 * 999).losses_m
    losses.sum().backward()
    torch.testing.assert_close(losses.double(), exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(s.grad, gradient, rtol=2e-2, atol=1e-3)


def test_models_of_different_precision():
    s, head_s, t, head_t = inputs()
    t, head_t = t.float(), type(head_t)(head_t.weight_VD.float())
    expected = dense(s, head_s, t.double(), type(head_t)(head_t.weight_VD.double()), "jsd")
    torch.testing.assert_close(divergence_of_states(s, head_s, t, head_t, "jsd").losses_m, expected)


def test_at_a_real_vocabulary():
    s, t = normal(3, 8, dtype=torch.float32).requires_grad_(), normal(3, 6, seed=1, dtype=torch.float32)
    head_s, head_t = head(151_936, 8, 2, torch.float32), head(152_064, 6, 3, torch.float32)
    with pytest.raises(ValueError, match="151936 and 152064 logits"):
        divergence_of_states(s, head_s, t, head_t, "jsd")
    head_s, head_t = head_s.sliced(151_665), head_t.sliced(151_665)
    losses = divergence_of_states(s, head_s, t, head_t, "jsd", elements=200_000).losses_m
    gradient = torch.autograd.grad(losses.sum(), s)[0]
    # The truth, in float64, of the same float32 numbers.
    wide_s, wide_t = (replace(one, weight_VD=one.weight_VD.double()) for one in (head_s, head_t))
    s64, t64 = s.detach().double().requires_grad_(), t.double()
    expected = dense(s64, wide_s, t64, wide_t, "jsd")
    # u = 2^-24. A logit sums D products: it is off by about sqrt(D) u sum |h w| (Higham & Mary 2019: roundings are as
    # good as independent); the logsumexp and taking it off round once each. So every log-probability is off, and by as
    # much of itself every probability. A sum that adds 151,665 exponentials one by one does not stay within this.
    off_S, off_T = (
        2**-24 * (x.abs() @ (x.shape[-1] ** 0.5 * w.weight_VD.abs().T) + 2 * w.logits(x).log_softmax(-1).abs())
        for x, w in ((s64.detach(), wide_s), (t64, wide_t))
    )
    p_S, p_T = (w.logits(x).softmax(-1) for x, w in ((s64.detach(), wide_s), (t64, wide_t)))
    # The gradient sums p_S (log(m / p_S) + KL(p_S || m)) w / 2, and log(m / p_S) is off by its two log-probabilities.
    off_rise = off_S + p_T / (p_S + p_T) * (off_S + off_T)
    off_kl = (p_S * off_rise).sum(-1, keepdim=True)
    rise = ((p_S + p_T) / 2 / p_S).log()
    bracket = (rise - (p_S * rise).sum(-1, keepdim=True)).abs()
    bound = (p_S * (bracket * off_S + off_rise + off_kl) / 2) @ wide_s.weight_VD.abs()
    exact = torch.autograd.grad(expected.sum(), s64)[0]
    assert ((gradient - exact).abs() <= bound).all()
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused():
    s, head_s, t, head_t = inputs()
    with pytest.raises(ValueError, match="7 states of the student, but 6"):
        divergence_of_states(s, head_s, t[:6], head_t, "jsd")
    with pytest.raises(ValueError, match="not 'total'"):
        divergence_of_states(s, head_s, t, head_t, "total")


# --- any function ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elements", [1, 3 * V, 100 * V])
def test_in_chunks_is_the_function_of_all_logits(elements):
    s, one, *_ = inputs()
    targets, weight = torch.arange(M), normal(M, 2, seed=9)

    def function(logits_cV, targets_c, weight_c2):
        return weight_c2 * logits_cV.log_softmax(-1).gather(-1, targets_c[:, None])

    found = in_chunks(function, one, s, targets, weight, elements=elements)
    expected = function(one.logits(s), targets, weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), s)[0] for x in (found, expected)))
    with torch.no_grad():
        torch.testing.assert_close(in_chunks(function, one, s, targets, weight, elements=elements), expected.detach())


@pytest.mark.parametrize(("elements", "sizes"), [(3 * V, [3, 3, 1]), (7 * V, [7])])
def test_chunks_are_recomputed_and_a_single_one_is_not(elements, sizes):
    s, one, *_ = inputs()
    seen = []

    def function(logits_cV):
        seen.append(len(logits_cV))
        return logits_cV.logsumexp(-1)

    found = in_chunks(function, one, s, elements=elements)
    assert seen == sizes
    found.sum().backward()
    assert sorted(seen) == sorted(sizes * (2 if len(sizes) > 1 else 1))


def test_logprobs_of_targets():
    s, one, *_ = inputs()
    targets = torch.tensor([0, 10, 3, 3, 7, 1, 2])
    expected = one.logits(s).log_softmax(-1)[range(M), targets]
    torch.testing.assert_close(logprobs_of(one, s, targets, elements=2 * V), expected)
    assert gradcheck(lambda s: logprobs_of(one, s, targets, elements=2 * V), (s,))
