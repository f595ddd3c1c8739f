"""What is concluded from seeds and problems: closed forms, and how often an interval holds the truth."""

import numpy as np
import pytest

from distill.studies.statistics import flips, holm, mean, t_cdf, t_quantile


@pytest.mark.parametrize(
    "share, df, value",
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 10, 2.228), (0.975, 479, 1.965), (0.8, 5, 0.920)],
)
def test_quantiles_of_t(share, df, value):
    assert t_quantile(share, df) == pytest.approx(value, abs=6e-4)
    assert t_cdf(value, df) == pytest.approx(share, abs=2e-4)
    assert t_cdf(-value, df) == pytest.approx(1 - share, abs=2e-4)


def test_one_seed_is_the_usual_paired_interval():
    d = np.array([[1, 1, 0, 0, -1, 0, 1, 0, 0, 0]])
    found = mean(d)
    assert found.estimate == pytest.approx(0.2)
    assert found.se == pytest.approx(d.std(ddof=1) / 10**0.5)
    assert (found.seeds, found.n, found.df) == (1, 10, 9)


def test_of_seeds_that_agree_on_every_problem_a_second_one_adds_nothing():
    one = np.array([[1, 1, 0, 0, -1, 0, 1, 0, 0, 0]])
    assert mean(np.repeat(one, 3, 0)).se == pytest.approx(mean(one).se)


def test_of_problems_that_agree_on_every_seed_only_the_seeds_count():
    found = mean(np.repeat(np.array([[0.1], [0.2], [0.6]]), 50, 1))
    assert found.se == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5)
    assert found.df == 2


def test_where_nothing_changed_the_interval_is_the_rule_of_three():
    found = mean(np.zeros((3, 300)))
    assert found.ci95 == pytest.approx((-0.01, 0.01))
    assert found.p == 1.0


def test_the_smallest_difference_is_that_of_the_usual_formula():
    found = mean(np.random.default_rng(0).choice([-1, 0, 1], (1, 10_000), p=[0.1, 0.8, 0.1]))
    assert found.smallest == pytest.approx((1.960 + 0.8416) * found.se, rel=1e-3)


@pytest.mark.parametrize("seeds, of_seed", [(2, 0.05), (3, 0.05), (5, 0.02), (3, 0.0)])
def test_a_95_percent_interval_holds_the_truth_so_often(seeds, of_seed):
    """Seeds that differ, problems that differ, and noise in each answer: 300 studies."""
    draw, truth, held = np.random.default_rng(seeds), 0.06, 0
    for _ in range(300):
        chance = 0.1 + 0.1 * draw.random((1, 200)) + of_seed * draw.standard_normal((seeds, 1))
        gained = draw.random((seeds, 200)) < np.clip(chance + truth, 0, 1)
        lost = draw.random((seeds, 200)) < np.clip(np.repeat(0.15, 200), 0, 1)
        low, high = mean(gained.astype(float) - lost).ci95
        held += low <= truth <= high
    assert held / 300 >= 0.93


def test_without_a_difference_one_study_in_twenty_finds_one_at_most():
    draw = np.random.default_rng(1)
    found = [mean(draw.choice([-1, 0, 1], (3, 200), p=[0.1, 0.8, 0.1])).p < 0.05 for _ in range(300)]
    assert sum(found) / 300 <= 0.07


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5] and holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_flips():
    found = flips([True, True, False, True], [False, True, True, False])
    assert (found["gained"], found["lost"], found["mcnemar_p"]) == (2, 1, 1.0)
