"""Which answers are learned from: unfinished and empty ones never, the right, the shortest, the most agreed on."""

import random
from collections import Counter

import pytest

from distill.data.problems import Problem, generate
from distill.data.response_selection import KEEP, Counts, Response, choose, deal, spread


def problem(answer="62", family="f"):
    return Problem("p", family, "How many?", f"#### {answer}", answer)


def said(*texts, finished=True):
    return [Response(text, finished, 3) for text in texts]


def texts(chosen):
    return [row.text for row in chosen.rows]


LONG, SHORT, WRONG = "30 + 32 = 62. #### 62", "#### 62", "#### 61"


def test_what_is_kept_of_two_teachers_answers():
    answers = {"a": [said(LONG, WRONG), said(WRONG)], "b": [said(SHORT), said(LONG)]}
    found = {keep: choose(answers, [problem()] * 2, keep) for keep in KEEP}
    assert found["all"].rows == [(0, "a", LONG), (0, "a", WRONG), (0, "b", SHORT), (1, "a", WRONG), (1, "b", LONG)]
    assert found["right"].rows == [(0, "a", LONG), (0, "b", SHORT), (1, "b", LONG)]
    assert found["shortest"].rows == [(0, "b", SHORT), (1, "b", LONG)]
    assert found["majority"].rows == [(0, "b", SHORT), (1, "a", WRONG)]  # one to one: the first teacher's
    assert found["right"].counts == {"a": Counts(3, 3, 0, 1, 1), "b": Counts(2, 2, 0, 2, 2)}
    assert found["shortest"].counts["a"].kept == 0


@pytest.mark.parametrize("keep", KEEP)
def test_unfinished_and_empty_answers_are_counted_and_never_learned_from(keep):
    given = [*said(SHORT, finished=False), *said("", " \n"), *said(LONG)]
    chosen = choose({"a": [given, said(SHORT, finished=False)]}, [problem()] * 2, keep)
    assert chosen.rows == [(0, "a", LONG)]
    assert chosen.counts == {"a": Counts(asked=5, finished=3, empty=2, right=1, kept=1)}
    assert (chosen.problems, chosen.without) == (2, 1)


def test_the_votes_of_all_teachers_and_samples_count_by_value():
    answers = {
        "a": [said("It is #### 3", "So #### 3")],
        "b": [said("a half, #### 1/2", "no conclusion here")],
        "c": [said("#### 0.5", "that makes \\boxed{\\frac{1}{2}}")],
    }
    assert texts(choose(answers, [problem("3")], "majority")) == ["#### 0.5"]  # three to two, though 3 is known
    del answers["b"]
    assert texts(choose(answers, [problem("3")], "majority")) == ["So #### 3"]  # two to two


def test_nobody_concludes_and_so_nobody_wins():
    chosen = choose({"a": [said("Well.", "Hm.")]}, [problem()], "majority")
    assert (chosen.rows, chosen.without) == ([], 1)


def test_of_equally_short_ones_the_first_teachers_counts():
    chosen = choose({"b": [said("a #### 62")], "a": [said("b #### 62")]}, [problem()], "shortest")
    assert chosen.rows == [(0, "b", "a #### 62")]


def test_the_same_said_twice_is_kept_twice():
    assert texts(choose({"a": [said(SHORT, SHORT)]}, [problem()], "right")) == [SHORT, SHORT]


def test_thoughts_are_kept_whole_and_what_follows_them_is_judged():
    thought = "<think>\nIs it 61? #### 61\nNo.\n</think>\n\n30 + 32 = 62. #### 62"
    mistaken = "<think>\n#### 62\n</think>\n#### 61"
    assert texts(choose({"a": [said(thought, mistaken)]}, [problem()], "right")) == [thought]


def test_where_no_answer_is_known_none_is_right():
    chosen = choose({"a": [said(SHORT), said(SHORT)]}, [problem(""), problem()], "right")
    assert (chosen.rows, chosen.unjudged, chosen.without) == ([(1, "a", SHORT)], 1, 1)
    assert "no answer to judge by is known for 1 problem." in chosen.summary()
    assert len(choose({"a": [said(SHORT)]}, [problem("")], "majority").rows) == 1


def test_there_is_no_such_choice():
    with pytest.raises(ValueError, match="all, right, shortest, majority"):
        choose({}, [], "best")


def test_the_summary_says_all_of_it_in_words():
    answers = {"a": [said(LONG), said(WRONG)], "b": [said(SHORT, ""), said(SHORT, finished=False)]}
    assert choose(answers, [problem()] * 2, "right").summary() == (
        "Of 5 answers to 2 problems 4 came to an end, 2 are right and 2 are kept; 1 says nothing; nothing is learned "
        "about 1 problem; a: 2 asked for, 2 finished, 1 right, 1 kept; b: 3 asked for, 2 finished, 1 right, 1 kept."
    )
    assert choose({"a": [said(SHORT)]}, [problem()], "right").summary() == (
        "Of 1 answer to 1 problem 1 came to an end, 1 is right and 1 is kept."
    )


# --- sharing the problems --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teachers", [1, 2, 3, 5, 7])
def test_shared_problems_are_dealt_fairly_family_by_family(teachers):
    problems = generate("train", 100)  # families in turn, which a plain round robin would give to always the same
    random.Random(teachers).shuffle(problems)
    for some in (problems, sorted(problems, key=lambda p: p.family), generate("train", 120)):
        dealt = deal(some, teachers)
        assert sorted(index for indices in dealt for index in indices) == list(range(len(some)))
        assert all(indices == sorted(indices) for indices in dealt)
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        for family in {p.family for p in some}:
            shares = [sum(some[index].family == family for index in indices) for indices in dealt]
            assert max(shares) - min(shares) <= 1


def test_fewer_problems_than_teachers():
    assert deal([problem()], 3) == [[0], [], []]


def test_what_was_shared_is_chosen_from_as_one():
    problems = [problem(), problem("61"), problem()]
    dealt = deal(problems, 2)
    assert dealt == [[0, 2], [1]]
    found = {"a": [said(SHORT), said(WRONG)], "b": [said(WRONG)]}
    answers = {t: spread(3, indices, found[t]) for t, indices in zip("ab", dealt, strict=True)}
    chosen = choose(answers, problems, "right")
    assert chosen.rows == [(0, "a", SHORT), (1, "b", WRONG)]
    assert chosen.counts == {"a": Counts(2, 2, 0, 1, 1), "b": Counts(1, 1, 0, 1, 1)}
    assert (chosen.problems, chosen.without) == (3, 1)
    assert Counter(row.teacher for row in chosen.rows) == {"a": 1, "b": 1}
