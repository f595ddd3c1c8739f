"""Features as an objective: whose states are compared, and what is counted, measured and saved."""

from __future__ import annotations

import pytest
import torch
from features_objective_cases import (
    CHUNKS,
    LABELLED,
    LOSSES,
    MAPS,
    WIDTHS,
    D,
    by_hand,
    every_loss,
    loss_of,
    make,
    make_batch,
    make_states,
    normal,
    outputs_of,
    rows_of,
)

from distill.losses.cka import cka
from distill.losses.features import centred_cosine, rms_normalised, token_mse


@every_loss
def test_it_is_what_plain_loops_say(loss):
    objective = make(loss, gate={"kind": "prior"})
    batch = make_batch()
    g_BT = objective.shares.of(batch["signals"], 4).double()
    assert g_BT.std() > 0.05  # the shares differ, so that they matter
    expected = torch.zeros((), dtype=torch.float64)
    for t, teacher in enumerate(WIDTHS):
        for pair in range(len(MAPS[teacher])):
            x, y, row = by_hand(objective, teacher, pair)
            if loss == "cka":
                value = (1 - cka(x, rms_normalised(y))) * g_BT[:, t].mean()
            elif loss == "nbs":
                value = make("nbs", (teacher,), maps={teacher: [MAPS[teacher][pair]]})
                value = loss_of(value, make_states(), batch) * g_BT[:, t].mean()
            else:
                projected = x @ objective.projectors[t][pair].weight.T
                each = token_mse(projected, y) if loss == "mse" else centred_cosine(projected, y, row)
                value = (each * g_BT[row, t]).sum() / sum(LABELLED)
            expected = expected + value / len(MAPS[teacher])
    torch.testing.assert_close(loss_of(objective, make_states(), batch), expected)


@every_loss
def test_a_perfect_student_pays_nothing(loss):
    """Its states are the teacher's, whatever their size, and its tokens are merged to chunks in the same way."""
    objective = make(loss, ("smol",), maps={"smol": [(2, 0)]})
    for projector in objective.projectors.parameters():
        torch.nn.init.eye_(projector)
    batch, states = make_batch(), make_states()
    batch["signals"]["chunk_of"] = {"smol": batch["signals"]["chunk_of"]["qwen2.5"]}  # with chunks of several tokens
    hidden = torch.zeros(4, 7, 1, D, dtype=torch.float64)
    for row, numbers in enumerate(CHUNKS["qwen2.5"]):
        own = rms_normalised(states[2, row][batch["labels"][row] == 1])
        for number in set(numbers) - {-1}:
            hidden[row, number, 0] = own[torch.tensor(numbers) == number].mean(0)
    batch["signals"]["chunk_hidden"] = {"smol": hidden}
    assert loss_of(objective, 40 * states, batch).abs() < 1e-9
    assert loss_of(objective, states + 0.5 * normal(*states.shape, seed=3), batch) > 0.01


def test_training_lowers_every_loss():
    for loss in LOSSES:
        torch.manual_seed(0)
        objective, batch, states = make(loss), make_batch(), make_states().requires_grad_()
        optimiser = torch.optim.Adam([states, *objective.parameters()], lr=0.05)
        first = loss_of(objective, states, batch).item()
        for _ in range(60):
            optimiser.zero_grad()
            loss_of(objective, states, batch).backward()
            optimiser.step()
        assert loss_of(objective, states, batch).item() < 0.5 * first


# --- counting, measuring, saving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cka", "nbs"])
def test_too_few_chunks_are_left_out_and_counted_in_training_only(loss):
    objective, batch = make(loss), rows_of(make_batch(), [0])  # 3, 5 and 2 chunks
    output = objective(outputs_of(make_states()[:, [0]]), batch)
    assert output.metrics["features_skipped"] == 2 and "features/phi" not in output.metrics
    alone = loss_of(make(loss, ("smol",)), make_states()[:, [0]], batch)
    torch.testing.assert_close(output.total(), alone / 3)
    objective.eval()
    assert objective(outputs_of(make_states()[:, [0]]), batch).metrics["features_skipped"] == 2


@every_loss
def test_metrics_are_each_teachers_own_loss(loss):
    objective = make(loss)
    output = objective(outputs_of(make_states()), make_batch())
    assert list(output.terms) == ["features"]
    assert {name for name in output.metrics if "/" in name} == {f"features/{teacher}" for teacher in WIDTHS}
    if loss == "mse":
        x, y, _ = by_hand(objective, "smol", 0)
        expected = token_mse(x @ objective.projectors[1][0].weight.T, y).mean().item()
        assert output.metrics["features/smol"] == pytest.approx(expected)
    single = make(loss, ("smol",))(outputs_of(make_states()), make_batch())
    assert "features/smol" not in single.metrics
    if loss in ("cka", "nbs"):
        assert output.metrics["features/smol"] == pytest.approx(single.total().item())


def test_without_num_items_the_labelled_tokens_of_the_batch_count():
    objective, batch = make("mse"), make_batch()
    whole = loss_of(objective, make_states(), batch)
    del batch["num_items"]
    torch.testing.assert_close(loss_of(objective, make_states(), batch), whole)


def test_needs_follow_the_gate():
    assert make().needs == {"chunk_of", "chunk_hidden"}
    assert make(gate={"kind": "prior"}).needs == {"chunk_of", "chunk_hidden", "nll_per_byte"}
    assert make(gate={"kind": "prior"}, teachers=("smol",)).needs == {"chunk_of", "chunk_hidden"}
    assert make(weight=0.5).weight == 0.5 and make().reads_hidden


def test_what_is_no_sum_over_tokens_is_averaged_over_micro_batches():
    assert {loss for loss in LOSSES if make(loss).averages} == {"cka", "nbs"}


def test_projectors_are_seeded_trained_and_saved():
    before = torch.get_rng_state()
    first, second, other = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(before, torch.get_rng_state())
    shapes = [(4, D), (4, D), (6, D), (10, D), (10, D)]
    assert [tuple(p.shape) for p in first.parameters()] == shapes and all(p.requires_grad for p in first.parameters())
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True))
    other.load_state_dict(first.state_dict())
    assert loss_of(other, make_states(), make_batch()) == loss_of(first, make_states(), make_batch())
    assert not list(make("cka").parameters()) and not list(make("nbs").parameters())


@pytest.mark.parametrize("loss", LOSSES)
def test_sixteen_bit_states_under_autocast(loss):
    objective, batch = make(loss), make_batch()
    states = (30 * make_states()).bfloat16()
    exact = loss_of(objective, states.double(), batch)
    signals = batch["signals"]
    signals["chunk_hidden"] = {teacher: x.float() for teacher, x in signals["chunk_hidden"].items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_there = loss_of(objective.float(), states, batch)
    assert loss_there.dtype == torch.float32
    assert loss_there.item() == pytest.approx(exact.item(), abs=1e-4)


def test_wrong_settings_and_signals_are_refused():
    with pytest.raises(ValueError, match="a features loss is one of mse, cosine, cka, nbs"):
        make("mae")
    batch = make_batch()
    batch["signals"]["chunk_of"]["smol"] = batch["signals"]["chunk_of"]["smol"][:, :5]
    with pytest.raises(ValueError, match="room for 5 tokens a row, but 7 are labelled"):
        loss_of(make(), make_states(), batch)
