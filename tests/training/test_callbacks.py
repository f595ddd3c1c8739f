"""What a run says of its pace: a look at the student before the first step is no part of that step."""

import time
from types import SimpleNamespace

from distill.runs.events import Metric
from distill.training.callbacks import Reporter


def test_a_slow_look_before_the_first_step_is_not_taken_for_a_slow_step():
    said = []

    def answers(step):
        time.sleep(1)
        return []

    reporter = Reporter(SimpleNamespace(write=said.append), lambda: False, None, 50, answers)
    reporter.trainer = SimpleNamespace(
        model=SimpleNamespace(objectives={}),
        step_terms={},
        step_metrics={},
        step_tokens=100,
        grad_norm=1.0,
        lr_scheduler=SimpleNamespace(get_last_lr=lambda: [0.1]),
        state=SimpleNamespace(max_steps=100),
    )
    state, control = SimpleNamespace(global_step=0, max_steps=100), SimpleNamespace()
    reporter.on_train_begin(None, state, control)
    state.global_step = 1
    reporter.on_step_end(None, state, control)
    (metric,) = [event for event in said if isinstance(event, Metric)]
    assert metric.seconds_left < 30 and metric.tokens_per_second > 300
    assert reporter.answer_seconds > 1
