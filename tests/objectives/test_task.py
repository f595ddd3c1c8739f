"""Cross-entropy on the completion: what counts, what doesn't, and that splitting a step changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from distill.losses import chunked
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.response import ResponseObjective
from distill.objectives.task import TaskObjective, completion_cross_entropy

V = 7
LABELS = torch.tensor([[-100, -100, 3, 1, 2], [-100, 4, 0, -100, -100], [-100, -100, -100, -100, 5]])


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs_of(logits_BLV: Tensor) -> StudentOutputs:
    """A student whose head gives its states as they are."""
    return StudentOutputs(logits_BLV, Head(torch.eye(logits_BLV.shape[-1], dtype=logits_BLV.dtype)))


def loss_of(logits_BLV: Tensor, labels_BL: Tensor, **batch) -> Tensor:
    return TaskObjective()(outputs_of(logits_BLV), {"labels": labels_BL, **batch}).total()


def test_position_l_predicts_label_l_plus_one():
    z = logits(3, 5, V)
    log_p = z.log_softmax(-1)
    pairs = [(0, 1, 3), (0, 2, 1), (0, 3, 2), (1, 0, 4), (1, 1, 0), (2, 3, 5)]  # text, position, next token
    expected = -torch.stack([log_p[pair] for pair in pairs]).mean()
    torch.testing.assert_close(loss_of(z, LABELS), expected)


def test_a_student_without_knowledge_pays_ln_v():
    assert loss_of(torch.zeros(3, 5, V), LABELS).item() == pytest.approx(math.log(V))


def test_unlabelled_positions_get_exactly_zero_gradient():
    z = logits(3, 5, V).requires_grad_()
    loss_of(z, LABELS).backward()
    counts = torch.zeros(3, 5, dtype=torch.bool)
    counts[:, :-1] = LABELS[:, 1:] != -100
    assert torch.equal(z.grad[~counts], torch.zeros_like(z.grad[~counts]))
    assert (z.grad[counts] != 0).all()


def test_the_split_into_micro_batches_changes_neither_loss_nor_gradient():
    whole = logits(3, 5, V).requires_grad_()
    loss_of(whole, LABELS).backward()
    for split in ([1, 2], [2, 1], [1, 1, 1]):  # texts with 3, 2 and 1 labels: means of means would differ
        parts = [part.detach().requires_grad_() for part in whole.split(split)]
        losses = [
            loss_of(part, labels, num_items=torch.tensor(6))
            for part, labels in zip(parts, LABELS.split(split), strict=True)
        ]
        sum(losses).backward()
        torch.testing.assert_close(sum(losses), loss_of(whole, LABELS))
        torch.testing.assert_close(torch.cat([part.grad for part in parts]), whole.grad)


def test_padding_side_changes_nothing():
    z, ignored = logits(3, 5, V), torch.full((3, 2), -100)
    padding = logits(3, 2, V, seed=1)
    right = loss_of(torch.cat([z, padding], 1), torch.cat([LABELS, ignored], 1))
    left = loss_of(torch.cat([padding, z], 1), torch.cat([ignored, LABELS], 1))
    torch.testing.assert_close(right, loss_of(z, LABELS))
    torch.testing.assert_close(left, loss_of(z, LABELS))


def test_a_batch_without_labels_costs_nothing():
    z = logits(2, 4, V).requires_grad_()
    for num_items in (None, 0, 12):
        loss = loss_of(z, torch.full((2, 4), -100), num_items=num_items)
        loss.backward()
        assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_logits_are_widened(autocast):
    z = (20 * logits(3, 5, V)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = loss_of(z, LABELS)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(loss_of(z.double(), LABELS).item(), rel=1e-6)


def test_gradcheck():
    assert gradcheck(lambda z: completion_cross_entropy(outputs_of(z), LABELS), (logits(3, 5, V).requires_grad_(),))


def test_needs_no_teacher_and_no_hidden_states():
    objective = TaskObjective(weight=0.5)
    assert objective.needs == frozenset() and not objective.reads_hidden
    assert objective.weight == 0.5 and not list(objective.parameters())
    output = objective(outputs_of(logits(3, 5, V)), {"labels": LABELS})
    assert list(output.terms) == ["task"]


def test_logits_are_made_once_for_all_who_ask_for_the_same_labels(monkeypatch):
    made = []
    usual = chunked.logprobs_of
    monkeypatch.setattr(chunked, "logprobs_of", lambda *args: made.append(1) or usual(*args))
    z = logits(3, 5, V).requires_grad_()
    outputs, batch = outputs_of(z), {"labels": LABELS, "origin": torch.tensor([0, 1, 0])}
    both = TaskObjective()(outputs, batch).total() + ResponseObjective()(outputs, batch).total()
    both.backward()
    assert len(made) == 1
    alone = logits(3, 5, V).requires_grad_()
    parts = [kind()(outputs_of(alone), batch).total() for kind in (TaskObjective, ResponseObjective)]
    sum(parts).backward()
    assert len(made) == 3 and torch.equal(both, sum(parts))
    torch.testing.assert_close(z.grad, alone.grad)
    assert outputs.logprobs(LABELS.clone(), 6).shape == (6,) and len(made) == 4  # other labels, fewer logits
