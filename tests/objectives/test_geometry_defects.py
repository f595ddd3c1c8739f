"""Why there is a mode kernel: what heads and a learned gate do to the card's loss, and how a run notices."""

from __future__ import annotations

import pytest
import torch
from geometry_cases import MODES, STUDENT, make, make_signals, normal
from torch import Tensor

from distill.losses.cka import cka
from distill.objectives.geometry import INITIAL_STUDENT, GeometryObjective, head_attributable_fraction


def six_teachers(n: int) -> tuple[dict[str, int], dict]:
    widths = dict(zip("abcdef", (24, 32, 40, 48, 56, 64), strict=True))
    shared = normal(n, 12, seed=9)
    pooled = {
        name: shared @ normal(12, width, seed=i) + normal(n, width, seed=20 + i)
        for i, (name, width) in enumerate(widths.items())
    }
    return widths, {"pooled": pooled, "nll_per_byte": {name: torch.ones(n) for name in widths}}


def train(objective: GeometryObjective, z: Tensor, signals: dict, steps: int, lr: float) -> list:
    """Train z (if it asks for it), heads and gate on all terms; the outputs step by step."""
    optimiser = torch.optim.Adam([p for p in (z, *objective.parameters()) if p.requires_grad], lr=lr)
    outputs = []
    for _ in range(steps):
        optimiser.zero_grad()
        outputs.append(objective.couple(z, signals))
        outputs[-1].total().backward()
        optimiser.step()
    return outputs


@pytest.mark.parametrize("similarity", ["debiased", "biased"])
def test_the_deku_loss_falls_although_the_student_is_frozen(similarity):
    """This documents the defect: nothing was taught, and the loss says that much was learnt."""
    widths, signals = six_teachers(32)
    objective = make("deku", gate="learned", similarity=similarity, teacher_widths=widths)
    z = normal(32, STUDENT)
    outputs = train(objective, z, signals, steps=150, lr=3e-3)
    first, last = (float(outputs[i].terms["geometry"].detach()) for i in (0, -1))
    assert last < 0.05 < 0.5 < first


def test_the_shadow_of_a_frozen_student_is_the_loss_itself_so_heads_get_all_the_credit():
    widths, signals = six_teachers(32)
    z = normal(32, STUDENT)
    signals["pooled"][INITIAL_STUDENT] = z.clone()
    outputs = train(make("deku", gate="learned", teacher_widths=widths), z, signals, steps=60, lr=3e-3)
    for output in outputs:
        torch.testing.assert_close(output.terms["shadow"], output.terms["geometry"], atol=1e-5, rtol=0)
    l0, last = outputs[0].terms["geometry"].item(), outputs[-1].terms
    fraction = head_attributable_fraction(l0, last["shadow"].item(), last["geometry"].item())
    assert fraction == pytest.approx(1, abs=1e-3)


def test_the_shadow_neither_touches_the_student_nor_the_reported_loss():
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    objective = make("deku", gate={"kind": "learned", "balance": 0.5})
    without = objective.couple(z, signals)
    without.total().backward()
    real = [*objective.heads.parameters(), *objective.gate.parameters()]
    alone, grads = z.grad.clone(), [p.grad.clone() for p in real]
    z.grad = None
    objective.zero_grad()
    signals["pooled"][INITIAL_STUDENT] = normal(12, STUDENT, seed=7)
    output = objective.couple(z, signals)
    output.total().backward()
    assert torch.equal(z.grad, alone)
    assert all(torch.equal(p.grad, was) for p, was in zip(real, grads, strict=True))
    assert set(output.terms) == {"geometry", "shadow", "shadow_gate", "gate"}
    shadow = set(map(id, objective.auxiliary_parameters()))
    assert all((id(p) in shadow) == name.startswith("shadow") for name, p in objective.named_parameters())
    assert all(p.grad is not None for p in objective.parameters())


def test_only_deku_wants_the_initial_student():
    assert [make(mode).wants_initial_student for mode in MODES] == [False, True, False]
    signals = make_signals(8)
    signals["pooled"][INITIAL_STUDENT] = normal(8, STUDENT)
    assert "shadow" not in make("deku_frozen").couple(normal(8, STUDENT), signals).terms


def test_head_attributable_fraction():
    assert head_attributable_fraction(1.0, 0.4, 0.25) == pytest.approx(0.8)
    assert head_attributable_fraction(1.0, 1.0, 0.5) == 0
    assert head_attributable_fraction(0.5, 0.4, 0.5) is None
    assert head_attributable_fraction(0.5, 0.4, 0.6) is None


def test_kernel_teaches_the_student_more_than_frozen_heads_and_those_more_than_trained_ones():
    """Head-free debiased CKA with each teacher, which no head can move: in the order of docs/methods.md, 2."""
    widths, signals = six_teachers(32)
    start = normal(32, STUDENT)
    reached = {}
    for mode in MODES:
        z = start.clone().requires_grad_()
        train(make(mode, gate="uniform", teacher_widths=widths), z, signals, steps=150, lr=0.02)
        reached[mode] = torch.stack([cka(z, x) for x in signals["pooled"].values()]).detach()
    assert reached["kernel"].min() > 0.7
    assert reached["kernel"].mean() > 0.1 + reached["deku_frozen"].mean()
    assert reached["deku_frozen"].mean() > 0.2 + reached["deku"].mean()


def test_a_gate_trained_on_alignment_collapses_on_the_teacher_nearest_to_the_student():
    """Also a defect, documented: a mirror of the student takes all. Prior and meta don't ask who is like it."""
    widths = {"mirror": STUDENT, "b": STUDENT, "c": STUDENT}
    z = normal(32, STUDENT)
    pooled = {"mirror": z.clone(), "b": normal(32, STUDENT, seed=1), "c": normal(32, STUDENT, seed=2)}
    signals = {"pooled": pooled, "nll_per_byte": {name: torch.ones(32) for name in widths}}
    objective = make("deku_frozen", gate="learned", teacher_widths=widths)
    outputs = train(objective, z, signals, steps=300, lr=0.03)
    assert outputs[0].metrics["gate/mirror"] < 0.6 and outputs[-1].metrics["gate/mirror"] > 0.9
    for kind in ("prior", "meta"):
        assert make(gate=kind, teacher_widths=widths).couple(z, signals).metrics["gate/mirror"] < 0.4
