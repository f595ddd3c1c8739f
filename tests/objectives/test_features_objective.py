"""Features as an objective: whose states are compared, and what must change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.losses.cka import cka
from distill.losses.features import centred_cosine, rms_normalised, token_mse
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.features import FeaturesObjective

D, BLOCKS, LENGTH = 6, 3, 9
WIDTHS = {"qwen2.5": 4, "smol": 6, "phi": 10}  # narrower, equal and wider than the student; a dot in a name
MAPS = {"qwen2.5": [(1, 0), (3, 1)], "smol": [(2, 1)], "phi": [(1, 1), (2, 0)]}
LOSSES = ("mse", "cosine", "cka", "nbs")
every_loss = pytest.mark.parametrize("loss", LOSSES)
LABELLED = [5, 3, 7, 4]  # tokens of the completion of each row, the rest of it the prompt
# Chunks of the j-th labelled token, a list for each row; -1 in none; row 0 drops chunk 1.
CHUNKS = {
    "qwen2.5": [[0, 0, -1, 2, 3], [0, 1, 2], [0, 1, 1, 1, 2, 3, 4], [0, 0, 1, 2]],
    "smol": [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3]],
    "phi": [[0, 0, 0, 0, 1], [-1, -1, -1], [0, 0, 1, 1, 2, 2, 3], [0, 1, 2, 3]],
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(loss: str = "mse", teachers: tuple[str, ...] = tuple(WIDTHS), **settings) -> FeaturesObjective:
    widths = {teacher: WIDTHS[teacher] for teacher in teachers}
    maps = settings.pop("maps", {teacher: MAPS[teacher] for teacher in teachers})
    return FeaturesObjective(teacher_widths=widths, student_width=D, maps=maps, loss=loss, **settings).double()


def make_batch(left: bool = False, pad: int = 0) -> dict:
    """Four rows of prompt and completion of `LENGTH` tokens in all, padded by `pad` on one side."""
    labels = torch.full((4, LENGTH), -100)
    for row, count in enumerate(LABELLED):
        labels[row, LENGTH - 1 - count : LENGTH - 1] = 1  # and an unlabelled token at the end
    filler = torch.full((4, pad), -100)
    chunk_of = {teacher: torch.full((4, max(LABELLED)), -1) for teacher in WIDTHS}
    for teacher, rows in CHUNKS.items():
        for row, numbers in enumerate(rows):
            chunk_of[teacher][row, : len(numbers)] = torch.tensor(numbers)
    hidden = {teacher: normal(4, 7, 2, width, seed=i) for i, (teacher, width) in enumerate(WIDTHS.items())}
    nll = {teacher: 0.7 + 0.1 * normal(4, seed=20 + i) for i, teacher in enumerate(WIDTHS)}
    return {
        "labels": torch.cat([filler, labels] if left else [labels, filler], 1),
        "num_items": torch.tensor(sum(LABELLED)),
        "signals": {"chunk_of": chunk_of, "chunk_hidden": hidden, "nll_per_byte": nll},
    }


def make_states(left: bool = False, pad: int = 0) -> Tensor:
    """[1 + BLOCKS, 4, LENGTH + pad, D]; what stands at the padding is other numbers."""
    states, filler = normal(1 + BLOCKS, 4, LENGTH, D, seed=50), normal(1 + BLOCKS, 4, pad, D, seed=51)
    return torch.cat([filler, states] if left else [states, filler], 2)


def outputs_of(states: Tensor) -> StudentOutputs:
    return StudentOutputs(states[-1], Head(torch.zeros(2, D, dtype=states.dtype)), tuple(states))


def rows_of(batch: dict, rows: list[int]) -> dict:
    signals = {name: {t: x[rows] for t, x in values.items()} for name, values in batch["signals"].items()}
    return {**batch, "labels": batch["labels"][rows], "signals": signals}


def loss_of(objective: FeaturesObjective, states: Tensor, batch: dict) -> Tensor:
    return objective(outputs_of(states), batch).total()


def gradients(objective: FeaturesObjective, states: Tensor, batch: dict) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The loss, its gradient to the states, and those to the projectors."""
    states = states.clone().requires_grad_()
    objective.zero_grad()
    loss = loss_of(objective, states, batch)
    loss.backward()
    return loss.detach(), states.grad, [p.grad.clone() for p in objective.parameters()]


# --- what is computed --------------------------------------------------------------------------------------------


def by_hand(objective: FeaturesObjective, teacher: str, pair: int) -> tuple[Tensor, Tensor, Tensor]:
    """The student's and the teacher's vectors of every chunk, and its row, one after another in plain loops."""
    states, batch = make_states(), make_batch()
    block, at = MAPS[teacher][pair]
    x, y, row_of = [], [], []
    for row, numbers in enumerate(CHUNKS[teacher]):
        columns = [column for column in range(LENGTH) if batch["labels"][row, column] == 1]
        for number in sorted({n for n in numbers if n >= 0}):
            own = [states[block, row, c] for c, n in zip(columns, numbers, strict=True) if n == number]
            mean = torch.stack([token / token.square().mean().sqrt() for token in own]).mean(0)
            x.append(mean / mean.square().mean().sqrt())
            y.append(batch["signals"]["chunk_hidden"][teacher][row, number, at])
            row_of.append(row)
    return torch.stack(x), torch.stack(y), torch.tensor(row_of)


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


# --- what must change nothing ------------------------------------------------------------------------------------


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
    assert list(output.terms) == ["features"] and not output.auxiliary
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
