"""The panes of Compare without a browser, and a question on its way through the models."""

import re
from dataclasses import replace
from functools import partial

import pytest
from adapted_cases import MOST, adapted_run
from compare_cases import answers, recorded_run, text

from distill.config.errors import ConfigError, UserError
from distill.data.problems import showcase
from distill.runs import index
from distill.ui.auth import visitor
from distill.ui.charts.palette import teacher_style
from distill.ui.compare import answering, panes, recorded_answers
from distill.ui.compare.answering import generate_once
from distill.ui.compare.panes import Live


@pytest.fixture
def make_run(tmp_path):
    return partial(recorded_run, tmp_path)


# --- the panes ------------------------------------------------------------------------------------------------------


class Heard:
    """A step, as evaluation.side_by_side gives one."""

    def __init__(self, side, text, tokens=5, over=True, finished=True):
        self.side, self.text, self.tokens, self.over, self.finished = side, text, tokens, over, finished
        self.tokens_per_second = 12.0


def test_the_heads_say_which_weights_answered_and_how():
    live = Live(("r", "own", ""), "2 + 2?", "4", base="a" * 64, adapter="b" * 64, most=64)
    live = live.heard(Heard("before", "#### 5")).heard(Heard("after", "#### 4", over=False))
    before, after = (panes.head(live, side) for side in panes.SIDES)
    assert (
        text(before)
        == f"Before adapter off wrong : 5, not 4 model {'a' * 12} greedy, up to 64 tokens · 5 tokens, 12 a second"
    )
    assert f"model {'a' * 12} + adapter {'b' * 12}" in text(after) and "writing …" in text(after)
    assert f"title='{'b' * 64}'" in after and "adapter" not in before.partition("</h3>")[2]
    cut = live.heard(Heard("after", "#### 4", finished=False))
    assert "right : 4 (cut off at 64 tokens)" in text(panes.head(cut, "after"))
    assert [step.side for step in cut.said] == ["before", "after"]


def test_a_student_that_finds_no_sum_says_so_graded_or_not():
    heard = Heard("after", "no problem. #### impossible")
    for answer, said in (
        (None, "in this; no right"),
        ("4", "wrong : it doesn’t recognise a sum in this, and"),
        ("", ""),
    ):
        live = Live(("r", "own", ""), "Why?", answer).heard(heard)
        assert "it doesn’t recognise a sum in this" in text(panes.head(live, "after"))
        assert said in text(panes.head(live, "after"))


def test_a_caution_stands_beside_the_students_answer_and_is_inert():
    live = Live(("r", "own", ""), "Why?", None, note="Take care: <b>").heard(Heard("before", "5"))
    assert "<p class='care'>Take care: &lt;b&gt;</p>" in panes.head(live, "after")
    assert "care" not in panes.head(live, "before")
    assert "care" not in panes.head(replace(live, note=""), "after")


def test_what_was_answered_is_shown_for_that_choice_only(make_run):
    run = make_run(answers(10))
    live = Live((run.id, "judged", "3"), "What is 3?", "4", going=False)
    assert panes.seen(run, "judged", "", "3", live) is live
    assert isinstance(panes.seen(run, "judged", "", "4", live), recorded_answers.Chosen)
    assert isinstance(panes.seen(make_run(answers(10)), "judged", "", "3", live), recorded_answers.Chosen)


def test_what_a_run_recorded_is_in_the_panes_before_anything_is_asked(make_run):
    known = panes.seen(make_run(answers(10)), "judged", "", "0", None)
    assert "wrong : 00, not 4 as the run recorded it before training" in text(panes.head(known, "before"))
    assert panes.text(known, "after") == "&#35;&#35;&#35;&#35; 4"
    assert "appears here" in panes.text(None, "before") and panes.head(None, "after")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [("5", "4", "Fixed: "), ("4", "5", "Broken: "), ("4", "4", "Right both"), ("5", "6", "Wrong both")],
)
def test_what_came_of_it_is_one_sentence(before, after, said):
    live = Live(("r", "own", ""), "2 + 2?", "4").heard(Heard("before", before)).heard(Heard("after", after))
    assert panes.outcome(live).startswith(said)
    assert panes.outcome(Live(live.of, live.question, None, said=live.said)).startswith("Both have answered")


def test_teachers_are_told_apart_and_inert():
    live = Live(("r", "own", ""), "2 + 2?", "4", most=8).heard(Heard("before", "5"))
    assert panes.teachers(live) == ""
    named = replace(live, names=("<b>one", "silent", "before"))
    named = named.heard(Heard("teacher:1", "<script>4")).heard(Heard("teacher:3", "6"))
    asked = panes.teachers(named)
    assert "&lt;b&gt;one" in asked and "before</h4>" in asked and "silent" not in asked and "<script>" not in asked
    assert asked.index("right") < asked.index("wrong")
    # By their places in the run, though the second never answered; and one called "before" leaves that pane alone.
    assert re.findall("fill='(#[0-9A-F]{6})'", asked) == [teacher_style(0).colour, teacher_style(2).colour]
    assert panes.text(named, "before") == "5"


