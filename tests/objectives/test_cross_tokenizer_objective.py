"""Losses across tokenizers as an objective: what is compared where, and what must change nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from distill.losses import chunked
from distill.losses.cross_tokenizer import alm, projected_kl, shared_kl, uld_topk
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.cross_tokenizer import CrossTokenizerObjective
from distill.teachers.token_map import Bridge

D, V, K, LENGTH = 5, 8, 3, 9
SIZES = {"qwen2.5": 6, "phi": 10}  # tokens of each teacher; a dot in a name
LABELLED = [5, 3, 7, 4]
# Chunks of the j-th labelled token of each row, -1 in none; which of them are one token on both sides.
CHUNKS = {
    "qwen2.5": [[0, 0, -1, -1, 1], [0, 1, 2], [0, 1, 1, 1, 2, 3, 4], [0, 0, 1, 2]],
    "phi": [[0, 1, 2, 3, 4], [-1, -1, -1], [0, 0, 1, 1, 2, 2, 3], [0, 1, 2, 3]],
}
SINGLE = {
    "qwen2.5": [[0, 1], [1, 0, 1], [1, 0, 1, 1, 1], [0, 1, 0]],
    "phi": [[1, 1, 0, 1, 1], [], [0, 0, 0, 1], [1, 1, 1, 1]],
}
LOSSES = {"alm": {}, "alm and shared": {"shared": 0.5}, "xtoken": {}, "uld": {}, "uld and shared": {"shared": 2.0}}
every_loss = pytest.mark.parametrize("loss", list(LOSSES))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bridge(teacher: str) -> Bridge:
    draw, size = torch.Generator().manual_seed(SIZES[teacher]), SIZES[teacher]
    ids = torch.stack([torch.randperm(size, generator=draw)[:2] for _ in range(V)])
    weights = torch.tensor([0.9, 0.1], dtype=torch.float64).expand(V, 2).clone()
    weights[3] = 0
    shared = torch.full((size,), -1)
    shared[torch.randperm(size, generator=draw)[:4]] = torch.randperm(V, generator=draw)[:4]
    return Bridge(ids, weights, shared)


def make(loss: str = "alm", teachers=tuple(SIZES), **settings) -> CrossTokenizerObjective:
    projections = {teacher: bridge(teacher) for teacher in teachers}
    settings = {"projections": projections, "tau": 10.0, **LOSSES[loss], **settings}
    return CrossTokenizerObjective(teachers=teachers, loss=loss.split()[0], **settings).double()


def make_batch(left: bool = False, pad: int = 0) -> dict:
    """Four rows of prompt and completion of `LENGTH` tokens in all, padded by `pad` on one side."""
    labels = torch.full((4, LENGTH), -100)
    for row, count in enumerate(LABELLED):
        labels[row, LENGTH - 1 - count : LENGTH - 1] = torch.arange(count) % V  # and an unlabelled token at the end
    filler = torch.full((4, pad), -100)
    signals = {name: {} for name in ("chunk_of", "chunk_logprobs", "chunk_single")}
    signals |= {"chunk_topk_logprobs": {}, "chunk_topk_ids": {}, "nll_per_byte": {}}
    for seed, (teacher, size) in enumerate(SIZES.items()):
        chunk_of, single = torch.full((4, max(LABELLED)), -1), torch.zeros(4, 5, dtype=torch.bool)
        for row in range(4):
            chunk_of[row, : LABELLED[row]] = torch.tensor(CHUNKS[teacher][row])
            single[row, : len(SINGLE[teacher][row])] = torch.tensor(SINGLE[teacher][row]).bool()
        top = normal(4, 5, size, seed=seed + 3).log_softmax(-1).topk(K)
        signals["chunk_of"][teacher], signals["chunk_single"][teacher] = chunk_of, single
        signals["chunk_topk_logprobs"][teacher], signals["chunk_topk_ids"][teacher] = top.values, top.indices
        signals["chunk_logprobs"][teacher] = -normal(4, 5, seed=seed).abs() * 3
        signals["nll_per_byte"][teacher] = 0.7 + 0.1 * normal(4, seed=seed + 20)
    labels = torch.cat([filler, labels] if left else [labels, filler], 1)
    return {"labels": labels, "num_items": torch.tensor(sum(LABELLED)), "signals": signals}


HEAD = Head(normal(V + 2, D, seed=30), normal(V + 2, seed=31))  # two logits are no tokens


def make_states(left: bool = False, pad: int = 0) -> Tensor:
    """[4, LENGTH + pad, D]; what stands at the padding is other numbers."""
    states, filler = normal(4, LENGTH, D, seed=50), normal(4, pad, D, seed=51)
    return torch.cat([filler, states] if left else [states, filler], 1)


def rows_of(batch: dict, rows: list[int]) -> dict:
    signals = {name: {t: v[rows] for t, v in said.items()} for name, said in batch["signals"].items()}
    return {**batch, "labels": batch["labels"][rows], "signals": signals}


def run(objective: CrossTokenizerObjective, batch: dict, states: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient in the states."""
    states = states.detach().requires_grad_()
    loss = objective(StudentOutputs(states, HEAD), batch).total()
    loss.backward()
    return loss.detach(), states.grad


