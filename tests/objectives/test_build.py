"""From a config to objectives."""

from __future__ import annotations

from dataclasses import replace

import torch

from distill.losses.cka import cka
from distill.objectives.base import Models, build_objectives
from distill.objectives.geometry import GeometryConfig, GeometryObjective
from distill.objectives.task import TaskConfig, TaskObjective

MODELS = Models(student_width=8, student_layers=8, teachers=["a", "b"], teacher_widths={"a": 6, "b": 12}, seed=3)


def test_the_config_reaches_the_objectives_in_its_order():
    gate = {"kind": "prior", "tau": 0.3, "epsilon": 0.1}
    configs = [GeometryConfig(weight=0.7, gate=gate, layer=0.5, pooling="mean"), TaskConfig(weight=2.0)]
    geometry, task = build_objectives(configs, MODELS)
    assert isinstance(task, TaskObjective) and task.weight == 2.0
    assert isinstance(geometry, GeometryObjective) and geometry.weight == 0.7
    assert (geometry.mode, geometry.layer, geometry.pooling, geometry.teachers) == ("kernel", 4, "mean", ("a", "b"))
    assert (geometry.gate.kind, geometry.gate.tau, geometry.gate.epsilon) == ("prior", 0.3, 0.1)


def test_the_card_is_a_config():
    config = GeometryConfig(mode="deku", gate={"kind": "learned", "balance": 0.0}, similarity="biased")
    (geometry,) = build_objectives([config], MODELS)
    assert geometry.pooling == "mean"
    assert {name for name, _ in geometry.gate.named_parameters()} == {"linear.weight", "linear.bias"}
    z, signals = torch.randn(8, 8), {"pooled": {"a": torch.randn(8, 6), "b": torch.randn(8, 12)}}
    output = geometry.couple(z, signals)
    assert list(output.terms) == ["geometry"]
    shares, teachers = geometry.gate.weights(z), geometry.heads(list(signals["pooled"].values()))
    mixture = sum(shares[:, t : t + 1] * x for t, x in enumerate(teachers))
    torch.testing.assert_close(output.total(), 1 - cka(z, mixture, kind="biased"))


def test_the_seed_of_the_run_is_the_seed_of_the_heads():
    def first_head(seed: int) -> torch.Tensor:
        (geometry,) = build_objectives([GeometryConfig(mode="deku")], replace(MODELS, seed=seed))
        return geometry.heads.maps[0].weight

    assert torch.equal(first_head(3), first_head(3)) and not torch.equal(first_head(3), first_head(4))
