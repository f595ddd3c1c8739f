"""What is looked at while a run trains, and that stopping and resuming it changes nothing of it."""

import json

import pytest
from end_to_end_cases import STATEFUL, weights

from distill.config import run_config as configs
from distill.config.errors import Stopped
from distill.data.problems import generate
from distill.evaluation.during import spread
from distill.evaluation.score import wilson
from distill.models.hardware import detect
from distill.models.pooling import layer_at
from distill.runs import store
from distill.runs.events import Evaluation, EventWriter, Metric, Probe, Sample, latest_by_step, read
from distill.runs.views import view
from distill.training.artifacts import keep_model
from distill.training.pipeline import Pipeline
from distill.zoo.cards import CARDS

SETTINGS = {
    **STATEFUL,
    "data": {**STATEFUL["data"], "held_out": 12, "new_phrasing": 0},
    "budget": {**STATEFUL["budget"], "threads": 1},
    "probe": {"texts": 24, "every": 2, "samples": 2, "problems": 18},
    "evaluation": {"max_new_tokens": 24},
}
LOOKS = [0, 2, 4, 6, 8]
ANSWERED = [0, 4, 8]


def go(folder, should_stop=lambda: False):
    """Train the run in `folder` from where it is."""
    with EventWriter(folder / "events.jsonl") as writer:
        pipeline = Pipeline(folder, configs.load(folder / "config.yaml"), detect(), writer, should_stop)
        try:
            pipeline.run()
        except Stopped:
            keep_model(pipeline, finished=False)
            return pipeline
        keep_model(pipeline, finished=True)
    return pipeline


def said(folder, kind):
    return latest_by_step(read(folder / "events.jsonl")[0], kind)


def during(folder):
    return [event for event in said(folder, Evaluation) if event.phase == "during"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(pipeline, folder) of a run that nobody interrupted."""
    folder = store.create(configs.parse(SETTINGS), tmp_path_factory.mktemp("whole"))
    return go(folder), folder


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A folder of the same run, stopped after its third step and resumed; its probes as they were when it stood."""
    folder = store.create(configs.parse(SETTINGS), tmp_path_factory.mktemp("resumed"))
    go(folder, should_stop=lambda: any(metric.step >= 3 for metric in said(folder, Metric)))
    stood = said(folder, Probe)
    go(folder)
    return folder, stood


def test_validation_problems_are_answered_at_every_second_look(whole):
    _, folder = whole
    points = during(folder)
    assert [point.step for point in points] == ANSWERED
    validation = generate("validation", configs.parse(SETTINGS).data.validation)
    asked = {p.family for p in spread(validation, 18)}
    for point in points:
        assert (point.split, point.n) == ("validation", 18)
        assert point.accuracy == point.correct / 18
        assert point.ci95 == list(wilson(point.correct, 18))
        assert point.by_family.keys() == asked
    assert [(s.step, s.problem) for s in said(folder, Sample)] == [
        (step, problem) for step in ANSWERED for problem in dict.fromkeys(s.problem for s in said(folder, Sample))
    ]
    assert len(said(folder, Sample)) == 2 * len(ANSWERED)


def test_what_is_judged_at_the_end_is_neither_asked_nor_mixed_up(whole):
    _, folder = whole
    report = json.loads((folder / "report.json").read_text())
    events = {(e.phase, e.split): e for e in said(folder, Evaluation)}
    assert events.keys() == {("before", "held_out"), ("after", "held_out"), ("during", "validation")}
    for phase in ("before", "after"):
        assert report[phase]["n"] == events[phase, "held_out"].n == 12
        assert report[phase]["correct"] == events[phase, "held_out"].correct
    answers = json.loads((folder / "answers.json").read_text())
    assert answers.keys() == {"before", "after"}


def test_every_layer_is_compared_at_the_first_and_the_last_look_only(whole):
    pipeline, folder = whole
    probes = said(folder, Probe)
    assert [probe.step for probe in probes] == LOOKS
    assert [probe.step for probe in probes if probe.layers] == [0, 8]
    rows = pipeline.student.config.num_hidden_layers + 1
    for probe in (probes[0], probes[-1]):
        assert list(probe.layers) == ["gemma2-tiny", "minicpm3-tiny"]
        for teacher, table in probe.layers.items():
            theirs = CARDS[teacher].layers + 1
            assert len(table) == rows and {len(row) for row in table} == {theirs}
            assert all(value == round(value, 3) and -1 <= value <= 1 for row in table for value in row)
            # What is read at the student's layer and the teacher's is what the curve shows there.
            layer = pipeline.distiller.objectives["geometry"].layer
            assert table[layer][layer_at(0.75, theirs - 1)] == pytest.approx(probe.cka[teacher], abs=6e-4)
    report = json.loads((folder / "report.json").read_text())
    assert report["layers"] == {
        teacher: {"before": probes[0].layers[teacher], "after": probes[-1].layers[teacher]}
        for teacher in probes[0].layers
    }
    assert probes[0].layers != probes[-1].layers


def test_a_stopped_run_is_looked_at_as_it_was_left(resumed):
    _, stood = resumed
    assert [probe.step for probe in stood] == [0, 2, 3]
    assert [probe.step for probe in stood if probe.layers] == [0, 3]


def test_resumed_it_ends_as_if_it_had_never_been_stopped(whole, resumed):
    (_, straight), (folder, stood) = whole, resumed
    assert weights(folder) == weights(straight)
    assert [(e.step, e.correct, e.by_family) for e in during(folder)] == [
        (e.step, e.correct, e.by_family) for e in during(straight)
    ]
    assert [(e.step, e.problem, e.text) for e in said(folder, Sample)] == [
        (e.step, e.problem, e.text) for e in said(straight, Sample)
    ]
    probes = said(folder, Probe)
    assert [probe.step for probe in probes] == [0, 2, 3, 4, 6, 8]
    assert probes[0] == stood[0]
    reports = [json.loads((run / "report.json").read_text()) for run in (folder, straight)]
    for key in ("layers", "cka", "digests", "after"):
        assert reports[0][key] == reports[1][key], key


def test_how_far_a_stopped_run_came_is_still_known(tmp_path):
    folder = store.create(configs.parse({**SETTINGS, "teachers": [], "objectives": ["task"]}), tmp_path)
    pipeline = go(folder, should_stop=lambda: any(metric.step >= 3 for metric in said(folder, Metric)))
    assert view(folder).step == 3
    assert pipeline.trainer.state.global_step == 3
    assert [event.step for event in during(folder)] == [0]
    assert not said(folder, Probe)


def test_a_run_without_problems_to_count_counts_none(tmp_path):
    changes = {"teachers": [], "objectives": ["task"], "probe": {**SETTINGS["probe"], "problems": 0}}
    folder = store.create(configs.parse({**SETTINGS, **changes}), tmp_path)
    go(folder)
    assert not during(folder)
    assert len(said(folder, Sample)) == 2 * len(ANSWERED)
    assert json.loads((folder / "report.json").read_text())["layers"] == {}
