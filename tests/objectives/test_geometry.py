"""What holds of the geometry objective in every mode."""

from __future__ import annotations

import math

import pytest
import torch
from geometry_cases import (
    STUDENT,
    WIDTHS,
    every_mode,
    geometry_loss,
    make,
    make_signals,
    normal,
    one_hot_signals,
)
from torch import Tensor, nn
from torch.autograd import gradcheck

from distill.models.pooling import layer_at, pool
from distill.objectives.base import StudentOutputs
from distill.objectives.geometry import GeometryObjective


@every_mode
@pytest.mark.parametrize("gate", ["uniform", "prior", "meta"])
def test_gradcheck(mode, gate):
    signals = make_signals(6, torch.float64)
    z = normal(6, STUDENT, dtype=torch.float64).requires_grad_()
    objective = make(mode, gate=gate).double()
    assert gradcheck(lambda x: geometry_loss(objective, x, signals), (z,))


@pytest.mark.parametrize("similarity", ["debiased", "biased", "nbs"])
def test_gradcheck_of_the_student_a_head_and_the_cards_gate(similarity):
    signals, z = make_signals(6, torch.float64), normal(6, STUDENT, dtype=torch.float64)
    objective = make("deku", gate="learned", similarity=similarity).double()
    head, gate = objective.heads.maps[0].weight, objective.gate.linear.weight
    # the gradient in a parameter is the gradient in a tensor that takes its place
    del objective.heads.maps[0].weight, objective.gate.linear.weight

    def loss(z_nD: Tensor, head_weight: Tensor, gate_weight: Tensor) -> Tensor:
        objective.heads.maps[0].weight, objective.gate.linear.weight = head_weight, gate_weight
        return geometry_loss(objective, z_nD, signals)

    assert gradcheck(loss, (z.requires_grad_(), *(p.detach().requires_grad_() for p in (head, gate))))


@every_mode
def test_gradcache_equals_the_full_batch(mode):
    """Pool in pieces without gradients, one dL/dz over all, then carry it back piece by piece: exact, < 1e-12."""
    n, signals = 12, make_signals(12, torch.float64)
    inputs = normal(n, 5, 20, dtype=torch.float64)
    mask = torch.ones(n, 5)
    gate = "meta" if mode == "kernel" else "learned"

    def fresh() -> tuple[nn.Module, GeometryObjective]:
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, STUDENT)).double()
        return encoder, make(mode, gate=gate).double()

    encoder, objective = fresh()
    objective.couple(pool(encoder(inputs), mask), signals).total().backward()
    cached, objective_2 = fresh()
    with torch.no_grad():
        z = torch.cat([pool(cached(part), torch.ones(len(part), 5)) for part in inputs.split(5)])
    z.requires_grad_()
    objective_2.couple(z, signals).total().backward()
    for part, dz in zip(inputs.split(5), z.grad.split(5), strict=True):
        (pool(cached(part), torch.ones(len(part), 5)) * dz).sum().backward()
    for module, module_2 in ((encoder, cached), (objective, objective_2)):
        for p, q in zip(module.parameters(), module_2.parameters(), strict=True):
            assert (p.grad is None and q.grad is None) or (p.grad - q.grad).abs().max() < 1e-12


@every_mode
def test_bf16_autocast_changes_nothing(mode):
    """Teachers and a student who agrees with them, far from the origin, under autocast: within .001 of float64."""
    signals, objective = make_signals(32), make(mode, gate="uniform")
    signals["pooled"] = {name: 300 + x for name, x in signals["pooled"].items()}
    teachers = list(signals["pooled"].values())
    agreed = sum(objective.heads(teachers)) / 3 if objective.heads else teachers[1]
    z = (300 + agreed + 0.1 * normal(32, STUDENT)).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = geometry_loss(objective, z, signals)
    exact = geometry_loss(objective.double(), z.double(), signals)
    assert exact < 0.3
    assert loss.item() == pytest.approx(exact.item(), abs=1e-3)


@every_mode
def test_signals_kept_in_half_precision_are_widened(mode):
    signals = make_signals(8)
    signals["pooled"] = {name: x.half() for name, x in signals["pooled"].items()}
    assert geometry_loss(make(mode), normal(8, STUDENT), signals).dtype == torch.float32


@every_mode
@pytest.mark.parametrize("n", [1, 3])
def test_fewer_than_four_texts_are_refused_in_one_sentence(mode, n):
    objective = make(mode, similarity="debiased" if mode == "kernel" else "biased")
    for ask in (objective.couple, objective.per_teacher):
        with pytest.raises(ValueError, match=f"at least 4 of them, but this one has {n}"):
            ask(normal(n, STUDENT), make_signals(n))


@every_mode
def test_per_teacher_losses_pull_the_student(mode):
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    losses = make(mode, gate="meta").per_teacher(z, signals)
    assert list(losses) == list(WIDTHS)
    gradients = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in losses.values()]
    assert all(gradient.norm() > 0 for gradient in gradients)
    assert not torch.allclose(gradients[0], gradients[1])


