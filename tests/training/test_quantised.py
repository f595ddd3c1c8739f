"""A student of four or eight bits trains on the CPU from config to report, and its adapter is one like any other."""

import importlib.util
import json
from dataclasses import replace

import pytest
import torch
from end_to_end_cases import MINI
from peft import PeftModel
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from distill.config import paths
from distill.config import run_config as configs
from distill.config.errors import ConfigError, Stopped, UserError
from distill.config.run_config import LoraConfig
from distill.evaluation.reevaluate import evaluate_run
from distill.evaluation.side_by_side import answer_both, open_student
from distill.models.hardware import cannot_quantise, detect
from distill.models.lm_head import head_of, read_states
from distill.models.student import cautions, load_student
from distill.runs import store
from distill.runs.events import EventWriter, Metric, Warning, latest_by_step, read
from distill.training.artifacts import keep_model
from distill.training.pipeline import Pipeline

pytestmark = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")

SETTINGS = {
    **MINI,
    "teachers": ["sibling-tiny"],
    "objectives": [{"kind": "task"}, {"kind": "geometry"}, {"kind": "logits"}],
    "data": {"train": 32, "held_out": 6, "new_phrasing": 0, "validation": 4},
    "lora": {"r": 8, "dropout": 0.1, "quantize": "4bit"},
    "budget": {"steps": 6, "batch_size": 4, "accumulation": 2, "save_every": 2, "learning_rate": 0.01, "threads": 1},
    "probe": {"texts": 12, "every": 3, "samples": 1, "problems": 2},
    "evaluation": {"max_new_tokens": 8},
}


def begun(folder, **lora):
    settings = {**SETTINGS, "lora": {**SETTINGS["lora"], **lora}}
    return store.create(configs.parse(settings), folder)


