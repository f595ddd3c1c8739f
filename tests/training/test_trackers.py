"""Numbers reach a tracker's own files; one that fails is said once and left out, whatever it raises."""

import math

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.runs.events import Evaluation, Metric, Probe, Sample
from distill.runs.preflight import refuse_foreseen
from distill.training.trackers import Trackers, numbers
from distill.ui.actions import check_public

ASKED = {"student": "student-tiny", "objectives": ["task"]}


def scalars(folder):
    """{name: [(step, value)]} as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def sitting(folder, reached, losses, warn=None):
    """Train on from `reached`, as the Trainer tells its callbacks."""
    trackers = Trackers(["tensorboard"], folder, reached, warn or (lambda *said: None))
    args, state, control = TrainingArguments(str(folder), report_to=[], use_cpu=True), TrainerState(), TrainerControl()
    state.is_world_process_zero = True
    trackers.on_train_begin(args, state, control)
    for step, loss in enumerate(losses, reached + 1):
        state.global_step = step
        trackers.on_log(args, state, control, logs={"loss": loss})
    trackers.on_save(args, state, control)
    trackers.on_train_end(args, state, control)


def test_a_resumed_run_goes_on_where_it_was_saved(tmp_path):
    pytest.importorskip("tensorboard")
    sitting(tmp_path, 0, [4.0, 3.0, 9.0])
    sitting(tmp_path, 2, [2.0, 1.0])  # it had been saved at step 2
    assert scalars(tmp_path / "tensorboard")["train/loss"] == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]


def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where its folder would be")
    said = []
    sitting(tmp_path, 0, [4.0, 3.0], lambda *warning: said.append(warning))
    ((code, text),) = said
    assert code == "tracker_failed" and text.startswith("tensorboard no longer accepts this run's numbers (")


def test_only_one_process_reports(tmp_path):
    trackers = Trackers(["tensorboard"], tmp_path, 0, lambda *said: None)
    state = TrainerState(is_world_process_zero=False)
    trackers.on_train_begin(TrainingArguments(str(tmp_path), report_to=[], use_cpu=True), state, TrainerControl())
    assert not (tmp_path / "tensorboard").exists()


def test_what_is_no_number_is_left_out():
    metric = Metric(step=1, steps=2, loss=math.nan, terms={"task": 0.5}, metrics={"share": None}, grad_norm=2)
    assert numbers(metric) == {"term/task": 0.5, "grad_norm": 2.0}
    gate = {"mean": {"a": 0.25}, "by_family": {}, "entropy": 1.0}
    probe = Probe(step=1, n=8, cka={"a": 0.5, "b": None}, null95=0.1, participation_ratio=3.0, gate=gate)
    assert numbers(probe) == {"participation_ratio": 3.0, "cka/a": 0.5, "gate/a": 0.25}
    during = {"phase": "during", "split": "validation", "step": 1, "n": 8, "correct": 2, "ci95": None}
    assert numbers(Evaluation(accuracy=0.25, **during)) == {"accuracy/during": 0.25}
    assert numbers(Sample(step=1, problem="p", text="", right=True)) == {}


def test_a_name_that_is_no_tracker_or_not_installed_is_refused_before_there_is_a_run():
    with pytest.raises(ConfigError, match=r"^report_to\.0 is 'mlflow': choose one of"):
        configs.parse({**ASKED, "report_to": ["mlflow"]})
    absent = configs.parse({**ASKED, "report_to": "wandb"})
    assert absent.report_to == ["wandb"] and configs.parse(ASKED).report_to == []
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(
            ConfigError, match=r"^report_to names 'wandb', which is not installed here: pip install wandb"
        ):
            refuse_foreseen(absent)


def test_strangers_report_to_nobody_on_a_public_server():
    with pytest.raises(ConfigError, match="On a public server a run reports to no tracker such as tensorboard"):
        check_public(configs.parse({**ASKED, "report_to": ["tensorboard"]}))