@every_mode
def test_per_teacher_agrees_with_a_gate_that_listens_to_one(mode):
    signals, z = make_signals(12), normal(12, STUDENT)
    objective = make(mode, gate={"kind": "prior", "epsilon": 0.0})
    for teacher, loss in objective.per_teacher(z, signals).items():
        torch.testing.assert_close(loss, geometry_loss(objective, z, one_hot_signals(signals, teacher)))


@every_mode
def test_the_order_of_texts_changes_nothing(mode):
    signals, z, order = make_signals(12), normal(12, STUDENT), torch.randperm(12)
    shuffled = {name: {t: x[order] for t, x in by.items()} for name, by in signals.items()}
    torch.testing.assert_close(geometry_loss(make(mode), z[order], shuffled), geometry_loss(make(mode), z, signals))


@every_mode
def test_batch_to_loss(mode):
    """forward = couple(represent()), and represent reads the chosen layer under the mask that the pooling calls for."""
    hidden = tuple(normal(6, 5, STUDENT, seed=layer) for layer in range(5))
    attention = torch.tensor([[1, 1, 1, 1, 0]] * 6)
    content = torch.tensor([[0, 1, 1, 0, 0]] * 6)
    batch = {"attention_mask": attention, "content_mask": content, "signals": make_signals(6)}
    outputs = StudentOutputs(torch.empty(0), None, hidden)
    for pooling, mask in (("mean", attention), ("rms", content)):
        objective = make(mode, pooling=pooling, layer=0.75)
        z = objective.represent(outputs, batch)
        torch.testing.assert_close(z, pool(hidden[3], mask, pooling))
        torch.testing.assert_close(objective(outputs, batch).total(), objective.couple(z, batch["signals"]).total())


@every_mode
def test_the_permuted_control_compares_each_text_with_the_one_before_it(mode):
    signals, z = make_signals(12), normal(12, STUDENT)
    moved = {"pooled": {t: x[[11, *range(11)]] for t, x in signals["pooled"].items()}}
    spoiled = geometry_loss(make(mode, control="permuted"), z, signals)
    torch.testing.assert_close(spoiled, geometry_loss(make(mode), z, signals | moved))
    assert spoiled != geometry_loss(make(mode), z, signals)


@every_mode
def test_the_detached_control_has_the_same_loss_and_pulls_heads_and_gate_alone(mode):
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    gate = "prior" if mode == "kernel" else "learned"
    plain, spoiled = make(mode, gate), make(mode, gate, control="detached")
    loss = geometry_loss(spoiled, z, signals)
    torch.testing.assert_close(loss, geometry_loss(plain, z, signals))
    loss.backward()
    assert z.grad is not None and not z.grad.any()
    heads = [] if spoiled.heads is None else [p for p in spoiled.heads.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.any() for p in heads) and bool(heads) == (mode == "deku")


def test_metrics():
    signals, z = make_signals(12), normal(12, STUDENT)
    objective = make("deku_frozen", gate="uniform")
    output = objective.couple(z, signals)
    assert all(type(value) is float for value in output.metrics.values())
    assert output.metrics["similarity"] == pytest.approx(1 - output.terms["geometry"].item())
    assert output.metrics["gate_entropy"] == pytest.approx(math.log(3))
    assert output.metrics["gate/qwen2.5"] == pytest.approx(1 / 3)
    weights = torch.cat([head.weight.flatten() for head in objective.heads.maps])
    assert output.metrics["head_norm"] == pytest.approx(weights.norm().item())


def test_a_meta_gate_adds_its_own_loss_outside_the_reported_one():
    signals, z = make_signals(12), normal(12, STUDENT).requires_grad_()
    objective = make(gate="meta")
    objective.gate.set_benefit(torch.tensor([1.0, 0.0, -1.0]))
    output = objective.couple(z, signals)
    (gradient,) = torch.autograd.grad(output.terms["geometry"], z, retain_graph=True)
    output.total().backward()
    assert set(output.terms) == {"geometry", "gate"} and torch.equal(z.grad, gradient)
    assert objective.gate.linear.weight.grad.abs().sum() > 0
    assert set(map(id, objective.auxiliary_parameters())) == set(map(id, objective.parameters()))


@pytest.mark.parametrize(("gate", "reads"), [("uniform", 0), ("learned", 0), ("prior", 1), ("meta", 1)])
def test_needs_follow_the_gate(gate, reads):
    objective = make("deku", gate=gate)
    assert objective.needs == ({"pooled", "nll_per_byte"} if reads else {"pooled"}) and objective.reads_hidden
    signals = {name: make_signals(8)[name] for name in objective.needs}
    assert torch.isfinite(objective.couple(normal(8, STUDENT), signals).total())


def test_layers():
    assert [layer_at(0.75, 4), layer_at(0.75, 24), layer_at(1.0, 6), layer_at(0.01, 6)] == [3, 18, 6, 1]
    assert make(layer=0.5).layer == 2
