"""Gates: the shares they give, what trains them, and what they must leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from distill.objectives.base import seeded
from distill.objectives.gate import KINDS, Gate, gate_entropy

TEACHERS = ("a", "b.5", "c")
WIDTH = 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(kind: str, **settings) -> Gate:
    with seeded(0):
        return Gate(kind, TEACHERS, WIDTH, **settings)


STATE, BPB = normal(10, WIDTH), 1 + 0.2 * normal(10, 3, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_positive_and_sum_to_one(kind):
    g = make(kind).weights(STATE, BPB)
    assert g.shape == (10, 3) and (g > 0).all()
    torch.testing.assert_close(g.sum(1), torch.ones(10))


def test_uniform():
    torch.testing.assert_close(make("uniform").weights(STATE), torch.full((10, 3), 1 / 3))


def test_learned_is_the_cards_softmax_of_a_linear_map_of_the_state():
    gate = make("learned")
    expected = (STATE @ gate.linear.weight.T + gate.linear.bias).softmax(-1)
    torch.testing.assert_close(gate.weights(STATE), expected)


def test_learned_passes_gradient_to_its_map_and_to_the_student():
    gate, state = make("learned"), STATE.clone().requires_grad_()
    gate.weights(state)[:, 0].sum().backward()
    assert state.grad.abs().sum() > 0 and gate.linear.weight.grad.abs().sum() > 0


def test_prior_follows_its_formula():
    tau, epsilon = 0.1, 0.2
    expected = (1 - epsilon) * (-BPB / tau).softmax(-1) + epsilon / 3
    torch.testing.assert_close(make("prior", tau=tau, epsilon=epsilon).weights(STATE, BPB), expected)


def test_prior_believes_the_teacher_that_finds_the_text_likely_and_never_silences_one():
    g = make("prior", epsilon=0.3).weights(STATE, torch.tensor([[0.5, 5.0, 9.0]]).expand(10, 3))
    assert (g.argmax(1) == 0).all()
    torch.testing.assert_close(g.min(), torch.tensor(0.1))


@pytest.mark.parametrize("kind", ["uniform", "prior"])
def test_gates_without_parameters_have_none_and_no_loss(kind):
    gate = make(kind)
    assert not list(gate.parameters()) and gate.loss(STATE, BPB) is None


def test_meta_starts_as_the_prior():
    torch.testing.assert_close(make("meta").weights(STATE, BPB), make("prior").weights(STATE, BPB))


def test_meta_does_not_see_the_size_of_the_state_and_gives_it_no_gradient():
    gate, state = make("meta"), STATE.clone().requires_grad_()
    torch.nn.init.normal_(gate.linear.weight)
    torch.testing.assert_close(gate.weights(1000 * STATE, BPB), gate.weights(STATE, BPB), atol=1e-5, rtol=0)
    gate.loss(state, BPB).backward()
    assert state.grad is None and gate.linear.weight.grad.abs().sum() > 0


def test_meta_loss_follows_its_formula():
    g, benefit = normal(10, 3).softmax(-1), torch.tensor([3.0, 0.0, -4.0])
    mean = g.mean(0)
    expected = -(0.6 * mean[0] - 0.8 * mean[2]) + 0.7 * 3 * (mean**2).sum()
    torch.testing.assert_close(make("meta", balance=0.7).meta_loss(g, benefit), expected)


def test_meta_learns_to_listen_to_the_teacher_that_helps_but_not_to_it_alone():
    gate = make("meta")
    gate.set_benefit(torch.tensor([-1e-3, 5e-3, -2e-3]))
    before = gate.weights(STATE, BPB).mean(0)
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        gate.loss(STATE, BPB).backward()
        optimiser.step()
    after = gate.weights(STATE, BPB).mean(0).detach()
    assert after[1] > before[1] + 0.1 and after[2] < before[2]
    assert after[1] < 0.8  # balance: of 0.87, which epsilon would allow


def test_without_a_measured_benefit_balance_alone_trains_the_meta_gate():
    gate = make("meta")
    uneven = torch.tensor([[0.8, 0.1, 0.1]])
    even = torch.full((1, 3), 1 / 3)
    nothing = torch.zeros(3)
    torch.testing.assert_close(gate.meta_loss(even, nothing), torch.tensor(0.5))
    assert gate.meta_loss(uneven, nothing) > gate.meta_loss(even, nothing)


def test_benefit_is_saved_with_the_gate():
    gate, other = make("meta"), make("meta")
    gate.set_benefit(torch.tensor([1.0, -2.0, 0.5]))
    other.load_state_dict(gate.state_dict())
    torch.testing.assert_close(other.loss(STATE, BPB), gate.loss(STATE, BPB))
    assert torch.equal(other.benefit_T, torch.tensor([1.0, -2.0, 0.5]))


def test_the_cards_gate_has_no_balance_unless_asked_for():
    assert make("learned").loss(STATE) is None
    state = STATE.clone().requires_grad_()
    gate = make("learned", balance=0.5)
    gate.loss(state).backward()
    assert state.grad is None and gate.linear.weight.grad.abs().sum() > 0


def test_gradcheck():
    state, bpb = STATE[:4].double().requires_grad_(), BPB[:4].double().requires_grad_()
    weigh = torch.arange(12.0).reshape(4, 3).double()
    assert gradcheck(lambda s: (make("learned").double().weights(s) * weigh).sum(), (state,))
    assert gradcheck(lambda b: (make("prior").weights(state.detach(), b) * weigh).sum(), (bpb,))
    meta = make("meta").double()
    assert gradcheck(lambda b: meta.meta_loss(meta.weights(state.detach(), b), weigh[1]), (bpb,))


def test_shares_are_computed_in_full_precision_under_autocast():
    gate = make("learned")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(gate.weights(STATE), gate.weights(STATE.clone()))
        inside = gate.weights(STATE)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, gate.weights(STATE))


def test_entropy():
    assert gate_entropy(torch.full((4, 6), 1 / 6)).item() == pytest.approx(math.log(6))
    assert gate_entropy(torch.eye(6)).item() == 0


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="uniform, learned, prior, meta"):
        make("oracle")
