"""The three modes of geometry, each against its formula (docs/methods.md, "2. The gated mixture")."""

from __future__ import annotations

import math

import pytest
import torch
from geometry_cases import STUDENT, WIDTHS, geometry_loss, make, make_signals, normal, one_hot_signals
from torch import nn

from distill.losses.cka import centre, cka, kernel_cka, mixture_kernel, nbs, u_centre, unit_kernel

# --- kernel ------------------------------------------------------------------------------------------------------


def test_kernel_follows_its_formula():
    n, signals = 12, make_signals(12)
    z = normal(n, STUDENT)
    bpb = torch.stack(list(signals["nll_per_byte"].values()), 1) / math.log(2)
    g = 0.8 * (-bpb / 0.1).softmax(-1) + 0.2 / 3
    mixed = sum(
        torch.outer(g[:, t].sqrt(), g[:, t].sqrt()) * unit_kernel(x) for t, x in enumerate(signals["pooled"].values())
    )
    expected = 1 - kernel_cka(unit_kernel(z), u_centre(mixed))
    torch.testing.assert_close(geometry_loss(make(), z, signals), expected)


def test_a_one_hot_gate_gives_the_cka_with_that_teacher():
    signals, z = make_signals(12), normal(12, STUDENT)
    objective = make(gate={"kind": "prior", "epsilon": 0.0})
    for teacher, x in signals["pooled"].items():
        chosen = one_hot_signals(signals, teacher)
        torch.testing.assert_close(geometry_loss(objective, z, chosen), 1 - cka(z, x))
        torch.testing.assert_close(objective.per_teacher(z, signals)[teacher], 1 - cka(z, x))


def test_a_gate_that_ignores_the_input_gives_the_weighted_sum_of_ckas_over_the_norm():
    signals, z = make_signals(12, torch.float64), normal(12, STUDENT, dtype=torch.float64)
    teachers = list(signals["pooled"].values())
    g = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    m = mixture_kernel(g.expand(12, 3), torch.stack([unit_kernel(x) for x in teachers]))
    weighted = sum(share * cka(z, x) for share, x in zip(g, teachers, strict=True))
    torch.testing.assert_close(kernel_cka(unit_kernel(z), m), weighted / m.norm())
    uniform = make(gate="uniform")
    m = mixture_kernel(torch.full((12, 3), 1 / 3).double(), torch.stack([unit_kernel(x) for x in teachers]))
    mean = sum(cka(z, x) for x in teachers) / 3
    torch.testing.assert_close(1 - geometry_loss(uniform, z, signals), mean / m.norm())


@pytest.mark.parametrize("gate", ["uniform", "prior", "meta"])
def test_rescaling_a_teacher_changes_nothing(gate):
    signals, z = make_signals(12), normal(12, STUDENT)
    objective = make(gate=gate)
    before = geometry_loss(objective, z, signals)
    signals["pooled"]["phi"] = 1000 * signals["pooled"]["phi"]
    torch.testing.assert_close(geometry_loss(objective, z, signals), before, atol=1e-6, rtol=0)


def test_no_gradient_reaches_the_gate():
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    objective = make(gate="meta")
    nn.init.normal_(objective.gate.linear.weight)
    geometry_loss(objective, z, signals).backward()
    assert all(p.grad is None or not p.grad.any() for p in objective.gate.parameters())
    assert z.grad.abs().sum() > 0


def test_the_mixture_is_positive_semi_definite_under_the_gates_shares():
    signals, z = make_signals(12, torch.float64), normal(12, STUDENT, dtype=torch.float64)
    g = make().gate_weights(z, signals)
    kernels = torch.stack([unit_kernel(x, centring=centre) for x in signals["pooled"].values()])
    assert torch.linalg.eigvalsh(mixture_kernel(g, kernels, centring=centre)).min() > -1e-12


def test_kernel_has_no_heads_and_any_width_will_do():
    objective = make(teacher_widths={"narrow": 2, "wide": 300})
    signals = {
        "pooled": {"narrow": normal(8, 2), "wide": normal(8, 300)},
        "nll_per_byte": {"narrow": torch.ones(8), "wide": torch.ones(8)},
    }
    assert not list(objective.parameters()) and "head_norm" not in objective.couple(normal(8, STUDENT), signals).metrics


# --- deku and deku_frozen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["debiased", "biased", "nbs"])
@pytest.mark.parametrize("mode", ["deku", "deku_frozen"])
def test_deku_is_the_cards_recipe(mode, similarity):
    signals, z = make_signals(12), normal(12, STUDENT)
    objective = make(mode, gate="learned", similarity=similarity)
    g = (z @ objective.gate.linear.weight.T + objective.gate.linear.bias).softmax(-1)
    mixture = 0
    for t, (head, x) in enumerate(zip(objective.heads.maps, signals["pooled"].values(), strict=True)):
        mixture = mixture + g[:, t : t + 1] * (x @ head.weight.T + getattr(head, "bias", 0))
    expected = nbs(z, mixture) if similarity == "nbs" else cka(z, mixture, kind=similarity)
    torch.testing.assert_close(geometry_loss(objective, z, signals), 1 - expected)


def test_the_cards_gate_and_heads_are_trained_by_the_geometry_loss():
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    objective = make("deku", gate="learned")
    geometry_loss(objective, z, signals).backward()
    trained = [objective.gate.linear.weight, *(head.weight for head in objective.heads.maps), z]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def test_the_gradient_of_the_cards_gate_reaches_the_student_too():
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    objective = make("deku", gate="learned")
    (whole,) = torch.autograd.grad(geometry_loss(objective, z, signals), z)
    g = objective.gate.weights(z.detach())
    mixture = sum(g[:, t : t + 1] * x for t, x in enumerate(objective.heads(list(signals["pooled"].values()))))
    (without_gate,) = torch.autograd.grad(1 - cka(z, mixture), z)
    assert (whole - without_gate).norm() > 1e-3 * whole.norm()


def test_frozen_heads_are_orthogonal_saved_and_never_trained():
    objective = make("deku_frozen", gate="uniform")
    assert not list(objective.parameters())
    assert sum("heads" in name for name in objective.state_dict()) == 3
    for head, width in zip(objective.heads.maps, WIDTHS.values(), strict=True):
        w = head.weight
        small = w @ w.T if width > STUDENT else w.T @ w
        torch.testing.assert_close(small, torch.eye(len(small)), atol=1e-5, rtol=0)


def test_frozen_heads_keep_the_geometry_of_teachers_that_are_not_wider():
    signals, z = make_signals(12), normal(12, STUDENT)
    losses = make("deku_frozen").per_teacher(z, signals)
    for teacher in ("qwen2.5", "smol"):
        torch.testing.assert_close(losses[teacher], 1 - cka(z, signals["pooled"][teacher]), atol=1e-5, rtol=0)


def test_heads_start_the_same_for_the_same_seed_and_leave_the_random_stream_alone():
    torch.manual_seed(5)
    expected_next = torch.rand(1)
    torch.manual_seed(5)
    first = make("deku", gate="learned", seed=1).state_dict()
    assert torch.equal(torch.rand(1), expected_next)
    again, other = make("deku", gate="learned", seed=1).state_dict(), make("deku", gate="learned", seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["heads.maps.0.weight"], other["heads.maps.0.weight"])