def by_hand(loss: str, batch: dict, states: Tensor, shares: dict[str, float], tau: float = 10.0) -> Tensor:
    """Chunk by chunk, from whole logits of the real tokens."""
    log_p = HEAD.logits(states)[..., :V].log_softmax(-1)
    total = torch.zeros(()).double()
    for teacher, share in shares.items():
        said, made = {name: values[teacher] for name, values in batch["signals"].items()}, bridge(teacher)
        for row, count in enumerate(LABELLED):
            places = [LENGTH - 1 - count + j for j in range(count)]
            for c in sorted({*CHUNKS[teacher][row]} - {-1}):
                inside = [p for p, chunk in zip(places, CHUNKS[teacher][row], strict=True) if chunk == c]
                z = log_p[row, inside[0] - 1][None]
                top = said["chunk_topk_logprobs"][row, c][None], said["chunk_topk_ids"][row, c][None]
                if loss.startswith("alm"):
                    own = sum(log_p[row, p - 1, batch["labels"][row, p]] for p in inside)
                    value = tau * alm(own, said["chunk_logprobs"][row, c], tau)
                elif loss == "xtoken":
                    value = projected_kl(z, *top, made.ids_Vk, made.weights_Vk, SIZES[teacher])[0]
                else:
                    value = uld_topk(z, top[0])[0]
                if said["chunk_single"][row, c]:
                    value = value + LOSSES[loss].get("shared", 0) * shared_kl(z, *top, made.shared_T)[0]
                total = total + share * value
    return total / sum(LABELLED)


@every_loss
def test_the_loss_is_a_sum_over_chunks(loss):
    batch, states = make_batch(), make_states()
    expected = by_hand(loss, batch, states, dict.fromkeys(SIZES, 0.5))
    torch.testing.assert_close(run(make(loss, vocabulary=V), batch, states)[0], expected)
    expected = by_hand(loss, batch, states, {"phi": 1.0})
    torch.testing.assert_close(run(make(loss, ("phi",), vocabulary=V), batch, states)[0], expected)


@every_loss
def test_gradients_are_right(loss):
    objective, batch = make(loss, vocabulary=V), make_batch()
    states = make_states().requires_grad_()
    assert gradcheck(lambda s: objective(StudentOutputs(s, HEAD), batch).total(), (states,))


