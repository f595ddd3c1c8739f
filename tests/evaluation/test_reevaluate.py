"""A run's student judged by other problems than its own: which, and that none of them was trained on."""

import json

import pytest

from distill.config.errors import UserError
from distill.config.run_config import ConfigError, load
from distill.data.problems import generate
from distill.data.splits import split_of_question
from distill.evaluation.reevaluate import about, judged_on, unseen

FEW = ["data.train=200", "data.held_out=20", "data.validation=30", "probe.texts=16", "data.seed=3"]


def own(*overrides):
    return load("tiny-ce", [*FEW, *overrides])


def test_only_what_the_student_is_asked_can_be_changed():
    asked = judged_on(own(), ["data.families=[rate]", "evaluation.max_new_tokens=300"])
    assert (asked.data.families, asked.data.seed, asked.evaluation.max_new_tokens) == (["rate"], 3, 300)
    assert judged_on(own(), []) == own()
    for override in ("budget.steps=3", "student=other", "data=3", "seed=1"):
        with pytest.raises(ConfigError, match=f"--set {override} is not available here: only data"):
            judged_on(own(), [override])
    with pytest.raises(ConfigError, match=r"data.source is 'web'"):
        judged_on(own(), ["data.source=web"])


def test_another_source_takes_nothing_over_but_the_seed():
    file = own("data.source=file", "data.path=a.csv", "data.columns.family=kind", "data.families=[x]")
    asked = judged_on(file, ["data.families=[gcd]", "data.source=reasoning_gym"]).data
    assert (asked.source, asked.families, asked.path, asked.columns, asked.seed) == (
        "reasoning_gym",
        ["gcd"],
        None,
        None,
        3,
    )
    assert judged_on(own(), ["data.source=file", "data.path=b.csv"]).data.families == []
    assert judged_on(file, ["data.source=file", "data.seed=4"]).data.path == "a.csv"


def test_the_runs_own_problems_are_those_of_its_report():
    asked = unseen(own(), own(), 12, print)
    assert asked == generate("held_out", 12, 3)
    pytest.importorskip("reasoning_gym")
    gym = judged_on(own(), ["data.source=reasoning_gym"])
    problems = unseen(own(), gym, 15, print)
    assert len(problems) == 15 and {problem.family for problem in problems} == {"gsm_symbolic"}


def test_what_the_run_has_seen_is_left_out_where_the_sources_split_in_other_ways(tmp_path):
    """A file that holds the run's own training problems: by their questions some would be held out."""
    seen = [*generate("train", 200, 3), *generate("validation", 30, 3)]
    fresh = generate("train", 200, 77)
    path = tmp_path / "rows.jsonl"
    lines = [{"question": p.question.upper(), "solution": p.solution} for p in seen + fresh]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = judged_on(own(), ["data.source=file", f"data.path={path}"])
    said = {}
    problems = unseen(own(), judged, 15, said.__setitem__)
    known = {p.question.upper() for p in seen}
    assert len(problems) == 15 and not [p for p in problems if p.question in known]
    assert all(split_of_question(problem.question) == "held_out" for problem in problems)
    assert sum(split_of_question(question) == "held_out" for question in known) > 10  # so there was something to do
    assert "the student has seen in training are left out" in said["already_seen"]
    with pytest.raises(UserError, match=r"of rows\.jsonl are held out"):
        unseen(own(), judged, 60, said.__setitem__)


def test_the_result_says_of_which_problems():
    assert about(own().data)["called"] == "generated problems"
    gym = about(judged_on(own(), ["data.source=reasoning_gym"]).data)
    assert gym == {
        "called": "reasoning-gym (gsm_symbolic)",
        "source": "reasoning_gym",
        "families": ["gsm_symbolic"],
        "seed": 3,
    }
    file = about(judged_on(own(), ["data.source=file", "data.path=/secret/place/a.csv"]).data)
    assert file["called"] == file["path"] == "a.csv"
    hub = ["data.source=hub", "data.dataset=openai/gsm8k", "data.subset=main"]
    assert about(judged_on(own(), hub).data)["called"] == "openai/gsm8k (main, train)"
