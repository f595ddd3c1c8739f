"""The diagnostics: what they read, that they change nothing, and when they warn."""

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
