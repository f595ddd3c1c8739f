"""What a run is doing, in words: the line under the title, the stages of Train, and curves to a run's very end."""

import re

import pytest
from run_cases import made, metric

from distill.data.problems import showcase
from distill.hub.zerogpu import LEFT
from distill.runs.events import WAITING, Sample, Stage, Status
from distill.runs.views import view
from distill.ui.charts import run_curves
from distill.ui.html import progress, state_words, words
from distill.ui.page import bar
from distill.ui.train import tab as train

LOADING = Stage(name="load", text="loading student-tiny", done=0, total=1)


def test_a_stopped_run_says_whether_there_is_a_model():
    run = made(state="stopped")
    assert state_words(run) == "stopped before there was a model"
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_model.safetensors").touch()
    assert state_words(run) == "stopped, its model is kept"


def test_between_slices_a_run_says_what_it_waits_for_and_why_it_was_stopped():
    run = made("tiny", metric(3), Status(state="queued", reason=WAITING), state=None)
    assert progress(run)[1] == "waiting for a GPU" == state_words(run)
    assert "<small>waiting for a GPU</small>" in train.stages(run)
    ended = made("tiny", metric(3), Status(state="stopped", reason=LEFT), state=None)
    assert f'<p class="quiet">{LEFT}</p>' in bar(ended, "")


def test_samples_are_the_runs_own_where_it_asked_its_own():
    said = {"text": "It is 4.", "right": False, "step": 25}
    own = Sample(problem="gsm_symbolic:0:7", question="How many bananas?", answer="20", **said)
    shown = train.samples(made("tiny", own, overrides=["data.source=reasoning_gym"]))
    assert "How many bananas?" in shown and "it is 20" in shown and showcase()[0].question not in shown
    before = train.samples(made("tiny", overrides=["data.source=reasoning_gym"]))
    assert "own problems" in before and showcase()[0].question not in before
    older = train.samples(made("tiny", Sample(problem=showcase()[0].id, **said)))
    assert "It is 4." in older and all(words(problem.question[:60]) in older for problem in showcase()[:3])


def test_stopping_is_said_before_the_first_step_too():
    run = made("tiny", LOADING, state="stopping")
    assert progress(run)[1] == "saving, then stopping · loading student-tiny"
    assert "saving, then stopping, loading student-tiny" in train.stages(run)
    later = made("tiny", LOADING, metric(3), state="stopping")
    assert "<small>saving, then stopping, step 3 of" in train.stages(later)


def test_a_resumed_run_in_the_queue_is_at_no_stage():
    after = Stage(name="evaluate-after", text="answering", done=1, total=2)
    shown = train.stages(made("tiny", LOADING, metric(3), after, state="queued"))
    assert "aria-current" not in shown and "now" not in re.findall('class="([a-z]*)"', shown)
    assert "<small>waiting for its turn</small>" in shown and "answering" not in shown


@pytest.mark.parametrize("state", ["stopped", "crashed", "failed"])
def test_a_curve_goes_to_the_very_end_of_a_run_that_is_over(state):
    going = made("tiny", *[metric(k, 4000) for k in range(1, 1004)], overrides=["budget.steps=4000"], state="training")
    assert run_curves.column(going, "loss", "loss", run_curves.INK).xs[-1] < 1003  # what is not seen is not drawn
    ended = made("tiny", *[metric(k, 4000) for k in range(1, 1004)], overrides=["budget.steps=4000"], state=state)
    assert view(ended.folder).state == state
    assert run_curves.column(ended, "loss", "loss", run_curves.INK).xs[-1] == 1003
    assert run_curves.moment()(going) != run_curves.moment()(ended)
