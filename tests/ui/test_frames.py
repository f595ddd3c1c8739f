"""A frame is drawn once for all who watch and sent only when it changed."""

from dataclasses import replace

import gradio as gr
import pytest

from distill import config as configs
from distill import runs
from distill.events import EventWriter, Metric
from distill.runs import view
from distill.ui.frames import Drawings, Frame

SKIP = gr.skip()


@pytest.fixture
def run():
    folder = runs.create(configs.load("tiny"))
    runs.claim(folder)
    return view(folder)


def counting(text=lambda run, *values: f"step {run.step}{values}"):
    drawn = []

    def draw(run, *values):
        drawn.append(values)
        return text(run, *values)

    return drawn, draw


def test_thirty_tabs_cost_one_drawing(run):
    drawn, draw = counting()
    drawings, frame = Drawings(), Frame("f", "component", draw)
    for _ in range(30):
        updates, marks = drawings.updates([frame], run, "train", {}, {})
        assert updates == ["step 0()"]
        assert drawings.updates([frame], run, "train", {}, marks) == ([SKIP], marks)
    assert len(drawn) == 1


def test_a_change_of_the_run_is_sent_and_a_drawing_that_is_the_same_is_not(run):
    drawings = Drawings()
    frames = [Frame("step", 1, lambda run: f"{run.step}"), Frame("name", 2, lambda run: run.name)]
    _, marks = drawings.updates(frames, run, "train", {}, {})
    with EventWriter(run.folder / "events.jsonl") as writer:
        writer.write(Metric(step=3, steps=9, loss=1.0))
    updates, _ = drawings.updates(frames, view(run.folder), "train", {}, marks)
    assert updates == ["3", SKIP]


def test_only_the_open_tab_is_drawn(run):
    drawn, draw = counting()
    frame = Frame("f", "component", draw, tab="insight")
    updates, marks = Drawings().updates([frame], run, "train", {}, {})
    assert updates == [SKIP] and not drawn and marks == {}


def test_what_a_visitor_chose_is_drawn_for_that_visitor(run):
    drawn, draw = counting()
    drawings, frame = Drawings(), Frame("f", "component", draw, inputs=["search"])
    assert drawings.updates([frame], run, "train", {"search": "a"}, {})[0] == ["step 0('a',)"]
    assert drawings.updates([frame], run, "train", {"search": "b"}, {})[0] == ["step 0('b',)"]
    assert len(drawn) == 2


def test_a_key_says_what_else_a_drawing_depends_on(run):
    now = ["first"]
    frame = Frame("f", "component", lambda run: now[0], key=lambda: now[0])
    drawings = Drawings()
    _, marks = drawings.updates([frame], run, "train", {}, {})
    now[0] = "second"
    assert drawings.updates([frame], run, "train", {}, marks)[0] == ["second"]


def test_two_runs_are_not_taken_for_each_other(run):
    other = replace(run, id="0" * 12, step=7)
    drawings, frame = Drawings(), Frame("f", "component", lambda run: f"{run.step}")
    assert drawings.updates([frame], run, "train", {}, {})[0] == ["0"]
    assert drawings.updates([frame], other, "train", {}, {})[0] == ["7"]
