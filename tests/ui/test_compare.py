"""Compare without a browser: what a run recorded, and what is said of it."""

import json
import re
from functools import partial

import gradio as gr
import pytest
from compare_cases import answers, recorded_run, text

import app
from distill.data.families import FAMILIES
from distill.data.problems import examples, showcase
from distill.runs.events import Evaluation, Sample, Status
from distill.ui.actions import uploads
from distill.ui.compare import outcome, recorded_answers
from distill.ui.compare.tab import TOPICS, can_ask, choices, hint, learnt, ready

EXAMPLES = ("Stickers", "Biscuits", "Coffee", "Running", "Knitting", "Bus driver")


@pytest.fixture
def make_run(tmp_path):
    return partial(recorded_run, tmp_path)


# --- what was recorded ----------------------------------------------------------------------------------------------


def test_answers_are_paired_and_read_again_only_when_they_change(make_run):
    run = make_run(answers(10, phases=("before",)))
    once = recorded_answers.pairs(run.folder)
    assert {pair.change for pair in once} == {"answered once so far"} and recorded_answers.pairs(run.folder) is once
    (run.folder / "answers.json").write_text(json.dumps(answers(10)))
    both = recorded_answers.pairs(run.folder)
    assert [pair.change for pair in both[:5]] == ["fixed", "right both times", "wrong both times", "broken", "fixed"]
    assert (both[0].before, both[0].after) == (("#### 00", False), ("#### 4", True))


def test_answers_to_other_problems_are_not_paired(make_run):
    rows = answers(10)
    rows["after"].reverse()
    assert {pair.after for pair in recorded_answers.pairs(make_run(rows).folder)} == {None}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"before": [{"id": 1}]}', '{"before": 3}'])
def test_what_cannot_be_read_is_no_answers(make_run, content):
    run = make_run()
    assert recorded_answers.pairs(run.folder) == ()
    (run.folder / "answers.json").write_text(content)
    assert recorded_answers.pairs(run.folder) == ()


def test_flips_leave_room_for_the_broken_and_vary(make_run):
    every = recorded_answers.pairs(make_run(answers(300)).folder)  # 120 fixed, 60 broken
    found = recorded_answers.flips(every, 40)
    assert [pair.change for pair in found] == ["fixed"] * 30 + ["broken"] * 10
    assert {pair.split for pair in found} == {"held_out"}
    assert [pair.family for pair in found[:4]] == ["left_over", "change", "rate", "left_over"]
    few = recorded_answers.flips(recorded_answers.pairs(make_run(answers(50)).folder), 40)  # 20 fixed, 10 broken
    assert len(few) == 30 and [pair.split for pair in few[:20]] == ["held_out"] * 10 + ["new_phrasing"] * 10
    assert set(few) <= set(recorded_answers.offered(recorded_answers.pairs(make_run(answers(50)).folder)))


def test_a_showcase_problem_comes_with_the_first_and_the_last_sample(make_run):
    first, other = showcase()[:2]
    events = [
        Sample(step=0, problem=first.id, text="38", right=False),
        Sample(step=0, problem=other.id, text="10", right=False),
        Sample(step=70, problem=first.id, text="60", right=False),
        Sample(step=140, problem=first.id, text="62", right=True),
    ]
    found = recorded_answers.chosen(make_run(events=events), "showcase", first.id, None)
    assert (found.question, found.answer) == (first.question, "62")
    assert (found.before.text, found.after.text, found.after.right) == ("38", "62", True)
    assert "step 140" in found.after.when
    early = recorded_answers.chosen(make_run(events=events[:2]), "showcase", other.id, None)
    assert early.before.text == "10" and early.after is None
    assert recorded_answers.chosen(None, "showcase", first.id, None).before is None


def test_a_judged_problem_is_found_by_its_key_and_nothing_else_is(make_run):
    run = make_run(answers(10))
    assert recorded_answers.chosen(run, "judged", "", "3").after.text == "#### 30"
    for source, key in (("judged", "typed by hand"), ("judged", None), ("own", "3")):
        assert recorded_answers.chosen(run, source, "", key) is None
    assert recorded_answers.chosen(None, "judged", "", "3") is None


# --- what is said of it ---------------------------------------------------------------------------------------------


def test_the_summary_has_every_number_with_its_n_and_interval(make_run):
    said = text(outcome.summary(make_run(answers(60), finished=True)))  # held out: 24 of 48 right before and after
    assert "50.0% → 50.0% of 48 held-out problems" in said
    assert "95%: 36 to 64% before, 36 to 64% after. 12 fixed , 12 broken. Could be chance (p = 1.00)" in said


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.34, "Could be chance (p = .34)"),
        (0.012, "Unlikely to be chance (p = .012)"),
        (0.0012, "Unlikely to be chance (p = .001)"),
        (1e-5, "Very unlikely to be chance (p < .001)"),
    ],
)
def test_how_uneven_the_changes_are_in_words(p, words):
    assert outcome.luck(p) == words


