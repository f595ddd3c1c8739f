"""Small runs of a method, carried out in this process, and what must hold of each."""

import json

import torch
from end_to_end_cases import MINI

from distill.config import run_config as configs
from distill.config.run_config import teachers_of
from distill.models.chat_template import render
from distill.models.hardware import detect
from distill.models.student import load_adapter, load_student
from distill.runs import store
from distill.runs.events import EventWriter, Metric, Warning, latest_by_step, read
from distill.training.artifacts import keep_model
from distill.training.pipeline import Pipeline

SMALL = {
    **MINI,
    "data": {"train": 24, "held_out": 6, "new_phrasing": 0, "validation": 4},
    "budget": {**MINI["budget"], "steps": 3, "batch_size": 4, "accumulation": 2, "threads": 1},
    "probe": {"texts": 8, "every": 3, "samples": 0, "problems": 0},
    "evaluation": {"max_new_tokens": 24},
}
SIBLING = ["sibling-tiny"]  # the student's own tokenizer
STRANGERS = ["gemma2-tiny", "minicpm3-tiny"]  # two others


def pipeline_of(folder, objectives, teachers, stop=lambda: False, **changes):
    settings = {**SMALL, "objectives": objectives, "teachers": teachers}
    for key, value in changes.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    run = store.create(configs.parse(settings), folder)
    return Pipeline(run, configs.load(run / "config.yaml"), detect(), EventWriter(run / "events.jsonl"), stop)


def carried_out(pipeline):
    """The report, and the metrics of each step."""
    pipeline.run()
    keep_model(pipeline, finished=True)
    check(pipeline)
    report = json.loads((pipeline.folder / "report.json").read_text())
    return report, latest_by_step(read(pipeline.folder / "events.jsonl")[0], Metric)


def check(pipeline):
    """What must hold whatever the method: everything needed was said, every term is there, and the adapter loads."""
    config, distiller, signals = pipeline.config, pipeline.distiller, pipeline.trainer.train_dataset.signals
    for one in config.objectives:
        for teacher in teachers_of(one, config):
            needs = distiller.objectives[one.kind].needs - {"live"}
            assert {need for need in needs if teacher.name not in signals.get(need, {})} == set(), one.kind
            assert not one.live or teacher.name in distiller.objectives[one.kind].live
    metrics = latest_by_step(read(pipeline.folder / "events.jsonl")[0], Metric)
    assert len(metrics) == config.budget.steps
    for kind in distiller.objectives:
        assert all(torch.tensor(metric.terms[kind]).isfinite() for metric in metrics)
        assert any(metric.terms[kind] != 0 for metric in metrics), kind
    student, tokenizer = load_student(config.student, config.lora, pipeline.hardware, config.seed)
    load_adapter(student, pipeline.folder / "adapter")
    ids = tokenizer(render(tokenizer, "Ann has 3 pens. How many?"), return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        now, trained = (model.eval()(**ids).logits for model in (student, pipeline.student))
        with student.disable_adapter():
            before = student(**ids).logits
    assert torch.equal(now, trained) and not torch.allclose(now, before, atol=1e-4)


def warnings_of(pipeline):
    return {e.code: e.text for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Warning)}
