"""Features as an objective: what must change nothing."""

from __future__ import annotations

import pytest
import torch
from features_objective_cases import (
    BLOCKS,
    LENGTH,
    WIDTHS,
    every_loss,
    gradients,
    loss_of,
    make,
    make_batch,
    make_states,
    rows_of,
)


@pytest.mark.parametrize("loss", ["mse", "cosine"])
def test_the_split_into_micro_batches_changes_neither_loss_nor_gradients(loss):
    objective, batch, states = make(loss, gate={"kind": "prior"}), make_batch(), make_states()
    whole, grad, grads = gradients(objective, states, batch)
    for split in ([[0, 1, 2], [3]], [[0], [1], [2], [3]], [[1], [0, 2, 3]]):
        parts = [gradients(objective, states[:, rows], rows_of(batch, rows)) for rows in split]
        torch.testing.assert_close(sum(part[0] for part in parts), whole)
        order = [row for rows in split for row in rows]
        torch.testing.assert_close(torch.cat([part[1] for part in parts], 1), grad[:, order])
        for projector, total in enumerate(grads):
            torch.testing.assert_close(sum(part[2][projector] for part in parts), total)


@every_loss
def test_the_order_of_rows_changes_nothing(loss):
    objective, batch, states, order = make(loss, gate={"kind": "prior"}), make_batch(), make_states(), [2, 0, 3, 1]
    whole, grad, _ = gradients(objective, states, batch)
    shuffled, shuffled_grad, _ = gradients(objective, states[:, order], rows_of(batch, order))
    torch.testing.assert_close(shuffled, whole)
    torch.testing.assert_close(shuffled_grad, grad[:, order])


@every_loss
@pytest.mark.parametrize("left", [True, False])
def test_padding_and_its_side_change_nothing(loss, left):
    objective = make(loss)
    plain = loss_of(objective, make_states(), make_batch())
    torch.testing.assert_close(loss_of(objective, make_states(left, 3), make_batch(left, 3)), plain)


@every_loss
def test_padding_of_chunks_changes_nothing(loss):
    objective, batch = make(loss), make_batch()
    plain = loss_of(objective, make_states(), batch)
    signals = batch["signals"]
    signals["chunk_of"] = {t: torch.cat([x, torch.full((4, 2), -1)], 1) for t, x in signals["chunk_of"].items()}
    extra = {t: torch.full((4, 3, 2, WIDTHS[t]), 1e6, dtype=torch.float64) for t in WIDTHS}
    signals["chunk_hidden"] = {t: torch.cat([x, extra[t]], 1) for t, x in signals["chunk_hidden"].items()}
    torch.testing.assert_close(loss_of(objective, make_states(), batch), plain)


@every_loss
def test_tokens_outside_chunks_get_exactly_zero_gradient(loss):
    objective, batch = make(loss, ("qwen2.5",)), make_batch()
    _, grad, _ = gradients(objective, make_states(), batch)
    counts = batch["labels"] == 1
    counts[0, LENGTH - 1 - 5 + 2] = False  # the third labelled token of row 0 is in no chunk
    for block in range(1 + BLOCKS):
        used = counts if block in (1, 3) else torch.zeros_like(counts)
        assert torch.equal(grad[block][~used], torch.zeros_like(grad[block][~used]))
        assert (grad[block][used].abs().sum(-1) > 0).all()


@every_loss
def test_what_stands_at_unlabelled_tokens_does_not_matter_even_if_not_finite(loss):
    objective, batch, states = make(loss), make_batch(), make_states()
    plain, _, _ = gradients(objective, states, batch)
    states[:, batch["labels"] == -100] = float("nan")
    loss_there, grad, _ = gradients(objective, states, batch)
    torch.testing.assert_close(loss_there, plain)
    assert grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("emptied", ["labels", "chunks"])
def test_no_chunk_is_exactly_zero_with_a_graph(loss, emptied):
    objective, batch = make(loss), make_batch()
    if emptied == "labels":
        batch["labels"].fill_(-100)
        batch["num_items"] = torch.tensor(0)
        batch["signals"]["chunk_of"] = {t: x[:, :0] for t, x in batch["signals"]["chunk_of"].items()}
        batch["signals"]["chunk_hidden"] = {t: x[:, :0] for t, x in batch["signals"]["chunk_hidden"].items()}
    else:
        for chunk_of in batch["signals"]["chunk_of"].values():
            chunk_of.fill_(-1)
    total, grad, grads = gradients(objective, make_states(), batch)
    assert total.item() == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in (grad, *grads))
    assert objective.skipped == len(WIDTHS)