def test_tau_makes_weights_comparable():
    batch, states = make_batch(), make_states()
    losses = [run(make("alm", tau=tau, vocabulary=V), batch, states)[0].item() for tau in (100.0, 1000.0)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[0] > 0.1


@every_loss
@pytest.mark.parametrize("left", [False, True])
def test_padding_changes_nothing(loss, left):
    objective = make(loss)
    plain, gradient = run(objective, make_batch(), make_states())
    padded, other = run(objective, make_batch(left, 3), make_states(left, 3))
    torch.testing.assert_close(padded, plain)
    torch.testing.assert_close(other[:, 3:] if left else other[:, :LENGTH], gradient)


@every_loss
@pytest.mark.parametrize("split", [[[0], [1], [2], [3]], [[0, 1], [2, 3]], [[3, 1], [2, 0]]], ids=str)
def test_accumulation_and_order_change_nothing(loss, split):
    batch, states, objective = make_batch(), make_states(), make(loss, gate={"kind": "prior"})
    whole, gradient = run(objective, batch, states)
    parts = [run(objective, rows_of(batch, rows), states[rows]) for rows in split]
    torch.testing.assert_close(sum(loss for loss, _ in parts), whole)
    for rows, (_, part) in zip(split, parts, strict=True):
        torch.testing.assert_close(part, gradient[rows])


@every_loss
def test_only_positions_that_predict_a_chunk_get_a_gradient(loss):
    _, gradient = run(make(loss, ("qwen2.5",)), make_batch(), make_states())
    touched = torch.zeros(4, LENGTH, dtype=torch.bool)
    for row, count in enumerate(LABELLED):
        seen = set()
        for j, chunk in enumerate(CHUNKS["qwen2.5"][row]):
            if chunk >= 0 and (loss.startswith("alm") or chunk not in seen):
                touched[row, LENGTH - 1 - count + j - 1] = True
            seen.add(chunk)
    assert torch.equal(gradient[~touched], torch.zeros_like(gradient[~touched]))
    assert (gradient[touched].abs().sum(-1) > 0).all()


@every_loss
def test_without_chunks_or_labels_it_costs_nothing(loss):
    for items in (None, 0, 7):
        batch = {**make_batch(), "num_items": items}
        for teacher in SIZES:
            batch["signals"]["chunk_of"][teacher] = torch.full((4, max(LABELLED)), -1)
        found, gradient = run(make(loss), batch, make_states())
        assert found == 0 and not gradient.any()
        batch["labels"] = torch.full((4, LENGTH), -100)
        batch["signals"] = {
            name: {t: v[:, :0] for t, v in said.items()} if name != "nll_per_byte" else said
            for name, said in batch["signals"].items()
        }
        found, gradient = run(make(loss), batch, make_states())
        assert found == 0 and not gradient.any()


@every_loss
def test_logits_that_are_no_tokens_count_for_nothing(loss):
    batch, states, objective = make_batch(), make_states(), make(loss, vocabulary=V)
    head = Head(HEAD.weight_VD.clone(), HEAD.bias_V.clone())
    head.bias_V[V:] += 50
    other = objective(StudentOutputs(states, head), batch).total()
    torch.testing.assert_close(other, objective(StudentOutputs(states, HEAD), batch).total())
    bridged = loss == "xtoken" or "shared" in loss
    assert make(loss).vocabulary == (V if bridged else None)  # the bridges say how many there are


@every_loss
def test_in_little_memory_it_is_the_same(loss, monkeypatch):
    batch, states, objective = make_batch(), make_states(), make(loss)
    whole, gradient = run(objective, batch, states)
    for name in ("in_chunks", "logprobs_of"):
        function = getattr(chunked, name)
        few = lambda *args, function=function, **more: function(*args, **{"elements": 2 * V, **more})  # noqa: E731
        monkeypatch.setattr(chunked, name, few)
    found, other = run(objective, batch, states)
    torch.testing.assert_close(found, whole)
    torch.testing.assert_close(other, gradient)


def test_the_gate_says_whose_word_counts():
    batch, states = make_batch(), make_states()
    batch["signals"]["nll_per_byte"] = {"qwen2.5": torch.full((4,), 9.0), "phi": torch.full((4,), 0.5)}
    found, _ = run(make("uld", gate={"kind": "prior", "epsilon": 0.2}), batch, states)
    alone = {teacher: run(make("uld", (teacher,)), batch, states)[0] for teacher in SIZES}
    torch.testing.assert_close(found, 0.9 * alone["phi"] + 0.1 * alone["qwen2.5"])


def test_metrics_name_teachers_where_there_are_several():
    batch, outputs = make_batch(), StudentOutputs(make_states(), HEAD)
    metrics = make("alm")(outputs, batch).metrics
    chunks = {
        teacher: len({(r, c) for r, row in enumerate(CHUNKS[teacher]) for c in row if c >= 0}) for teacher in SIZES
    }
    for teacher in SIZES:
        one = make("alm", (teacher,))(outputs, batch)
        assert one.metrics == {}
        mean = one.total().item() * sum(LABELLED) / chunks[teacher]
        assert metrics[f"cross_tokenizer/{teacher}"] == pytest.approx(mean)


def test_what_it_needs_and_what_it_keeps():
    listed = {"chunk_of", "chunk_topk_logprobs", "chunk_topk_ids"}
    assert make("alm").needs == {"chunk_of", "chunk_logprobs"}
    assert make("xtoken").needs == make("uld").needs == listed
    assert make("alm and shared").needs == listed | {"chunk_logprobs", "chunk_single"}
    assert make("alm", gate={"kind": "prior"}).needs == {"chunk_of", "chunk_logprobs", "nll_per_byte"}
    objective = make("xtoken", weight=0.3)
    assert objective.weight == 0.3 and not list(objective.parameters()) and not objective.state_dict()
    assert not objective.reads_hidden


def test_refusals():
    with pytest.raises(ValueError, match="is one of alm, xtoken, uld, not 'gold'"):
        CrossTokenizerObjective(teachers=["a"], loss="gold")
    for settings in ({"loss": "xtoken"}, {"loss": "alm", "shared": 0.5}):
        with pytest.raises(ValueError, match="needs the projection of teacher 'b'"):
            CrossTokenizerObjective(teachers=["a", "b"], projections={"a": bridge("phi")}, **settings)
