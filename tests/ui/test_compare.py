"""Compare without a browser: what a run recorded, what is said of it, and a question on its way through the models."""

import json
import re
from dataclasses import replace
from html import unescape

import pytest
from adapted_cases import MOST, adapted_run

from distill import config as configs
from distill import run_list, runs
from distill.data.problems import showcase
from distill.errors import ConfigError, UserError
from distill.evaluation.score import Score, compare
from distill.events import Evaluation, EventWriter, Sample, Status
from distill.ui import answering, outcome, recorded, sides
from distill.ui.colours import teacher_style
from distill.ui.compare import can_ask, choices, generate_once, hint, ready
from distill.ui.sides import Live
from distill.views import view

UNEVEN = "if training had changed nothing, a split at least this uneven would come up"
FAMILIES = ("left_over", "change", "rate")
ROWS = [  # (split, right before?, right after?), in turn
    ("held_out", False, True),
    ("held_out", True, True),
    ("held_out", False, False),
    ("held_out", True, False),
    ("new_phrasing", False, True),
]


def answers(n=60, phases=("before", "after")):
    """answers.json as a run writes it: `n` problems whose right answer is 4."""

    def row(k, right):
        split = ROWS[k % len(ROWS)][0]
        family = FAMILIES[k // len(ROWS) % len(FAMILIES)]
        text = "#### 4" if right else f"#### {k}0"
        known = {
            "id": f"{family}:{k}",
            "split": split,
            "family": family,
            "question": f"What is {k} <b>?",
            "answer": "4",
        }
        return known | {"text": text, "finished": True, "right": right}

    return {phase: [row(k, ROWS[k % len(ROWS)][place + 1]) for k in range(n)] for place, phase in enumerate(phases)}


def report(rows):
    """The part of a report that Compare shows."""
    scores = [
        Score.of((row["id"], row["family"], row["right"]) for row in rows[phase] if row["split"] == "held_out")
        for phase in ("before", "after")
    ]
    return {"before": scores[0].to_dict(), "after": scores[1].to_dict(), **compare(*scores), "new_phrasing": None}


@pytest.fixture
def make_run(tmp_path):
    """`make_run(rows, finished, events)`: a view of a run that recorded these."""

    def make(rows=None, finished=False, events=()):
        folder = runs.create(configs.parse({"student": "student-tiny", "objectives": ["task"]}), tmp_path)
        if rows is not None:
            (folder / "answers.json").write_text(json.dumps(rows))
        if finished:
            (folder / "report.json").write_text(json.dumps(report(rows)))
        with EventWriter(folder / "events.jsonl") as writer:
            for event in events:
                writer.write(event)
        return view(folder)

    return make


def text(found):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found)).split())


# --- what was recorded ----------------------------------------------------------------------------------------------


def test_answers_are_paired_and_read_again_only_when_they_change(make_run):
    run = make_run(answers(10, phases=("before",)))
    once = recorded.pairs(run.folder)
    assert {pair.change for pair in once} == {"answered once so far"} and recorded.pairs(run.folder) is once
    (run.folder / "answers.json").write_text(json.dumps(answers(10)))
    both = recorded.pairs(run.folder)
    assert [pair.change for pair in both[:5]] == ["fixed", "right both times", "wrong both times", "broken", "fixed"]
    assert (both[0].before, both[0].after) == (("#### 00", False), ("#### 4", True))


def test_answers_to_other_problems_are_not_paired(make_run):
    rows = answers(10)
    rows["after"].reverse()
    assert {pair.after for pair in recorded.pairs(make_run(rows).folder)} == {None}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"before": [{"id": 1}]}', '{"before": 3}'])
def test_what_cannot_be_read_is_no_answers(make_run, content):
    run = make_run()
    assert recorded.pairs(run.folder) == ()
    (run.folder / "answers.json").write_text(content)
    assert recorded.pairs(run.folder) == ()


