"""Epochs instead of steps: how many steps they make, what is kept of each, and what a kill in the second one costs."""

import json
from types import SimpleNamespace

import pytest
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, TrainerCallback

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.evaluation.reevaluate import evaluate_run
from distill.models.hardware import detect
from distill.runs import store
from distill.runs.events import EventWriter, Metric, latest_by_step, read
from distill.training.artifacts import keep_model
from distill.training.callbacks import EpochKeeper
from distill.training.pipeline import Pipeline

ASKED = {
    "student": "student-tiny",
    "objectives": ["task"],
    # Six steps an epoch and two texts over; checkpoints are at 4, 8 and the end: in the middle of each epoch.
    "data": {"train": 26, "held_out": 8, "new_phrasing": 0, "validation": 0},
    "budget": {"epochs": 2, "batch_size": 2, "accumulation": 2, "save_every": 4, "threads": 1, "learning_rate": 0.01},
    "evaluation": {"max_new_tokens": 4, "batch_size": 8},
    "probe": {"texts": 4, "every": 100, "samples": 0, "problems": 0},
}


class Killed(Exception):
    """What stands for kill -9: nothing is saved on the way out."""


class KillAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


def carry_out(run, *callbacks):
    with EventWriter(run / "events.jsonl") as writer:
        pipeline = Pipeline(run, configs.load(run / "config.yaml"), detect(), writer, lambda: False)
        pipeline.callbacks += callbacks
        pipeline.run()
        keep_model(pipeline, finished=True)
    return run


def metrics(run):
    return latest_by_step(read(run / "events.jsonl")[0], Metric)


def kept(run):
    return {path.parent.name: path.read_bytes() for path in run.glob("epochs/*/adapter_model.safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return carry_out(store.create(configs.parse(ASKED), tmp_path_factory.mktemp("whole")))


def test_the_steps_follow_from_the_texts(whole):
    found = metrics(whole)
    assert [metric.step for metric in found] == list(range(1, 13)) and {metric.steps for metric in found} == {12}
    assert found[-1].learning_rate < 0.05 * ASKED["budget"]["learning_rate"]  # the schedule ends where they do
    report = json.loads((whole / "report.json").read_text())
    assert report["steps"] == 12
    seen = store.view(whole)
    assert (seen.step, seen.steps) == (12, 12)


def test_each_epoch_reads_the_same_texts_in_another_order(whole):
    tokens = [metric.tokens for metric in metrics(whole)]
    assert sum(tokens[:6]) == sum(tokens[6:]) and tokens[:6] != tokens[6:]


def test_the_adapter_of_each_epoch_is_kept_whole_and_said(whole):
    adapters = kept(whole)
    assert adapters.keys() == {"1", "2"} and adapters["1"] != adapters["2"]
    assert adapters["2"] == (whole / "adapter" / "adapter_model.safetensors").read_bytes()
    model = AutoPeftModelForCausalLM.from_pretrained(whole / "epochs" / "1")
    assert AutoTokenizer.from_pretrained(whole / "epochs" / "1").vocab_size and model.generation_config.eos_token_id
    assert "in `epochs/1` and `epochs/2`" in (whole / "README.md").read_text()
    report = json.loads((whole / "report.json").read_text())
    assert report["digests"]["epochs/2"] == report["digests"]["adapter"] != report["digests"]["epochs/1"]


@pytest.mark.parametrize("step", [9, 6])  # in the second epoch; as the first has been kept and its end not yet
def test_killed_it_goes_on_to_the_same_bytes(whole, tmp_path, step):
    run = store.create(configs.parse(ASKED), tmp_path)
    with pytest.raises(Killed):
        carry_out(run, KillAt(step))
    assert kept(run) == {"1": kept(whole)["1"]}
    (run / "epochs" / "unfinished").mkdir()  # as if it had been killed while it wrote
    (run / "epochs" / "unfinished" / "adapter_config.json").write_text("{")
    assert store.view(run).steps == 12
    for changed, said in (("steps=20", "give one of the two"), ("epochs=1", "the run is at step 9, in a later one")):
        if step == 9:
            with pytest.raises(ConfigError, match=said):
                store.resume(run, [f"budget.{changed}"])
    carry_out(run)
    assert kept(run) == kept(whole)
    assert [(m.step, m.loss, m.tokens) for m in metrics(run)] == [(m.step, m.loss, m.tokens) for m in metrics(whole)]


def test_one_of_them_can_be_judged(whole):
    last, first = (evaluate_run(whole, 8, True, name)["after"] for name in ("adapter", "epochs/1"))
    report = json.loads((whole / "report.json").read_text())
    assert last == report["after"] and first["n"] == 8
    with pytest.raises(ConfigError, match=r"no adapter 'epochs/3': it has 'adapter'|it has adapter, epochs/1 and"):
        evaluate_run(whole, 8, True, "epochs/3")


def test_only_the_end_of_an_epoch_is_kept(tmp_path):
    keeper = EpochKeeper(tmp_path, 3, lambda folder: folder.mkdir())
    for step in range(1, 8):
        keeper.on_step_end(None, SimpleNamespace(global_step=step, is_world_process_zero=True), None)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    keeper.on_step_end(None, SimpleNamespace(global_step=9, is_world_process_zero=False), None)
    assert not (tmp_path / "3").exists()
