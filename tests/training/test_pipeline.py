"""Every mode, gate and window, from config to report, on the shipped zoo."""

import json

import pytest
from end_to_end_cases import MINI

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import teachers_of
from distill.data.problems import generate
from distill.models.hardware import detect
from distill.runs import store
from distill.runs.events import EventWriter, Metric, Probe, Warning, latest_by_step, read
from distill.training.artifacts import keep_model
from distill.training.pipeline import Pipeline

GEOMETRIES = {
    "deku": {"mode": "deku", "gate": "learned", "similarity": "biased"},
    "deku_frozen": {"mode": "deku_frozen", "gate": "uniform", "similarity": "nbs"},
    "meta": {"mode": "kernel", "gate": {"kind": "meta", "every": 2}},
    "bank": {"mode": "kernel", "gate": "prior", "window": "bank", "bank_size": 12},
}


@pytest.fixture(scope="module", params=GEOMETRIES)
def trained(request, tmp_path_factory):
    """(name, pipeline, folder) of a short run with accumulation."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = {
        **MINI,
        "objectives": [{"kind": "task"}, {"kind": "geometry", **GEOMETRIES[request.param]}],
        "data": {**MINI["data"], "held_out": 12, "new_phrasing": 0},
        "budget": {**MINI["budget"], "steps": 5, "batch_size": 4, "accumulation": 2, "threads": 1},
        "probe": {"texts": 24, "every": 5, "samples": 0},
    }
    run = store.create(configs.parse(settings), folder)
    with EventWriter(run / "events.jsonl") as writer:
        pipeline = Pipeline(run, configs.load(run / "config.yaml"), detect(), writer, lambda: False)
        pipeline.run()
        keep_model(pipeline, finished=True)
    return request.param, pipeline, run


def test_a_run_ends_with_a_report_and_everything_it_trained(trained):
    name, _, run = trained
    report = json.loads((run / "report.json").read_text())
    assert report["steps"] == 5
    assert report["new_phrasing"] is None
    assert (run / "heads.safetensors").exists() == name.startswith("deku")
    assert (run / "gate.safetensors").exists()
    assert report["cka"].keys() == {"gemma2-tiny", "minicpm3-tiny"}


def test_the_reported_loss_is_the_weighted_sum_of_what_the_student_is_trained_on(trained):
    _, pipeline, run = trained
    weights = {objective.kind: objective.weight for objective in pipeline.config.objectives}
    for metric in latest_by_step(read(run / "events.jsonl")[0], Metric):
        expected = sum(weights[kind] * metric.terms[kind] for kind in weights)
        assert metric.loss == pytest.approx(expected)
        assert metric.tokens > 0


def test_what_only_some_modes_have(trained):
    name, pipeline, run = trained
    events, _ = read(run / "events.jsonl")
    last = latest_by_step(events, Metric)[-1]
    probes = latest_by_step(events, Probe)
    assert ("shadow" in last.terms) == (name == "deku")
    assert ("gate" in last.terms) == (name == "meta")
    if name == "meta":
        assert pipeline.distiller.objectives["geometry"].gate.benefit_T.abs().sum() > 0
    if name == "bank":
        assert len(pipeline.distiller.banks["geometry"].entries["z"]) == 12
    if name == "deku":
        assert probes[0].haf is None  # nothing has fallen yet
    else:
        assert all(probe.haf is None for probe in probes)


def test_training_and_probe_texts_are_of_other_facts(trained):
    _, pipeline, _ = trained
    probe, train = pipeline.problems["probe"], pipeline.problems["train"]
    assert {problem.split for problem in probe} == {"validation"}
    assert not {p.question for p in probe} & {p.question for p in train}
    assert len(generate("validation", 24)) == 24


def test_the_teachers_have_said_what_the_objectives_need(trained):
    _, pipeline, _ = trained
    signals = pipeline.trainer.train_dataset.signals
    wanted = {
        (need, teacher.name)
        for one in pipeline.config.objectives
        for need in pipeline.distiller.objectives[one.kind].needs
        for teacher in teachers_of(one, pipeline.config)
    }
    assert wanted and wanted <= {(name, teacher) for name, by_teacher in signals.items() for teacher in by_teacher}


def pipeline_of(folder, **changes):
    run = store.create(configs.parse({**MINI, **changes}), folder)
    return Pipeline(run, configs.load(run / "config.yaml"), detect(), EventWriter(run / "events.jsonl"), lambda: False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": {**MINI["budget"], "max_length": 16}}, "budget.max_length is 16 tokens"),
        ({"data": {**MINI["data"], "train": 6}}, "There are 6 training texts, fewer than one step of 8 x 1"),
        (
            {"data": {**MINI["data"], "families": ["shares"]}},
            "There is no problem family 'shares': did you mean 'share'",
        ),
    ],
)
def test_what_can_only_be_seen_once_there_are_texts_is_said_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        pipeline_of(tmp_path, **changes).run()


def test_texts_that_are_too_long_are_left_out_and_counted_never_cut(tmp_path):
    data = {**MINI["data"], "train": 48, "held_out": 12, "new_phrasing": 0}
    pipeline = pipeline_of(tmp_path, data=data, budget={**MINI["budget"], "max_length": 60})
    pipeline.load()
    train, _ = pipeline.ask_teachers()
    said = {e.code: e.text for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Warning)}
    assert 8 <= len(train) < 48 and f"{48 - len(train)} of 48 train texts are longer" in said["too_long:train"]
    ends = {example.input_ids[-1] for example in train.examples}
    assert ends == {pipeline.tokenizer.eos_token_id} and not any(example.truncated for example in train.examples)


def test_a_probe_cut_short_still_reads_and_unused_texts_and_teachers_are_announced(tmp_path):
    data = {**MINI["data"], "train": 21, "held_out": 12, "new_phrasing": 0}
    pipeline = pipeline_of(tmp_path, data=data, probe={"texts": 24, "characters": 20, "every": 6, "samples": 0})
    pipeline.run()
    events, _ = read(pipeline.folder / "events.jsonl")
    assert len(latest_by_step(events, Probe)) == 2
    assert "texts_unused" in {e.code for e in events if isinstance(e, Warning)}
    other = pipeline_of(tmp_path, data=data, objectives=["task"])
    other.load()
    other.ask_teachers()
    assert "teachers_unasked" in {e.code for e in read(other.folder / "events.jsonl")[0] if isinstance(e, Warning)}