def test_a_run_that_ended_early_says_what_is_known_and_what_to_do(make_run):
    score = {"n": 40, "correct": 8, "accuracy": 0.2, "ci95": [0.1, 0.3]}
    events = [
        Evaluation(phase="before", split="held_out", step=0, **score),
        Evaluation(phase="during", split="validation", step=20, **{**score, "accuracy": 0.6}),
        Status(state="stopped"),
    ]
    run = make_run(answers(10, ("before",)), events=events)
    said = text(outcome.summary(run))
    assert "it answered 20.0% of 40 right" in said and "At step 20: 60.0% of 40" in said
    assert f"python -m distill evaluate {run.id}" in said


def test_the_flips_are_buttons_with_escaped_words(make_run):
    run = make_run(answers(60), finished=True)
    table = outcome.flipped(run)
    assert "all 24 fixed and all 12 broken" in text(table) and "<b>?" not in table
    keys = re.findall(r"<button type='button' data-key='(\d+)'>What is (\d+) &lt;b&gt;\?</button>", table)
    assert len(keys) == 36 and all(key == number for key, number in keys)
    assert "fixed What is 0 <b>? left over 00 4 4" in text(table)
    assert "appear here when" in text(outcome.flipped(make_run(answers(10, ("before",)))))
    still = {phase: [row for k, row in enumerate(rows) if k % 5 == 1] for phase, rows in answers(10).items()}
    assert "No answer changed" in text(outcome.flipped(make_run(still)))


def test_the_families_are_drawn_with_their_numbers(make_run):
    said = text(outcome.families(make_run(answers(60), finished=True)))
    assert "left over" in said and "n = 16" in said


def test_every_part_can_be_drawn_without_a_run():
    for draw in (outcome.summary, outcome.families, outcome.flipped, hint):
        assert text(draw(None))
    assert learnt(None) == ""
    assert not ready(None) and choices(None, None)["choices"] == [] and can_ask(None)["interactive"] is False


def test_the_list_keeps_what_is_chosen_and_else_offers_the_first(make_run):
    run = make_run(answers(10))
    assert choices(run, "3").get("value") is None
    offered = choices(run, "of another run")
    assert offered["value"] == offered["choices"][0][1] == "0"
    assert offered["choices"][0][0] == "fixed · left over · What is 0 <b>?"


def test_a_run_without_an_adapter_says_why(make_run):
    assert "no adapter yet" in hint(make_run())
    assert "nothing to compare" in hint(make_run(events=[Status(state="stopped")]))


# --- questions of a visitor's own -----------------------------------------------------------------------------------


def test_every_family_is_of_one_topic():
    named = [family for families in TOPICS.values() for family in families]
    assert sorted(named) == sorted(FAMILIES)


def test_what_a_student_of_generated_problems_has_learnt_is_one_line(make_run):
    assert text(learnt(make_run(adapter=True))) == (
        "This student has learnt 31 kinds of everyday sums in English, with whole numbers up to about 500: adding and "
        "taking away, comparing, sharing, groups, buying, time, area, rates, averages, two questions in one and sums "
        "that can’t be done."
    )
    few = make_run(data={"families": ["share", "rate", "average"]})
    assert "is learning 3 kinds" in learnt(few) and text(learnt(few)).endswith("500: sharing, rates and averages.")
    assert "is learning one kind" in learnt(make_run(data={"families": ["share"]}))


def test_of_other_data_it_says_which(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    hub = {"source": "hub", "dataset": "openai/gsm8k", "subset": "main"}
    said = "This student has learnt from the problems of"
    assert text(learnt(make_run(data=hub, adapter=True))) == f"{said} openai/gsm8k (main, train)."
    file = {"source": "file", "path": "/secret/<b>.jsonl"}
    assert text(learnt(make_run(data=file, adapter=True))) == f"{said} <b>.jsonl."
    upload = {"source": "file", "path": str(uploads() / f"{'a' * 64}.csv")}
    assert text(learnt(make_run(data=upload, adapter=True))) == f"{said} an uploaded file."


def test_of_a_run_that_taught_nothing_it_says_nothing(make_run):
    assert learnt(make_run(events=[Status(state="failed")])) == ""


def test_an_example_fills_in_the_question_and_its_answer():
    page = app.build()
    presses = {block.value: block for block in page.blocks.values() if isinstance(block, gr.Button)}
    for problem, label in zip(examples(), EXAMPLES, strict=True):
        fills = [fn for fn in page.fns.values() if (presses[label]._id, "click") in fn.targets]
        filled = [fn.fn() for fn in fills if [block.label for block in fn.outputs][:1] == ["Your question"]]
        assert filled == [(problem.question, problem.answer)]
