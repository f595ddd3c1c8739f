"""A part is drawn once for all who watch and sent only when it changed."""

from dataclasses import replace

import gradio as gr
import pytest

from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import EventWriter, Metric
from distill.runs.process import claim
from distill.runs.views import view
from distill.ui import session
from distill.ui.session import Drawings, LivePart

SKIP = gr.skip()


@pytest.fixture
def run():
    folder = store.create(configs.load("tiny"))
    claim(folder)
    return view(folder)


def counting(text=lambda run, *values: f"step {run.step}{values}"):
    drawn = []

    def draw(run, *values):
        drawn.append(values)
        return text(run, *values)

    return drawn, draw


def test_thirty_tabs_cost_one_drawing(run):
    drawn, draw = counting()
    drawings, part = Drawings(), LivePart("f", "component", draw)
    for _ in range(30):
        updates, marks = drawings.updates([part], run, "train", {}, {})
        assert updates == ["step 0()"]
        assert drawings.updates([part], run, "train", {}, marks) == ([SKIP], marks)
    assert len(drawn) == 1


def test_a_change_of_the_run_is_sent_and_a_drawing_that_is_the_same_is_not(run):
    drawings = Drawings()
    parts = [LivePart("step", 1, lambda run: f"{run.step}"), LivePart("name", 2, lambda run: run.name)]
    _, marks = drawings.updates(parts, run, "train", {}, {})
    with EventWriter(run.folder / "events.jsonl") as writer:
        writer.write(Metric(step=3, steps=9, loss=1.0))
    updates, _ = drawings.updates(parts, view(run.folder), "train", {}, marks)
    assert updates == ["3", SKIP]


def test_what_becomes_of_an_update_that_was_sent_is_nothing_to_the_next_tab(run):
    drawings = Drawings()
    parts = [LivePart("choices", 1, lambda run: gr.update(choices=["a"], value="a"))]
    for _ in range(2):
        updates, _ = drawings.updates(parts, run, "train", {}, {})
        assert updates[0].pop("value") == "a"  # as Gradio does when it sends one


def test_only_the_open_tab_is_drawn(run):
    drawn, draw = counting()
    part = LivePart("f", "component", draw, tab="insight")
    updates, marks = Drawings().updates([part], run, "train", {}, {})
    assert updates == [SKIP] and not drawn and marks == {}


def test_what_a_visitor_chose_is_drawn_for_that_visitor(run):
    drawn, draw = counting()
    drawings, part = Drawings(), LivePart("f", "component", draw, inputs=["search"])
    assert drawings.updates([part], run, "train", {"search": "a"}, {})[0] == ["step 0('a',)"]
    assert drawings.updates([part], run, "train", {"search": "b"}, {})[0] == ["step 0('b',)"]
    assert len(drawn) == 2


def test_a_key_says_what_else_a_drawing_depends_on(run):
    now = ["first"]
    part = LivePart("f", "component", lambda run: now[0], key=lambda: now[0])
    drawings = Drawings()
    _, marks = drawings.updates([part], run, "train", {}, {})
    now[0] = "second"
    assert drawings.updates([part], run, "train", {}, marks)[0] == ["second"]


def test_two_runs_are_not_taken_for_each_other(run):
    other = replace(run, id="0" * 12, step=7)
    drawings, part = Drawings(), LivePart("f", "component", lambda run: f"{run.step}")
    assert drawings.updates([part], run, "train", {}, {})[0] == ["0"]
    assert drawings.updates([part], other, "train", {}, {})[0] == ["7"]


def test_a_look_that_would_be_too_heavy_sends_the_rest_at_the_next(run):
    size, version = session.MOST_SENT // 2 - 100, ["a"]
    parts = [LivePart(name, name, lambda run: version[0] * size, key=lambda: version[0]) for name in "123"]
    drawings = Drawings()
    updates, marks = drawings.updates(parts, run, "train", {}, {})
    assert SKIP not in updates  # a tab that is opened is shown whole
    version[0] = "b"
    first, marks = drawings.updates(parts, run, "train", {}, marks)
    second, marks = drawings.updates(parts, run, "train", {}, marks)
    assert [update == SKIP for update in first] == [False, False, True]
    assert [update == SKIP for update in second] == [True, True, False]
    assert drawings.updates(parts, run, "train", {}, marks)[0] == [SKIP] * 3


def test_one_part_heavier_than_a_look_is_sent_all_the_same(run):
    version = ["a"]
    part = LivePart("f", "f", lambda run: version[0] * 2 * session.MOST_SENT, key=lambda: version[0])
    drawings = Drawings()
    _, marks = drawings.updates([part], run, "train", {}, {})
    version[0] = "b"
    assert drawings.updates([part], run, "train", {}, marks)[0] != [SKIP]


def test_a_part_that_fails_leaves_the_others(run):
    parts = [LivePart("bad", 1, lambda run: 1 / 0), LivePart("good", 2, lambda run: "fine")]
    assert Drawings().updates(parts, run, "train", {}, {})[0] == [SKIP, "fine"]


def test_a_mark_says_what_of_the_run_a_drawing_depends_on(run):
    drawn, draw = counting()
    part, drawings = LivePart("f", "component", draw, mark=lambda run: run.step // 10), Drawings()
    for step in (1, 2, 9, 10):
        drawings.updates([part], replace(run, step=step, mark=(step, "training", 0)), "train", {}, {})
    assert len(drawn) == 2
