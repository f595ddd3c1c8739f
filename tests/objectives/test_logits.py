"""The logits objective: what it says of stored and live teachers, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from logits_objective_cases import (
    HEAD,
    HOW,
    LABELLED,
    LABELS,
    NAMES,
    NLL,
    B,
    D,
    L,
    V,
    batch,
    expected,
    objective,
    outputs,
    plain,
    stored,
    teacher_logits,
)

from distill.objectives.gate import Gate
from distill.objectives.logits import LogitsObjective


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
        output = objective(**how)(s, batch(how.get("temperature", 1.0), k=k, beyond=False))
        value = output.terms["logits"].item()
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