def carried_out(run, stop_at=None):
    """Run, or go on with a run, in this process; `stop_at` a step it ends with `Stopped`."""
    with EventWriter(run / "events.jsonl") as writer:

        def should_stop():
            return (
                stop_at is not None and pipeline.trainer is not None and pipeline.trainer.state.global_step >= stop_at
            )

        pipeline = Pipeline(run, configs.load(run / "config.yaml"), detect(), writer, should_stop)
        torch.use_deterministic_algorithms(True)
        try:
            if stop_at is None:
                pipeline.run()
            else:
                with pytest.raises(Stopped):
                    pipeline.run()
        finally:
            torch.use_deterministic_algorithms(False)
        keep_model(pipeline, finished=stop_at is None)
    return pipeline


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(pipeline, folder) of a run of four bits, start to report."""
    run = begun(tmp_path_factory.mktemp("whole"))
    return carried_out(run), run


def test_a_student_of_four_bits_learns_and_says_that_it_is_slow(trained):
    pipeline, run = trained
    kinds = {type(module).__name__ for module in pipeline.student.modules()}
    assert "Linear4bit" in kinds
    events, _ = read(run / "events.jsonl")
    losses = [metric.loss for metric in latest_by_step(events, Metric)]
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0]
    assert "quantized_on_cpu" in {event.code for event in events if isinstance(event, Warning)}
    report = json.loads((run / "report.json").read_text())
    assert report["before"]["n"] == report["after"]["n"] == 6 and report["cka"]


def test_what_is_trained_is_float32_and_the_head_is_whole(trained):
    student = trained[0].student
    assert {p.dtype for p in student.parameters() if p.requires_grad} == {torch.float32}
    assert student.get_output_embeddings().weight.dtype == torch.float32
    assert not any(getattr(m, "support_avx512bf16_for_cpu", False) for m in student.modules())
    ids = torch.randint(5, 200, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states, _ = read_states(student.eval(), input_ids=ids)
        assert torch.allclose(head_of(student).logits(states), student(input_ids=ids).logits, atol=1e-4)


def test_training_and_eval_mode_read_the_same_weights(trained):
    """bitsandbytes would rewrite them at the first answer, and no gradient would reach what is before them."""
    student = trained[0].student
    ids = torch.randint(5, 200, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), student.disable_adapter():
        answering = student.eval()(input_ids=ids).logits
        training = student.train()(input_ids=ids).logits
    assert torch.equal(answering, training)
    student(input_ids=ids).logits.sum().backward()
    first = next(p for name, p in student.named_parameters() if "layers.0." in name and "lora_A" in name)
    assert first.grad.abs().sum() > 0
    student.zero_grad()


def test_a_run_that_was_broken_off_ends_in_the_same_bytes(trained, tmp_path):
    run = begun(tmp_path)
    carried_out(run, stop_at=3)
    assert not (run / "report.json").exists()
    carried_out(run)
    files = [folder / "adapter" / "adapter_model.safetensors" for folder in (trained[1], run)]
    assert files[0].read_bytes() == files[1].read_bytes()


def texts_of(pipeline):
    return {name: pipeline.trainer.train_dataset.collate(range(6))[name] for name in ("input_ids", "labels")}


def test_the_adapter_loads_in_plain_peft_on_the_whole_model(trained):
    pipeline, run = trained
    base = AutoModelForCausalLM.from_pretrained(paths.ZOO / "student-tiny", dtype=torch.float32)
    with torch.no_grad():
        before = base(**texts_of(pipeline)).loss
        adapted = PeftModel.from_pretrained(base, run / "adapter")
        assert adapted(**texts_of(pipeline)).loss < 0.9 * before
    names = dict(pipeline.student.named_parameters())
    for name, weights in adapted.named_parameters():
        if "lora_" in name:
            assert torch.equal(weights, names[name])


def test_it_answers_again_and_side_by_side(trained):
    _, run = trained
    report = json.loads((run / "report.json").read_text())
    again = evaluate_run(run, 6, as_json=True)
    assert (again["before"], again["after"]) == (report["before"], report["after"])
    last = {step.side: step for step in answer_both(open_student(run), "Tom has 3 apples and buys 4 more.", 6)}
    assert last.keys() == {"before", "after"} and all(step.over for step in last.values())


def test_eight_bits_train_too(trained):
    pipeline, _ = trained
    student, _ = load_student(pipeline.config.student, LoraConfig(quantize="8bit"), detect(), 0, True)
    assert "Linear8bitLt" in {type(module).__name__ for module in student.modules()}
    optimiser = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        loss = student.train()(**texts_of(pipeline), use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_sizes_that_are_no_multiple_of_a_block_are_quantised_as_well(tmp_path):
    """Blocks of 64 numbers are cut from a whole matrix, across its rows: any width will do."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 36, "intermediate_size": 50, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=448, num_hidden_layers=1, pad_token_id=0, **sizes))
    model.save_pretrained(tmp_path)
    trained_on = paths.ZOO / "student-tiny"
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((trained_on / file).read_bytes())
    config = configs.parse({"student": str(tmp_path), "objectives": ["task"], "lora": {"r": 2, "quantize": "4bit"}})
    student, _ = load_student(config.student, config.lora, detect(), 0)
    ids = torch.arange(20, 40)[None]
    with torch.no_grad():
        whole, few = model.eval()(input_ids=ids).logits, student.eval()(input_ids=ids).logits
    assert 0 < (whole - few).abs().max() < 0.5 * whole.abs().max()
    student.train()(input_ids=ids, labels=ids).loss.backward()
    said = dict(cautions(student, config.lora, detect()))
    assert "reaches 22% of the student's weights" in said["little_quantized"]  # the rest is its vocabulary


def test_where_it_can_not_be_done_a_sentence_says_so(monkeypatch):
    config = configs.parse({"student": "student-tiny", "objectives": ["task"], "lora": {"quantize": "4bit"}})
    apple = replace(detect(), device="mps")
    with pytest.raises(ConfigError, match=r"^lora\.quantize 4bit works on NVIDIA GPUs and on CPUs, but not on Apple's"):
        load_student(config.student, config.lora, apple, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cannot_quantise("cuda").startswith("needs the package bitsandbytes")
    with pytest.raises(ConfigError, match=r"pip install bitsandbytes, or remove it\.$"):
        load_student(config.student, config.lora, detect(), 0)


def test_a_head_of_few_bits_is_refused(tiny):
    model = tiny("student-tiny")[0]
    bitsandbytes = pytest.importorskip("bitsandbytes")
    few = bitsandbytes.nn.Linear4bit(96, 448, bias=False).to("cpu")
    with pytest.raises(UserError, match="keeps the layer that makes its logits in few bits"):
        head_of(type("Model", (), {"get_output_embeddings": lambda self: few, "config": model.config})())
