"""Problems of reasoning-gym: endless, seeded, each question in one split, and only what can be graded."""

import random

import numpy as np
import pytest
import torch

from distill.config.errors import UserError
from distill.config.run_config import ConfigError, load, parse
from distill.data.grading import grade
from distill.data.reasoning_gym import BLOCK, check_family, gym_problems, mean_characters
from distill.data.sources import problems_for, split_of_question
from distill.data.splits import key_of
from distill.runs import estimate

pytest.importorskip("reasoning_gym")

COUNTS = {"train": 300, "validation": 40, "probe": 30, "held_out": 60, "new_phrasing": 0}


def draw(*families, seed=0, **counts):
    """(problems by split, {code: text} of the warnings)"""
    said = {}
    return gym_problems(families or ("gsm_symbolic",), counts or COUNTS, seed, said.__setitem__), said


def test_a_run_gets_worked_problems_by_default_of_gsm_symbolic():
    given = ("data.source=reasoning_gym", "data.train=300", "data.labelled=300", "data.held_out=60", "probe.texts=16")
    config = load("tiny", given)
    assert config.data.families == ["gsm_symbolic"]
    said = []
    found = problems_for(config, lambda code, text: said.append(code))
    assert {split: len(problems) for split, problems in found.items()} == {
        "train": 300,
        "validation": config.data.validation,
        "probe": 16,
        "held_out": 60,
        "new_phrasing": 0,
    }
    assert not said
    for problem in found["train"]:
        assert problem.family == "gsm_symbolic" and len(problem.solution) > len(problem.answer) + 8
        assert grade(problem.solution, problem.answer).right and problem.solution.rpartition("#### ")[2]
    assert "probe" in found and not problems_for(load("tiny-ce", ["data.source=reasoning_gym"]), print)["probe"]


def test_no_question_comes_twice_and_each_is_in_the_split_that_its_words_say():
    found, _ = draw("gsm_symbolic", "leg_counting", train=2 * BLOCK, held_out=BLOCK, validation=50, probe=50)
    problems = [problem for split in found.values() for problem in split]
    assert len({key_of(problem.question) for problem in problems}) == len(problems) == 3 * BLOCK + 100
    assert len({problem.id for problem in problems}) == len(problems)
    assert all(p.split == split == split_of_question(p.question) for split, ps in found.items() for p in ps)


def test_the_first_of_a_split_are_the_same_however_many_and_whatever_else_is_drawn():
    families = ("gsm_symbolic", "basic_arithmetic")
    many, few = draw(*families)[0], draw(*families, held_out=11)[0]["held_out"]
    assert many["held_out"][:11] == few
    assert draw(*families, probe=5, train=2000)[0]["train"][:300] == many["train"]
    assert [problem.family for problem in few[:4]] == [*families, *families]
    other = draw(*families, seed=1, held_out=60)[0]["held_out"]
    assert not {p.question for p in other} & {p.question for p in many["held_out"]}


def test_nobody_elses_random_numbers_change():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    draw("gsm_symbolic", train=20)
    for name in ("codeio", "list_functions", "pool_matrix"):  # these seed the shared generators
        with pytest.raises(ConfigError):
            check_family.__wrapped__(name)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_without_worked_solutions_the_answer_is_shown_and_that_is_said():
    found, said = draw("chain_sum", "gsm_symbolic", "gcd", train=30, held_out=10)
    assert said == {
        "no_worked_solutions": "chain_sum and gcd of reasoning-gym have no worked solutions: the student is shown the "
        "answers alone ('#### 62')."
    }
    for problem in found["train"]:
        if problem.family == "gcd":
            assert problem.solution == f"#### {problem.answer}"
    assert draw("chain_sum", held_out=5)[1] == {}  # nothing is learned from those


TAKEN = (
    "gsm_symbolic basic_arithmetic chain_sum decimal_chain_sum simple_equations leg_counting gcd dice "
    "fraction_simplification number_sequence simple_geometry letter_counting count_primes polynomial_equations "
    "power_function"
)
REFUSED = (
    "path_star spiral_matrix boxnet rubiks_cube bitwise_arithmetic word_sorting "
    "mini_sudoku countdown string_synthesis advanced_geometry complex_arithmetic"
)


@pytest.mark.parametrize("name", TAKEN.split())
def test_what_can_be_graded_is_taken(name):
    check_family(name)


@pytest.mark.parametrize("name", REFUSED.split())
def test_what_cannot_be_graded_is_refused(name):
    with pytest.raises(ConfigError, match=f"data.families names '{name}', whose answers can't be judged"):
        check_family(name)


def test_unknown_data_sets_and_those_that_need_more():
    with pytest.raises(
        ConfigError, match=r"names 'gsm_symbolics', which is no data set .*: did you mean 'gsm_symbolic'\?"
    ):
        draw("gsm_symbolics")
    with pytest.raises(ConfigError, match=r"names 'x', which is no data set .*: such as 'gsm_symbolic', "):
        draw("gsm_symbolic", "x")
    with pytest.raises(ConfigError, match="names 'composite', which reasoning-gym can't make by itself"):
        draw("composite")


def test_a_data_set_with_few_different_problems():
    with pytest.raises(
        UserError, match=r"coin_flip of reasoning-gym has only \d+ different problems of the split held"
    ):
        draw("coin_flip", held_out=5000)
    found, said = draw("coin_flip", "gsm_symbolic", train=900)
    assert len(found["train"]) == 900 and list(said) == ["no_worked_solutions"]
    assert sum(problem.family == "gsm_symbolic" for problem in found["train"]) > 500


def test_its_settings():
    data = {"student": "student-tiny", "objectives": ["task"]}
    assert parse({**data, "data": {"source": "reasoning_gym", "families": ["gcd"]}}).data.families == ["gcd"]
    assert parse({**data, "data": {"source": "problems"}}).data.families == []
    with pytest.raises(ConfigError, match=r"data.path is set, but data.source is 'reasoning_gym'"):
        parse({**data, "data": {"source": "reasoning_gym", "path": "x.csv"}})


def test_how_long_they_are():
    known = estimate._GYM_CHARACTERS
    assert all(found == pytest.approx(mean_characters((family,)), rel=0.1) for family, found in known.items())
    assert mean_characters(("gcd",)) < 150
