"""The logits objective: what it says of stored and live teachers, and what must not change it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from distill.losses.chunked import in_chunks
from distill.losses.divergences import divergence
from distill.losses.head import Head
from distill.objectives import logits as module
from distill.objectives.base import StudentOutputs
from distill.objectives.gate import Gate
from distill.objectives.logits import LogitsObjective

B, L, D, E, V, K = 3, 6, 4, 5, 9, 3
LABELS = torch.tensor([[-100, -100, 3, 1, 2, 8], [-100, 4, 0, 7, -100, -100], [-100, -100, -100, -100, 5, 1]])
LABELLED = LABELS[:, 1:] != -100
NAMES = ("a.b", "c")  # dots are allowed in names
NLL = {"a.b": torch.tensor([0.5, 0.9, 0.4]), "c": torch.tensor([0.6, 0.4, 0.5])}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HEAD = Head(drawn(V + 2, D, seed=5))  # two rows of padding: no tokens
TEACHER_HEADS = {name: Head(drawn(V + 3, E, seed=6 + i)) for i, name in enumerate(NAMES)}
TEACHER_STATES = {name: drawn(B, L, E, seed=8 + i) for i, name in enumerate(NAMES)}


@dataclass
class Loaded:
    """A teacher of known states: what LiveTeacher is to the objective."""

    head: Head
    states_BLE: Tensor

    def states(self, batch) -> Tensor:
        return self.states_BLE[: len(batch["labels"]), :-1][batch["labels"][:, 1:] != -100]


def loaded(names=NAMES) -> dict[str, Loaded]:
    return {name: Loaded(TEACHER_HEADS[name], TEACHER_STATES[name]) for name in names}


def teacher_logits(name: str) -> Tensor:
    return TEACHER_HEADS[name].logits(TEACHER_STATES[name])


def stored(temperature: float = 1.0, k: int = K, labels_BL: Tensor = LABELS, names=NAMES, beyond: bool = True):
    """The signals that a bank would give: of each labelled token the k likeliest, padded; NLL of each text.

    `beyond`: whether the teacher's padding is among its logits, as it is in reality.
    """
    counts = (labels_BL[:, 1:] != -100).sum(1)
    M = int(counts.max())
    signals = {"chunk_of": {}, "chunk_single": {}, "chunk_topk_logprobs": {}, "chunk_topk_ids": {}, "nll_per_byte": NLL}
    for name in names:
        z_BLV = teacher_logits(name)[..., : None if beyond else V]
        values, ids = (z_BLV[:, :-1] / temperature).log_softmax(-1).topk(k, dim=-1)
        chunk_of, said, which = torch.full((B, M), -1), torch.zeros(B, M, k), torch.zeros(B, M, k, dtype=torch.long)
        for b in range(B):
            n = int(counts[b])
            chunk_of[b, :n] = torch.arange(n)
            said[b, :n], which[b, :n] = values[b][LABELLED[b]].float(), ids[b][LABELLED[b]]
        signals["chunk_of"][name], signals["chunk_single"][name] = chunk_of, chunk_of >= 0
        signals["chunk_topk_logprobs"][name], signals["chunk_topk_ids"][name] = said, which
    return signals


def objective(names=NAMES, source="stored", **kwargs) -> LogitsObjective:
    live = loaded(names) if source == "live" else None
    return LogitsObjective(teachers=names, vocabulary=V, source=source, live=live, **kwargs)


def batch(temperature: float = 1.0, **kwargs) -> dict:
    return {"labels": LABELS, "signals": stored(temperature, **kwargs)}


def outputs(seed: int = 0) -> StudentOutputs:
    return StudentOutputs(drawn(B, L, D, seed=seed).requires_grad_(), HEAD)


def expected(s: StudentOutputs, name: str, kind="forward", temperature=1.0, **how) -> Tensor:
    """[m], by the plain reference on the tokens both have."""
    z_s, z_t = HEAD.logits(s.states_BLD)[..., :V], teacher_logits(name)[..., :V]
    log_s, log_t = ((z[:, :-1][LABELLED] / temperature).log_softmax(-1) for z in (z_s, z_t))
    return temperature**2 * divergence(log_s, log_t, kind, **how)


HOW = (
    {"divergence": "forward"},
    {"divergence": "reverse", "temperature": 2.0},
    {"divergence": "jsd", "beta": 0.3, "temperature": 2.0},
    {"divergence": "jsd", "beta": 0.3, "scaling": "continuous"},
)


def plain(how: dict) -> dict:
    """`HOW` as the reference has it."""
    told = {"kind": how["divergence"], "temperature": how.get("temperature", 1.0)}
    return told | ({"beta": how["beta"], "continuous": "scaling" in how} if "beta" in how else {})


@pytest.mark.parametrize("how", HOW)
def test_live_teachers_are_compared_in_full_times_t_squared(how):
    s = outputs()
    found = objective(source="live", **how, gate={"kind": "uniform"})(s, {"labels": LABELS})
    each = {name: expected(s, name, **plain(how)).mean() for name in NAMES}
    torch.testing.assert_close(found.terms["logits"], sum(each.values()) / 2)
    assert found.metrics == pytest.approx({f"logits/{name}": float(value.detach()) for name, value in each.items()})


@pytest.mark.parametrize("how", HOW)
def test_all_tokens_stored_is_live(how):
    """With every token stored, and no mass on the teacher's padding, nothing is lost."""
    s = outputs()
    signals = stored(how.get("temperature", 1.0), k=V, beyond=False)
    value = objective(**how)(s, {"labels": LABELS, "signals": signals}).terms["logits"]
    live = objective(source="live", **how)(s, {"labels": LABELS, "signals": signals}).terms["logits"]
    torch.testing.assert_close(value, live, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(x, s.states_BLD)[0] for x in (value, live)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", HOW)
def test_fewer_stored_tokens_never_say_more_and_one_is_not_nothing(how):
    s, last = outputs(), 0.0
    for k in (1, 2, 4, V):
        value = float(objective(**how)(s, batch(how.get("temperature", 1.0), k=k, beyond=False)).reported())
        assert value >= last - 1e-6 and value > 1e-3
        last = value


def test_the_teachers_padding_is_mass_of_the_rest():
    """Ids of padding among the stored ones: as if the teacher had listed the real ones alone."""
    signals = stored(k=V)
    assert (signals["chunk_topk_ids"]["a.b"] >= V).any()
    s = outputs()
    value = objective(("a.b",))(s, {"labels": LABELS, "signals": signals}).terms["logits"]
    log_s = HEAD.sliced(V).logits(s.states_BLD)[:, :-1][LABELLED].log_softmax(-1)
    log_t = teacher_logits("a.b")[:, :-1][LABELLED].log_softmax(-1)
    ids = log_t.topk(V).indices
    total = 0.0
    for row in range(len(ids)):
        kept = ids[row][ids[row] < V]
        p_s, p_t = (torch.cat([p := x[row].exp()[kept], 1 - p.sum(0, keepdim=True)]) for x in (log_s, log_t))
        total += (p_t * (p_t / p_s).log()).nan_to_num().sum()
    torch.testing.assert_close(value, total / len(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["stored", "live"])
def test_shares_follow_the_gate_row_by_row(source):
    gate = {"kind": "prior", "tau": 0.2, "epsilon": 0.1}
    s = outputs()
    made = objective(source=source, gate=gate)
    found = made(s, {"labels": LABELS, "signals": stored(k=V, beyond=False)})
    bpb_BT = torch.stack([NLL[name] for name in NAMES], 1) / torch.log(torch.tensor(2.0))
    g_BT = Gate(teachers=NAMES, student_width=0, **gate).weights(torch.zeros(B, 0), bpb_BT).double()
    rows = LABELLED.nonzero()[:, 0]
    total = sum((g_BT[rows, t] * expected(s, name)).sum() for t, name in enumerate(NAMES))
    torch.testing.assert_close(found.terms["logits"], total / len(rows), rtol=1e-5, atol=1e-5)
    assert "nll_per_byte" in made.needs


@pytest.mark.parametrize("source", ["stored", "live"])
def test_unlabelled_positions_get_exactly_zero_gradient(source):
    s = outputs()
    objective(source=source)(s, batch()).total().backward()
    counts = torch.zeros(B, L, dtype=torch.bool)
    counts[:, :-1] = LABELLED
    assert torch.equal(s.states_BLD.grad[~counts], torch.zeros(int((~counts).sum()), D).double())
    assert (s.states_BLD.grad[counts] != 0).all()


def test_tokens_in_no_chunk_cost_nothing():
    s, told = outputs(), batch()
    whole = objective(("c",))(s, told)
    told["signals"]["chunk_of"]["c"][0, 1] = -1
    part = objective(("c",))(s, told)
    (gradient,) = torch.autograd.grad(part.total(), s.states_BLD, retain_graph=True)
    assert torch.equal(gradient[0, 2], torch.zeros(D).double()) and (gradient[0, 1] != 0).all()
    assert 0 < part.total() < whole.total()  # still over all labelled tokens
    told["signals"]["chunk_of"]["c"][:] = -1
    nothing = objective(("c",))(s, told).total()
    nothing.backward()
    assert nothing.item() == 0 and torch.equal(s.states_BLD.grad, torch.zeros_like(s.states_BLD))


def test_a_chunk_is_looked_up_by_its_number():
    """The signals may hold chunks in places of their own: the student's tokens say which."""
    s, told = outputs(), batch()
    before = objective()(s, told).total()
    for name in NAMES:
        turned = told["signals"]["chunk_of"][name]
        told["signals"]["chunk_of"][name] = torch.where(turned >= 0, 3 - turned, turned)
        for signal in ("chunk_single", "chunk_topk_logprobs", "chunk_topk_ids"):
            told["signals"][signal][name] = told["signals"][signal][name].flip(1)
    torch.testing.assert_close(objective()(s, told).total(), before)


def test_a_token_that_only_one_teacher_spoke_of_counts_in_its_mean_only():
    s, told = outputs(), batch()
    before = objective()(s, told).metrics
    told["signals"]["chunk_of"]["c"][1:] = -1
    after = objective()(s, told).metrics
    assert after["logits/a.b"] == pytest.approx(before["logits/a.b"])
    assert after["logits/c"] != pytest.approx(before["logits/c"])
    told["signals"]["chunk_of"]["c"][:] = -1
    assert list(objective()(s, told).metrics) == ["logits/a.b"]


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


def test_a_chunk_of_several_tokens_is_not_compared_token_by_token():
    given = batch()
    alone = objective(names=["c"])
    chunk_of, single = given["signals"]["chunk_of"]["c"], given["signals"]["chunk_single"]["c"]
    without = chunk_of.clone()
    chunk_of[0, :3], without[0, :3] = torch.tensor([0, 0, 1]), torch.tensor([-1, -1, 1])
    single[0, 0] = False
    loss = alone(outputs(), given).total()
    given["signals"]["chunk_of"]["c"] = without
    torch.testing.assert_close(loss, alone(outputs(), given).total())
    given["signals"]["chunk_of"]["c"], given["signals"]["chunk_single"]["c"] = chunk_of, torch.ones_like(single)
    assert not torch.allclose(loss, alone(outputs(), given).total())


def test_what_it_needs_and_owns():
    made = objective(weight=0.5)
    assert made.needs == {"chunk_of", "chunk_single", "chunk_topk_logprobs", "chunk_topk_ids"} and made.weight == 0.5
    assert objective(gate={"kind": "prior"}).needs == made.needs | {"nll_per_byte"}
    live = objective(("c",), source="live", gate={"kind": "prior"})
    assert live.needs == {"live"}  # a single teacher has all, whatever the gate
    assert not list(live.parameters()) and not live.state_dict() and not list(live.children())
    assert objective(("c",))(outputs(), batch()).metrics == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"divergence": "total"}, "not 'total'"),
        ({"scaling": "none"}, "not 'none'"),
        ({"source": "cached"}, "not 'cached'"),
        ({"source": "live"}, "teacher 'c' loaded"),
    ],
)
def test_what_is_unknown_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        LogitsObjective(teachers=["c"], vocabulary=V, **wrong)
