"""The controls of Train: what may be typed beside Resume, the way to another run, and what strangers may read."""

import gradio as gr
import pytest

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.ui.session import PageSession
from distill.ui.train import log
from distill.ui.train import tab as train


def built(public):
    with gr.Blocks() as page:
        session = PageSession(public)
        with gr.Tabs() as session.tabs, gr.Tab("Train"):
            train.build(session)
    return page, session


def component(page, **wanted):
    return next(b for b in page.blocks.values() if all(getattr(b, key, None) == value for key, value in wanted.items()))


def test_what_is_typed_beside_resume_becomes_overrides():
    assert train.overrides("", None) == train.overrides(None, "  ") == []
    budget = configs.load("tiny", train.overrides(" 200 ", "3e-5")).budget
    assert (budget.steps, budget.learning_rate) == (200, 3e-5)


@pytest.mark.parametrize("steps", ["0", "-5", "1.5", "many", "1e3", "²"])
def test_what_is_no_number_of_steps_is_refused(steps):
    with pytest.raises(UserError, match=r"“Steps in all” is .*: give a whole number of at least 1, or leave it empty"):
        train.overrides(steps, "")


@pytest.mark.parametrize("rate", ["0", "0.0", "-1", "nan", "inf", "1e999", "fast"])
def test_what_is_no_learning_rate_is_refused(rate):
    with pytest.raises(UserError, match=r"“Learning rate” is .*: give a number above 0"):
        train.overrides("", rate)


def test_fields_beside_resume_begin_empty():
    page, _ = built(False)
    for label in ("Steps in all", "Learning rate"):
        field = component(page, label=label)
        assert isinstance(field, gr.Textbox) and not field.value and field.placeholder == "unchanged"


@pytest.mark.parametrize("public", [False, True])
def test_strangers_are_not_shown_what_the_program_printed(public):
    page, _ = built(public)
    offered = [value for _, value in component(page, label="Show").choices]
    assert ("program output" in offered) is not public and offered == list(log.LEVELS[: len(offered)])
    if public:
        with pytest.raises(gr.Error):
            component(page, label="Show").preprocess("program output")


def test_another_run_is_a_press_away():
    page, session = built(False)
    button = component(page, elem_id="another")
    (pressed,) = [fn for fn in page.fns.values() if (button._id, "click") in fn.targets]
    tabs, tab, *timers = pressed.fn()
    assert pressed.outputs == [session.tabs, session.tab, *session.timers.values()]
    assert tabs.selected == tab == "configure" and button.interactive
    assert [timer.active for timer in timers] == [name == "configure" for name in session.timers]