# --- a question on its way ------------------------------------------------------------------------------------------


HERE = visitor("", local=True)


@pytest.fixture
def adapted(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return adapted_run(teachers=["gemma2-tiny"]).name


def ask(run, source="own", example="", judged=None, own="2 apples and 2 apples?", own_answer="4", teachers=False):
    return list(answering.answer(HERE, run, source, example, judged, own, own_answer, teachers))


def test_a_question_is_answered_by_both_and_by_the_teachers(adapted):
    heard = ask(adapted, teachers=True)
    assert "Loading" in heard[0][0] and heard[0][1].going
    assert [live.going for _, live in heard] == [True] * (len(heard) - 1) + [False]
    last = heard[-1][1]
    assert [step.side for step in last.said] == ["before", "after", "teacher:1"]
    assert last.names == ("gemma2-tiny",) and "gemma2-tiny" in panes.teachers(last)
    assert heard[-1][0] == panes.outcome(last) != ""
    once = generate_once(HERE, index.find(adapted), "2 apples and 2 apples?", "4")
    for side in panes.SIDES:
        assert once[side]["text"] == last.step(side).text and isinstance(once[side]["right"], bool)
    assert once["digests"] == {"model": last.base, "adapter": last.adapter} and len(last.adapter) == 64
    assert once["decoding"] == {"method": "greedy", "max_new_tokens": MOST}


def test_a_teacher_that_cannot_answer_is_noted_and_the_next_is_asked(adapted, tmp_path):
    gone = {"model": str(tmp_path / "gone"), "name": "gone"}
    other = adapted_run(teachers=[gone, {"model": "gemma2-tiny", "name": "before"}]).name
    said, live = ask(other, teachers=True)[-1]
    assert re.search(r"(Fixed|Broken|Right|Wrong)[^.]*\. There is no folder .*gone", said) and not live.going
    assert [step.side for step in live.said] == ["before", "after", "teacher:2"]


UNLIKE = "A coffee costs $2.50. How much are 4 coffees?"
CARE = (
    "It was not trained on such questions here, so take this answer with care: there is a number in the question that "
    "isn't whole (2.50)."
)


def test_a_question_unlike_the_generated_problems_is_answered_with_a_caution(adapted):
    heard = ask(adapted, own=UNLIKE, own_answer="")
    assert {live.note for _, live in heard} == {CARE}
    assert CARE in text(panes.head(heard[-1][1], "after"))
    once = generate_once(HERE, index.find(adapted), UNLIKE)
    assert set(once) == {"before", "after", "digests", "decoding", "note"} and once["note"] == CARE
    assert ask(adapted)[-1][1].note == ""
    assert generate_once(HERE, index.find(adapted), "2 apples and 2 apples?")["note"] is None


def test_of_what_runs_on_other_data_have_taught_nothing_is_said(adapted):
    other = adapted_run(data={"source": "hub", "dataset": "openai/gsm8k"}).name
    assert ask(other, own=UNLIKE)[-1][1].note == ""
    assert generate_once(HERE, index.find(other), UNLIKE)["note"] is None


def test_only_questions_of_a_visitors_own_come_with_a_caution(adapted, monkeypatch):
    monkeypatch.setattr(answering, "outside", lambda question: "Nothing is like it.")
    assert ask(adapted, source="showcase", example=showcase()[0].id)[-1][1].note == ""
    assert ask(adapted)[-1][1].note.endswith("with care: nothing is like it.")


def test_the_first_showcase_problem_is_asked_with_its_answer(adapted):
    live = ask(adapted, source="showcase", example=showcase()[0].id)[-1][1]
    assert (live.question, live.answer) == (showcase()[0].question, "62")
    assert live.of == (adapted, "showcase", showcase()[0].id)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"own": "  "}, "no question yet"),
        ({"source": "judged", "judged": "99"}, "no question yet"),
        ({"own": "x" * 9000}, "Your question has 9,000 characters, and at most 8,000"),
        ({"own_answer": "1" * 300}, "Your right answer has 300 characters, and at most 200"),
    ],
)
def test_nothing_to_answer_is_one_sentence(adapted, asked, reason):
    with pytest.raises(UserError, match=reason):
        ask(adapted, **asked)


def test_without_an_adapter_or_a_run_it_is_one_sentence(adapted):
    (index.find(adapted) / "adapter" / "adapter_model.safetensors").unlink()
    heard = answering.answer(HERE, adapted, "own", "", None, "2 + 2?", "", False)
    assert next(heard)[1].going
    assert next(heard) == ("", Live((adapted, "own", ""), "2 + 2?", None, going=False))  # Stop goes away again
    with pytest.raises(ConfigError, match="has no adapter yet"):
        next(heard)
    with pytest.raises(UserError, match="No run yet"):
        ask("no such run")
