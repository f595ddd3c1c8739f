"""The diagnostics: what they read, that they change nothing, and when they warn."""

import dataclasses

import pytest
import torch
from window_cases import N, distiller, training_texts

from distill.losses.cka import cka, null95
from distill.training.probe import Probe, Reading, pooled_states


@pytest.fixture
def probe(tiny):
    texts = training_texts(tiny)
    texts.families = [row % 3 for row in range(N)]
    module = distiller(tiny)
    return module, Probe(texts, module.objectives["geometry"], ["a", "b", "c"], batch_size=5)


def test_a_reading_is_head_free_debiased_cka_on_the_probe_texts(probe):
    module, probe = probe
    reading = probe.measure(module)
    z = pooled_states(module, probe.geometry, probe.texts, 12)
    for teacher, values in probe.texts.signals["pooled"].items():
        assert reading.cka[teacher] == pytest.approx(cka(z, values.float()).item(), abs=1e-5)
    assert reading.null95 == null95(N)
    assert reading.n == N
    assert 1 <= reading.participation_ratio <= N - 1
    assert reading.haf is None


def test_gate_means_are_by_teacher_and_by_family(probe):
    module, probe = probe
    gate = probe.measure(module).gate
    assert sum(gate["mean"].values()) == pytest.approx(1, abs=1e-6)
    assert set(gate["by_family"]) == {"a", "b", "c"}
    whole = sum(gate["by_family"][family]["wide"] for family in "abc") / 3
    assert whole == pytest.approx(gate["mean"]["wide"], abs=1e-6)


def test_measuring_changes_nothing(probe):
    module, probe = probe
    module.train()
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    probe.measure(module)
    assert module.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def asked_for_layers(module, probe, order):
    """(a probe whose only teacher has the student's own layers, of the texts in this order; those layers)"""
    own_nLD = pooled_states(module, probe.geometry, probe.texts, 12, every_layer=True)
    texts = dataclasses.replace(probe.texts, signals={**probe.texts.signals, "pooled_layers": {"wide": own_nLD[order]}})
    return Probe(texts, probe.geometry, probe.family_names, batch_size=5), own_nLD


def test_a_student_agrees_with_itself_at_every_layer(probe):
    module, probe = probe
    probe, own_nLD = asked_for_layers(module, probe, torch.arange(N))
    table = probe.measure(module, layers=True).layers["wide"]
    blocks = module.student.config.num_hidden_layers
    assert own_nLD.shape == (N, 1 + blocks, module.student.config.hidden_size)
    assert len(table) == blocks + 1 and all(len(row) == blocks + 1 for row in table)
    assert [table[layer][layer] for layer in range(blocks + 1)] == [1] * (blocks + 1)
    for row, column in ((0, 2), (3, 1)):
        exact = cka(own_nLD[:, row], own_nLD[:, column]).item()
        assert table[row][column] == table[column][row] == round(exact, 3)


def test_with_the_texts_in_any_other_order_it_agrees_with_nobody_on_average(probe):
    module, plain = probe
    generator = torch.Generator().manual_seed(0)
    tables = []
    for _ in range(20):
        probe, _ = asked_for_layers(module, plain, torch.randperm(N, generator=generator))
        tables.append(torch.tensor(probe.measure(module, layers=True).layers["wide"]))
    assert torch.stack(tables).mean(0).abs().max() < null95(N) / 3  # one table may say anything: these are 12 texts


def test_layers_are_read_only_where_they_are_asked_for_and_change_nothing_else(probe):
    module, plain = probe
    probe, own_nLD = asked_for_layers(module, plain, torch.arange(N))
    without, with_layers = probe.measure(module), probe.measure(module, layers=True)
    assert without.layers is None
    assert dataclasses.replace(with_layers, layers=None) == without
    assert torch.equal(own_nLD[:, plain.geometry.layer], pooled_states(module, plain.geometry, plain.texts, 12))
    assert plain.measure(module, layers=True).layers is None  # no teacher said anything of its layers


def reading(**changes):
    base = {"n": 128, "cka": {"t": 0.2}, "null95": 0.02, "participation_ratio": 10.0}
    return Reading(**base | changes)


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [
        ({"cka": {"t": 0.95}}, {}, "no_headroom:t"),
        ({}, {"haf": 0.8}, "heads_absorb"),
        ({}, {"gate": {"mean": {"t": 0.97, "u": 0.03}}}, "gate_collapsed"),
        ({}, {"participation_ratio": 3.0}, "narrowed"),
    ],
)
def test_warnings_say_what_is_wrong_in_plain_words(probe, first, last, code):
    _, probe = probe
    probe.readings = [reading(), reading()]
    assert probe.warnings() == []
    probe.readings = [reading(**first), reading(**last)]
    ((found, text),) = probe.warnings()
    assert found == code
    assert text.endswith(".")
