"""What the teachers get right of the same problems, and how much of the way to the best of them was gone."""

import json

import numpy as np
import pytest

from distill.evaluation.ceiling import FILE, ceiling, gap_closed
from distill.evaluation.score import Score


def test_gap_closed_is_the_part_of_the_way():
    before, after, best = [False] * 8 + [True] * 2, [False] * 5 + [True] * 5, [False] * 2 + [True] * 8
    found = gap_closed(before, after, best)
    assert found["share"] == pytest.approx(0.5)
    low, high = found["ci95"]
    assert 0 <= low < 0.5 < high <= 1


def test_a_student_like_its_best_teacher_has_closed_it_and_one_that_learnt_nothing_has_not():
    best = [True] * 90 + [False] * 10
    assert gap_closed([False] * 100, best, best) == {"share": 1.0, "ci95": [1.0, 1.0]}
    assert gap_closed([False] * 100, [False] * 100, best) == {"share": 0.0, "ci95": [0.0, 0.0]}


def test_there_is_no_gap_to_a_teacher_that_is_no_better():
    assert gap_closed([True, False], [True, True], [True, False]) is None


def test_the_interval_holds_the_truth_so_often():
    """60 samples of 200 problems; the true shares of right answers are .1, .7 and .9."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(60):
        luck = draw.random(200)  # hard problems are hard for all three
        low, high = gap_closed(luck < 0.1, luck < 0.7, luck < 0.9)["ci95"]
        held += low <= 0.75 <= high
    assert held / 60 >= 0.9


def test_the_report_says_mean_best_vote_and_the_student_on_the_same_problems(tmp_path):
    said = {"one": ["1", "3"], "two": ["1", "2"], "odd": ["9", "2"]}
    right = {"a": "1", "b": "2"}
    rows = {
        name: [
            {"id": i, "family": "f", "text": f"#### {x}", "right": x == right[i]}
            for i, x in zip("ab", texts, strict=True)
        ]
        for name, texts in said.items()
    }
    (tmp_path / FILE).write_text(json.dumps(rows))
    before = Score.of([("c", "f", True), ("a", "f", False), ("b", "f", False)])
    after = Score.of([("c", "f", True), ("a", "f", True), ("b", "f", False)])
    found = ceiling(tmp_path, right | {"c": "5"}, before, after)
    assert (found["n"], found["best"], found["mean"]) == (2, "two", pytest.approx(2 / 3))
    assert found["vote"]["accuracy"] == 1.0 and found["teachers"]["one"]["correct"] == 1
    assert (found["before"]["correct"], found["after"]["correct"]) == (0, 1)
    assert found["gap_closed"]["share"] == pytest.approx(0.5)


def test_a_run_whose_teachers_were_not_asked_has_none(tmp_path):
    assert ceiling(tmp_path, {}, Score.of([]), Score.of([])) is None
