"""Intervals, flips and significance against published and hand-computed values."""

import math
import random

import pytest

from distill.evaluation.score import Score, compare, mcnemar_exact, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0)],
)
def test_wilson(correct, n, low, high):
    assert wilson(correct, n) == pytest.approx((low, high), abs=2e-6)


def test_wilson_solves_its_defining_equation():
    low, high = wilson(137, 240)
    for bound in (low, high):
        assert abs(137 / 240 - bound) / math.sqrt(bound * (1 - bound) / 240) == pytest.approx(1.959964, abs=1e-6)


def test_nothing_is_known_of_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert Score.of([]).to_dict() == {"n": 0, "correct": 0, "accuracy": 0.0, "ci95": [0.0, 1.0]}


@pytest.mark.parametrize(("correct", "n"), [(3, 2), (-1, 2)])
def test_wilson_refuses_what_cannot_be(correct, n):
    with pytest.raises(ValueError, match=f"{correct} correct of {n}"):
        wilson(correct, n)


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (1, 0, 1.0), (6, 0, 2 / 64), (0, 6, 2 / 64), (9, 1, 2 * 11 / 1024), (15, 5, 0.0413895)],
)
def test_mcnemar(fixed, broken, p):
    assert mcnemar_exact(fixed, broken) == pytest.approx(p, rel=1e-5)


def test_mcnemar_of_many_flips_neither_overflows_nor_rounds_to_one():
    assert 0 < mcnemar_exact(133, 2) < 1e-30
    assert mcnemar_exact(2000, 1000) < 1e-70


def rows(right):
    return [(f"p{i}", "change" if i % 3 else "rate", answer) for i, answer in enumerate(right)]


def test_compare_pairs_each_answer_with_its_own():
    before = Score.of(rows([False, False, True, True, False, False]))
    after = Score.of(rows([True, True, False, True, True, False]))
    assert compare(before, after) == {
        "flips": {"fixed": 3, "broken": 1},
        "mcnemar_p": pytest.approx(10 / 16),
        "by_family": {
            "rate": {"n": 2, "before": 0.5, "after": 1.0},
            "change": {"n": 4, "before": 0.25, "after": 0.5},
        },
    }
    assert after.to_dict() == {"n": 6, "correct": 4, "accuracy": 4 / 6, "ci95": list(wilson(4, 6))}


def test_compare_refuses_other_problems():
    score = Score.of(rows([True, False]))
    with pytest.raises(ValueError, match="different problems"):
        compare(score, Score.of(reversed(rows([True, False]))))


def test_wilson_covers_as_promised():
    rng = random.Random(0)
    covered = 0
    for _ in range(2000):
        low, high = wilson(sum(rng.random() < 0.1 for _ in range(50)), 50)
        covered += low <= 0.1 <= high
    assert 0.93 < covered / 2000 < 0.99
