"""GKD: teachers correct texts token by token; who wrote them, and how steps are split, changes nothing in the sums."""

from types import SimpleNamespace

import pytest
import torch

from distill.losses.divergences import divergence
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.gkd import GkdObjective

V, D = 9, 6
LABELS = torch.tensor([[-100, -100, 3, 1, 2], [-100, 4, 0, -100, -100], [-100, -100, -100, -100, 5]])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def teacher(labels_BL, seed, rows=slice(None), extra=3):
    """A live teacher that reads row i of its states for row i of the batch, with logits beyond the vocabulary."""
    states_BLE = drawn(3, 5, 4, seed=seed)[rows]
    return SimpleNamespace(
        head=Head(drawn(V + extra, 4, seed=seed + 1)),
        states=lambda batch: states_BLE[:, :-1][batch["labels"][:, 1:] != -100],
    )


def objective(rows=slice(None), **settings):
    live = {name: teacher(LABELS, seed, rows) for name, seed in settings.pop("live", {"one": 10}).items()}
    return GkdObjective(live=live, vocabulary=V, **settings)


def loss_of(states_BLD, labels_BL, gkd, **batch):
    outputs = StudentOutputs(states_BLD, Head(drawn(V, D, seed=5)))
    return gkd(outputs, {"labels": labels_BL, **batch})


def dense(states_BLD, kind, beta=0.5):
    """The mean divergence over labelled tokens, from whole logits."""
    labelled = LABELS[:, 1:] != -100
    log_s = (states_BLD[:, :-1][labelled] @ drawn(V, D, seed=5).T).log_softmax(-1)
    log_t = (drawn(3, 5, 4, seed=10)[:, :-1][labelled] @ drawn(V + 3, 4, seed=11)[:V].T).log_softmax(-1)
    return divergence(log_s, log_t, kind, beta).mean()


@pytest.mark.parametrize(("beta", "kind"), [(0, "forward"), (1, "reverse"), (0.3, "jsd")])
def test_the_loss_is_the_mean_divergence_on_what_both_vocabularies_have(beta, kind):
    states = drawn(3, 5, D)
    found = loss_of(states, LABELS, objective(beta=beta))
    torch.testing.assert_close(found.terms["gkd"], dense(states, kind, beta))
    assert list(found.terms) == ["gkd"] and not found.metrics


def test_unlabelled_positions_get_exactly_zero_gradient():
    states = drawn(3, 5, D).requires_grad_()
    loss_of(states, LABELS, objective()).total().backward()
    counts = torch.zeros(3, 5, dtype=torch.bool)
    counts[:, :-1] = LABELS[:, 1:] != -100
    assert torch.equal(states.grad[~counts], torch.zeros_like(states.grad[~counts]))
    assert (states.grad[counts] != 0).any(-1).all()


def test_the_split_into_micro_batches_changes_nothing():
    states = drawn(3, 5, D)
    whole = loss_of(states, LABELS, objective()).total()
    parts = [
        loss_of(states[rows], LABELS[rows], objective(rows), num_items=torch.tensor(6)).total()
        for rows in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_two_teachers_share_by_how_likely_each_finds_the_text():
    live = {"one": 10, "two": 20}
    states, size = drawn(3, 5, D), torch.tensor([4, 2, 1])
    even = loss_of(states, LABELS, objective(live=live, gate={"kind": "uniform"}))
    alone = [loss_of(states, LABELS, objective(live={name: seed})).total() for name, seed in live.items()]
    torch.testing.assert_close(even.total(), sum(alone) / 2)
    assert even.metrics.keys() == {"gkd/one", "gkd/two"}
    torch.testing.assert_close(even.metrics["gkd/two"], alone[1].item())
    sharp = objective(live=live, gate={"kind": "prior", "tau": 1e-3, "epsilon": 0.0})
    believed = loss_of(states, LABELS, sharp, completion_bytes=size).total()
    assert believed != even.total()
    # at this sharpness each row listens to one teacher alone: the one with the likelier labels
    labelled = LABELS[:, 1:] != -100
    rows = labelled.nonzero()[:, 0]
    targets = LABELS[:, 1:][labelled]
    nats = []
    for seed in live.values():
        logits = drawn(3, 5, 4, seed=seed)[:, :-1][labelled] @ drawn(V + 3, 4, seed=seed + 1)[:V].T
        nats.append(
            torch.zeros(3).double().index_add(0, rows, -logits.log_softmax(-1).gather(1, targets[:, None])[:, 0])
        )
    first = nats[0] < nats[1]
    expected = 0.0
    for row in range(3):
        labels = LABELS.clone()
        labels[torch.arange(3) != row] = -100
        name, seed = ("one", 10) if first[row] else ("two", 20)
        expected = expected + loss_of(states, labels, objective(live={name: seed}), num_items=6).total()
    torch.testing.assert_close(believed, expected)


def test_with_seq_kd_texts_of_the_data_count_for_nothing():
    states, origin = drawn(3, 5, D).requires_grad_(), torch.tensor([1, 0, 1])
    loss_of(states, LABELS, objective(seq_kd=True), origin=origin, num_items=6).total().backward()
    assert torch.equal(states.grad[1], torch.zeros_like(states.grad[1]))
    assert (states.grad[[0, 2]] != 0).any()
    kept = LABELS.clone()
    kept[1] = -100
    found = loss_of(states, LABELS, objective(seq_kd=True), origin=origin, num_items=6).total()
    torch.testing.assert_close(found, loss_of(states, kept, objective(), num_items=6).total())


def test_a_batch_without_labels_costs_nothing_and_has_a_gradient():
    states = drawn(3, 5, D).requires_grad_()
    loss = loss_of(states, torch.full((3, 5), -100), objective()).total()
    loss.backward()
    assert loss.item() == 0 and torch.equal(states.grad, torch.zeros_like(states))


def test_teachers_are_neither_trained_nor_saved():
    gkd = objective()
    assert not list(gkd.parameters()) and not gkd.state_dict() and gkd.reads_own