def test_flips_leave_room_for_the_broken_and_vary(make_run):
    every = recorded.pairs(make_run(answers(300)).folder)  # 120 fixed, 60 broken
    found = recorded.flips(every, 40)
    assert [pair.change for pair in found] == ["fixed"] * 30 + ["broken"] * 10
    assert {pair.split for pair in found} == {"held_out"}
    assert [pair.family for pair in found[:4]] == ["left_over", "change", "rate", "left_over"]
    few = recorded.flips(recorded.pairs(make_run(answers(50)).folder), 40)  # 20 fixed, 10 broken
    assert len(few) == 30 and [pair.split for pair in few[:20]] == ["held_out"] * 10 + ["new_phrasing"] * 10
    assert set(few) <= set(recorded.offered(recorded.pairs(make_run(answers(50)).folder)))


def test_a_showcase_problem_comes_with_the_first_and_the_last_sample(make_run):
    first, other = showcase()[:2]
    events = [
        Sample(step=0, problem=first.id, text="38", right=False),
        Sample(step=0, problem=other.id, text="10", right=False),
        Sample(step=70, problem=first.id, text="60", right=False),
        Sample(step=140, problem=first.id, text="62", right=True),
    ]
    found = recorded.chosen(make_run(events=events), "showcase", first.id, None)
    assert (found.question, found.answer) == (first.question, "62")
    assert (found.before.text, found.after.text, found.after.right) == ("38", "62", True)
    assert "step 140" in found.after.when
    early = recorded.chosen(make_run(events=events[:2]), "showcase", other.id, None)
    assert early.before.text == "10" and early.after is None
    assert recorded.chosen(None, "showcase", first.id, None).before is None


def test_a_judged_problem_is_found_by_its_key_and_nothing_else_is(make_run):
    run = make_run(answers(10))
    assert recorded.chosen(run, "judged", "", "3").after.text == "#### 30"
    for source, key in (("judged", "typed by hand"), ("judged", None), ("own", "3")):
        assert recorded.chosen(run, source, "", key) is None
    assert recorded.chosen(None, "judged", "", "3") is None


# --- what is said of it ---------------------------------------------------------------------------------------------


def test_the_summary_has_every_number_with_its_n_and_interval(make_run):
    said = text(outcome.summary(make_run(answers(60), finished=True)))  # held out: 24 of 48 right before and after
    assert "50.0% → 50.0% of 48 held-out problems" in said
    assert f"95%: 36 to 64% before, 36 to 64% after. 12 fixed , 12 broken: {UNEVEN} 100 times in 100 (p = 1.00)" in said


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.34, "34 times in 100 (p = .34), so it shows nothing yet"),
        (0.012, "12 times in 1,000 (p = .012)"),
        (0.0012, "1 time in 1,000 (p = .001)"),
        (1e-5, "less than once in 1,000 (p < .001)"),
    ],
)
def test_how_uneven_the_changes_are_in_words(p, words):
    assert outcome.luck(p) == f"{UNEVEN} {words}"


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


# --- the panes ------------------------------------------------------------------------------------------------------


class Heard:
    """A step, as evaluation.side_by_side gives one."""

    def __init__(self, side, text, tokens=5, over=True, finished=True):
        self.side, self.text, self.tokens, self.over, self.finished = side, text, tokens, over, finished
        self.tokens_per_second = 12.0


def test_the_heads_say_which_weights_answered_and_how():
    live = Live(("r", "own", ""), "2 + 2?", "4", base="a" * 64, adapter="b" * 64, most=64)
    live = live.heard(Heard("before", "#### 5")).heard(Heard("after", "#### 4", over=False))
    before, after = (sides.head(live, side) for side in sides.SIDES)
    assert (
        text(before)
        == f"Before adapter off wrong : 5, not 4 model {'a' * 12} greedy, up to 64 tokens · 5 tokens, 12 a second"
    )
    assert f"model {'a' * 12} + adapter {'b' * 12}" in text(after) and "writing …" in text(after)
    assert f"title='{'b' * 64}'" in after and "adapter" not in before.partition("</h3>")[2]
    cut = live.heard(Heard("after", "#### 4", finished=False))
    assert "right : 4 (cut off at 64 tokens)" in text(sides.head(cut, "after"))
    assert [step.side for step in cut.said] == ["before", "after"]


def test_what_was_answered_is_shown_for_that_choice_only(make_run):
    run = make_run(answers(10))
    live = Live((run.id, "judged", "3"), "What is 3?", "4", going=False)
    assert sides.seen(run, "judged", "", "3", live) is live
    assert isinstance(sides.seen(run, "judged", "", "4", live), recorded.Chosen)
    assert isinstance(sides.seen(make_run(answers(10)), "judged", "", "3", live), recorded.Chosen)


