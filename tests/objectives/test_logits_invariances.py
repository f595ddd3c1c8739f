"""The logits objective: what must change neither its loss nor its gradient, and where they lead."""

from __future__ import annotations

import pytest
import torch
from logits_objective_cases import (
    HEAD,
    HOW,
    LABELLED,
    LABELS,
    NAMES,
    B,
    D,
    E,
    L,
    Loaded,
    V,
    batch,
    drawn,
    objective,
    outputs,
    stored,
)

from distill.losses import chunked as module
from distill.losses.chunked import in_chunks
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.logits import LogitsObjective


def test_the_split_into_micro_batches_changes_neither_loss_nor_gradient():
    s = outputs()
    whole = objective()(s, batch())
    (gradient,) = torch.autograd.grad(whole.total(), s.states_BLD)
    signals = stored()
    for split in ([1, 2], [2, 1], [1, 1, 1]):
        total, start = 0.0, 0
        for size in split:
            rows = slice(start, start + size)
            told = {signal: {n: x[rows] for n, x in by.items()} for signal, by in signals.items()}
            width = int(LABELLED[rows].sum(1).max())
            told["chunk_of"] = {name: x[:, :width] for name, x in told["chunk_of"].items()}
            part = {"labels": LABELS[rows], "signals": told, "num_items": torch.tensor(int(LABELLED.sum()))}
            total = total + objective()(StudentOutputs(s.states_BLD[rows], HEAD), part).total()
            start += size
        torch.testing.assert_close(total, whole.total())
        torch.testing.assert_close(torch.autograd.grad(total, s.states_BLD)[0], gradient)


@pytest.mark.parametrize("source", ["stored", "live"])
def test_order_of_rows_and_side_of_padding_change_nothing(source):
    s, told = outputs(), batch()
    value = objective(source=source)(s, told).total()
    order = torch.tensor([2, 0, 1])
    turned = {signal: {n: x[order] for n, x in by.items()} for signal, by in told["signals"].items()}
    made = objective(source=source)
    for teacher in made.live.values():
        teacher.states_BLE = teacher.states_BLE[order]
    moved = made(StudentOutputs(s.states_BLD[order], HEAD), {"labels": LABELS[order], "signals": turned}).total()
    torch.testing.assert_close(moved, value)
    ignored, noise = torch.full((B, 2), -100), drawn(B, 2, D, seed=30)
    for left in (True, False):
        made = objective(source=source)
        for teacher in made.live.values():
            sides = [drawn(B, 2, E, seed=31), teacher.states_BLE]
            teacher.states_BLE = torch.cat(sides if left else sides[::-1], 1)
        states = torch.cat([noise, s.states_BLD] if left else [s.states_BLD, noise], 1)
        labels = torch.cat([ignored, LABELS] if left else [LABELS, ignored], 1)
        torch.testing.assert_close(made(StudentOutputs(states, HEAD), {**told, "labels": labels}).total(), value)


@pytest.mark.parametrize("source", ["stored", "live"])
@pytest.mark.parametrize("num_items", [None, 0, 12])
def test_a_batch_without_labels_costs_nothing(source, num_items):
    s, told = outputs(), batch()
    told |= {"labels": torch.full((B, L), -100), "num_items": num_items}
    told["signals"]["chunk_of"] = {name: torch.full((B, 0), -1) for name in NAMES}
    found = objective(source=source)(s, told)
    found.total().backward()
    assert found.total().item() == 0 and found.metrics == {}
    assert torch.equal(s.states_BLD.grad, torch.zeros_like(s.states_BLD))


def test_chunks_of_logits_change_nothing(monkeypatch):
    s = outputs()
    value = objective()(s, batch()).total()
    (gradient,) = torch.autograd.grad(value, s.states_BLD)

    def in_small_chunks(*args):
        return in_chunks(*args, elements=2 * V)

    monkeypatch.setattr(module, "in_chunks", in_small_chunks)
    small = objective()(s, batch()).total()
    torch.testing.assert_close(small, value)
    torch.testing.assert_close(torch.autograd.grad(small, s.states_BLD)[0], gradient)


def test_a_student_that_follows_the_loss_becomes_its_teacher():
    for how in HOW:
        states = drawn(B, L, D).requires_grad_()
        head = Head(drawn(V, D, seed=5))
        target = Loaded(Head(head.weight_VD), drawn(B, L, D, seed=1))
        made = LogitsObjective(teachers=["t"], vocabulary=V, source="live", live={"t": target}, **how)
        optimiser = torch.optim.Adam([states], lr=0.05)
        losses = []
        for _ in range(200):
            loss = made(StudentOutputs(states, head), {"labels": LABELS}).total()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.05 * losses[0]
