"""Gradient checkpointing changes what is kept for the backward pass, and nothing that comes out of it. And what is
trained is float32, whatever the student's own number type."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from end_to_end_cases import MINI
from transformers import AutoModelForCausalLM

from distill.config import paths
from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.config.run_config import LoraConfig
from distill.models.hardware import detect
from distill.models.student import compute_twice, load_student
from distill.runs import store
from distill.runs.events import EventWriter
from distill.training.pipeline import Pipeline

SETTINGS = {
    **MINI,
    "teachers": ["sibling-tiny"],
    "objectives": [{"kind": "task"}, {"kind": "geometry"}, {"kind": "features", "count": 1}],
    "data": {"train": 16, "held_out": 2, "new_phrasing": 0, "validation": 4},
    "lora": {"r": 4, "dropout": 0.2},
    "budget": {"steps": 2, "batch_size": 4, "accumulation": 2, "save_every": 1, "threads": 1, "warmup": 0.0},
    "probe": {"texts": 8, "every": 2, "samples": 0, "problems": 0},
    "evaluation": {"max_new_tokens": 2},
}


def trained(folder, hardware=None, **budget):
    """The pipeline of a short run, after its last step."""
    run = store.create(configs.parse({**SETTINGS, "budget": {**SETTINGS["budget"], **budget}}), folder)
    with EventWriter(run / "events.jsonl") as writer:
        config = configs.load(run / "config.yaml")
        pipeline = Pipeline(run, config, hardware or detect(), writer, lambda: False)
        pipeline.run()
    return pipeline


def test_steps_end_in_the_same_weights(tmp_path):
    """Dropout, the window's two passes, hidden states of chosen layers and a probe in between: all are there."""
    usual, thrifty = (trained(tmp_path / str(on), gradient_checkpointing=on) for on in (False, True))
    assert thrifty.student.get_base_model().is_activation_checkpointing
    assert not usual.student.get_base_model().is_activation_checkpointing
    expected = dict(usual.distiller.named_parameters())
    moved = 0
    for name, weights in thrifty.distiller.named_parameters():
        assert torch.equal(weights, expected[name]), name
        moved += bool("lora_B" in name and weights.abs().sum() > 0)
    assert moved == 28  # seven layers in each of four blocks
    assert [m.terms for m in losses(usual)] == [m.terms for m in losses(thrifty)]


def losses(pipeline):
    from distill.runs.events import Metric, read

    return [event for event in read(pipeline.folder / "events.jsonl")[0] if isinstance(event, Metric)]


def kept_and_gradients(student):
    """(bytes kept for the backward pass beside weights, every gradient) of one loss in training mode."""
    weights = {p.untyped_storage().data_ptr() for p in (*student.parameters(), *student.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(5, 400, (4, 60), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = student.train()(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return sum(kept.values()), {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("quantize", [None, "4bit"])
def test_less_is_kept_and_the_gradients_are_the_same(quantize):
    if quantize and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes")
    ref = configs.parse({"student": "student-tiny", "objectives": ["task"]}).student
    lora = LoraConfig(r=4, dropout=0.2, quantize=quantize)
    usual, thrifty = (load_student(ref, lora, detect(), 0, on)[0] for on in (False, True))
    for name, weights in (*usual.named_parameters(), *thrifty.named_parameters()):
        if "lora_B" in name:  # at zero the other half would get no gradient
            torch.nn.init.normal_(weights, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    much, expected = kept_and_gradients(usual)
    little, found = kept_and_gradients(thrifty)
    assert found.keys() == expected.keys() and len(found) == 56
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert little < 0.35 * much  # the logits, kept either way, are most of what is left


def test_a_model_that_can_not_is_refused(monkeypatch):
    ref = configs.parse({"student": "student-tiny", "objectives": ["task"]}).student
    student, _ = load_student(ref, LoraConfig(r=2), detect(), 0)
    monkeypatch.setattr(type(student.get_base_model()), "supports_gradient_checkpointing", False)
    with pytest.raises(
        ConfigError, match=r"^budget\.gradient_checkpointing is on, but my-model \(Qwen2ForCausalLM\) can't"
    ):
        compute_twice(student, "my-model")


def test_a_student_of_sixteen_bits_keeps_its_type_and_its_adapter_is_float32(tmp_path):
    pipeline = trained(tmp_path, replace(detect(), dtype="bfloat16"), steps=1, gradient_checkpointing=True)
    student, fresh = (
        pipeline.student,
        AutoModelForCausalLM.from_pretrained(paths.ZOO / "student-tiny", dtype=torch.bfloat16),
    )
    frozen = {name: p for name, p in student.named_parameters() if not p.requires_grad}
    trainable = [p for p in pipeline.distiller.parameters() if p.requires_grad]
    assert {p.dtype for p in frozen.values()} == {torch.bfloat16}
    assert {p.dtype for p in trainable} == {torch.float32}
    moments = [value for state in pipeline.trainer.optimizer.state.values() for value in state.values()]
    assert moments and {value.dtype for value in moments} == {torch.float32}
    assert any(p.abs().sum() > 0 for name, p in student.named_parameters() if "lora_B" in name)
    for name, weights in fresh.named_parameters():  # nothing of the student itself has moved or been rounded
        layer, _, part = name.rpartition(".")
        own = frozen.get(f"base_model.model.{name}", frozen.get(f"base_model.model.{layer}.base_layer.{part}"))
        assert torch.equal(own, weights), name