def test_what_a_run_recorded_is_in_the_panes_before_anything_is_asked(make_run):
    known = sides.seen(make_run(answers(10)), "judged", "", "0", None)
    assert "wrong : 00, not 4 as the run recorded it before training" in text(sides.head(known, "before"))
    assert sides.text(known, "after") == "&#35;&#35;&#35;&#35; 4"
    assert "appears here" in sides.text(None, "before") and sides.head(None, "after")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [("5", "4", "Fixed: "), ("4", "5", "Broken: "), ("4", "4", "Right both"), ("5", "6", "Wrong both")],
)
def test_what_came_of_it_is_one_sentence(before, after, said):
    live = Live(("r", "own", ""), "2 + 2?", "4").heard(Heard("before", before)).heard(Heard("after", after))
    assert sides.outcome(live).startswith(said)
    assert sides.outcome(Live(live.of, live.question, None, said=live.said)).startswith("Both have answered")


def test_teachers_are_told_apart_and_inert():
    live = Live(("r", "own", ""), "2 + 2?", "4", most=8).heard(Heard("before", "5"))
    assert sides.teachers(live) == ""
    named = replace(live, names=("<b>one", "silent", "before"))
    named = named.heard(Heard("teacher:1", "<script>4")).heard(Heard("teacher:3", "6"))
    asked = sides.teachers(named)
    assert "&lt;b&gt;one" in asked and "before</h4>" in asked and "silent" not in asked and "<script>" not in asked
    assert asked.index("right") < asked.index("wrong")
    # By their places in the run, though the second never answered; and one called "before" leaves that pane alone.
    assert re.findall("fill='(#[0-9A-F]{6})'", asked) == [teacher_style(0).colour, teacher_style(2).colour]
    assert sides.text(named, "before") == "5"


# --- a question on its way ------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return adapted_run(teachers=["gemma2-tiny"]).name


def ask(run, source="own", example="", judged=None, own="2 apples and 2 apples?", own_answer="4", teachers=False):
    return list(answering.answer(run, source, example, judged, own, own_answer, teachers))


def test_a_question_is_answered_by_both_and_by_the_teachers(adapted):
    heard = ask(adapted, teachers=True)
    assert "Loading" in heard[0][0] and heard[0][1].going
    assert [live.going for _, live in heard] == [True] * (len(heard) - 1) + [False]
    last = heard[-1][1]
    assert [step.side for step in last.said] == ["before", "after", "teacher:1"]
    assert last.names == ("gemma2-tiny",) and "gemma2-tiny" in sides.teachers(last)
    assert heard[-1][0] == sides.outcome(last) != ""
    once = generate_once(run_list.find(adapted), "2 apples and 2 apples?", "4")
    for side in sides.SIDES:
        assert once[side]["text"] == last.step(side).text and isinstance(once[side]["right"], bool)
    assert once["digests"] == {"model": last.base, "adapter": last.adapter} and len(last.adapter) == 64
    assert once["decoding"] == {"method": "greedy", "max_new_tokens": MOST}


def test_a_teacher_that_cannot_answer_is_noted_and_the_next_is_asked(adapted, tmp_path):
    gone = {"model": str(tmp_path / "gone"), "name": "gone"}
    other = adapted_run(teachers=[gone, {"model": "gemma2-tiny", "name": "before"}]).name
    said, live = ask(other, teachers=True)[-1]
    assert re.search(r"(Fixed|Broken|Right|Wrong)[^.]*\. There is no folder .*gone", said) and not live.going
    assert [step.side for step in live.said] == ["before", "after", "teacher:2"]


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
    (run_list.find(adapted) / "adapter" / "adapter_model.safetensors").unlink()
    heard = answering.answer(adapted, "own", "", None, "2 + 2?", "", False)
    assert next(heard)[1].going
    assert next(heard) == ("", Live((adapted, "own", ""), "2 + 2?", None, going=False))  # Stop goes away again
    with pytest.raises(ConfigError, match="has no adapter yet"):
        next(heard)
    with pytest.raises(UserError, match="No run yet"):
        ask("no such run")
