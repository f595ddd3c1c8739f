"""The log: levels, search, what is repeated said once, and nothing of it comes alive in the page."""

import pytest

from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import Error, Evaluation, EventWriter, Metric, Sample, Stage, Status, Warning
from distill.runs.views import view
from distill.ui.train import log

EVERY, WORRIES, PROGRAM = log.LEVELS[1], log.LEVELS[2], log.LEVELS[3]


@pytest.fixture
def folder():
    return store.create(configs.load("tiny"))


def write(folder, *events):
    with EventWriter(folder / "events.jsonl") as writer:
        for event in events:
            writer.write(event)
    return view(folder)


def texts(run, *choice):
    return [line.text for line in log.lines(run, *choice)]


def test_levels_part_what_happened_from_every_step_and_from_worries(folder):
    run = write(
        folder,
        Status(state="training"),
        Metric(step=1, steps=2, loss=0.5, terms={"task": 0.5}, tokens_per_second=1234.0),
        Warning(code="w", text="the heads took it"),
        Error(text="it broke"),
    )
    assert "training" in texts(run) and not any("loss" in text for text in texts(run))
    assert "step 1 of 2, loss 0.5000, task 0.5000, 1,234 tokens/s" in texts(run, EVERY)
    assert texts(run, WORRIES) == ["the heads took it", "it broke"]


def test_search_is_for_any_case(folder):
    run = write(folder, Warning(code="a", text="The Gate listens to one"), Warning(code="b", text="narrowed"))
    assert texts(run, WORRIES, "gate") == ["The Gate listens to one"]
    assert "No line of this kind holds that text" in log.html(run, WORRIES, "nowhere")


def test_a_stage_is_said_once_however_often_it_reports(folder):
    stages = [Stage(name="signals", text="asking gemma2-tiny", done=k, total=9) for k in range(9)]
    assert texts(write(folder, *stages)).count("asking gemma2-tiny") == 1


def test_lines_stand_in_order_of_time_and_the_newest_are_kept(folder):
    run = write(folder, *[Metric(t=4e9 + k, step=k, steps=500, loss=1.0) for k in range(1, 301)])
    steps = [text for text in texts(run, EVERY) if text.startswith("step")]
    assert len(steps) <= log.SHOWN and steps[-1].startswith("step 300 of") and "step 241 of 500" in steps[-60]


def test_accuracies_and_answers_are_said_with_n_and_verdict(folder):
    run = write(
        folder,
        Evaluation(phase="after", split="held_out", step=9, n=4, correct=3, accuracy=0.75, ci95=[0.3, 0.95]),
        Sample(step=9, problem="showcase:x", text="1 + 1 = 2", right=True),
    )
    assert "step 9, after, held-out problems: 75.0% (95%: 30.0-95.0, n = 4)" in texts(run)
    assert "step 9, showcase:x: right: 1 + 1 = 2" in texts(run)


def test_program_output_is_the_end_of_stdout(folder):
    (folder / "stdout.log").write_text("first\nlast\n")
    assert texts(view(folder), PROGRAM) == ["first", "last"]


def test_nothing_in_the_log_comes_alive(folder):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    (folder / "stdout.log").write_text(evil)
    run = write(folder, Warning(code="x", text=evil), Sample(step=0, problem=evil, text=evil, right=False))
    for level in log.LEVELS:
        shown = log.html(run, level)
        assert "<script" not in shown and "<img" not in shown


def test_a_long_line_is_cut_and_said_to_be(folder):
    run = write(folder, Warning(code="x", text="a" * 1000))
    assert texts(run, WORRIES)[0].endswith("…") and len(texts(run, WORRIES)[0]) == 240


def test_without_a_run_it_says_what_will_be_here():
    assert "is written here" in log.html(None)
