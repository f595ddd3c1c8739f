"""Grading of real-looking answers: what is extracted, and what counts as equal."""

import threading
import time

import pytest

from distill.data.grading import Grade, extract, grade
from distill.data.problems import generate, showcase

GEMMA = """The number of crayons is N x C = 3 x 24 = 72 crayons. Sarah gives 10 crayons to her
friend. So, the number of crayons Sarah has left is 72 - 10 = 62.

Final Answer: The final answer is 62."""
REASONED = """<think>
3 boxes * 24 = 72. Wait, let me double-check: 72 - 10 = 61? #### 61
</think>

Sarah has 3 * 24 = 72 crayons. Crayons left = 72 - 10 = 62.

The final answer is 62.

62"""
BUSES = """Suppose L = 18. Then S = 2L = 36.

S + T = 36 + 33 = 69, which is not 70.

I think there's a mistake in the problem statement."""


@pytest.mark.parametrize(
    ("text", "extracted"),
    [
        ("3 * 24 = 72. 72 - 10 = 62. #### 62", "62"),
        ("#### 61\nNo, again. #### 62", "62"),
        ("#### 62 apples, because 72 - 10 = 62", "62 apples"),
        ("#### $1,024.", "$1,024"),
        ("#### **62**<|im_end|>", "62"),
        ("72 - 10 = 62. ####", None),  # cut off before its answer: 62 was only said on the way
        ("72 - 10 = 62. #### \n", None),
        ("#### Step 1: multiply\n3 * 24 = 72\n#### Final Answer\n\\boxed{62}", "62"),
        (GEMMA, "62"),
        (REASONED, "62"),
        (BUSES, "impossible"),
        ("Therefore, the final answer is $\\boxed{\\frac{1}{2}}$. I hope it is correct.", "\\frac{1}{2}"),
        ("So \\boxed{5}? No: \\boxed{12\\text{ apples}}.", "12 apples"),
        ("**Answer:** 62 apples", "62 apples"),
        ("The answer is in the boxes. There are 3 boxes of 24, so 72.", "72"),
        ("She has 1,024 coins and \u22125 debts: \u22125", "-5"),
        ("It costs $12.50.", "$12.50"),
        ("They each get 3/4 of it.", "3/4"),
        ("Half, that is \\frac{1}{2}", "\\frac{1}{2}"),
        ("There is no price, so this cannot be determined, even with 20 dollars.", "impossible"),
        ("The answer is that it can't be solved.", "impossible"),
        ("There is not enough information.", "impossible"),
        ("#### No solution", "impossible"),
        ("not both. #### impossible", "impossible"),
        ("We don't know x yet. But x + 3 = 5, so x = 2.", "2"),
        ("It is not impossible. It is 5.", "5"),
        ("", None),
        ("Hello there", None),
        ("\\boxed{", None),
    ],
)
def test_what_a_text_concludes(text, extracted):
    assert extract(text) == extracted


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("#### 62", "62"),
        ("#### $62", "62"),
        ("#### 62.0", "62"),
        ("#### 62.", "62"),
        ("#### 62 crayons", "62"),
        ("#### 1,024", "1024"),
        ("#### 1024", "1,024"),
        ("#### -5", "-5"),
        ("#### 50%", "50"),
        ("#### 0.5", "1/2"),
        ("#### 1/2", "0.5"),
        ("#### 2/4", "1/2"),
        ("\\boxed{\\frac{1}{2}}", "0.5"),
        ("The final answer is $\\frac{3}{4}$.", "0.75"),
        ("#### 0.333333", "1/3"),
        ("#### $12.50", "12.5"),
        ("#### 72 - 10 = 62", "62"),
        ("$$\\boxed{2\\sqrt{2}}$$", "\\sqrt{8}"),
        ("\\boxed{x^2 + 2x + 1}", "(x+1)^2"),
        ("\\boxed{2^{10}}", "1024"),
        ("#### Tom", "tom"),
        ("#### 62", 62),
        ("#### impossible", "impossible"),
        ("It can't be solved: there is no price.", "impossible"),
    ],
)
def test_right(answer, gold):
    assert grade(answer, gold).right, grade(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("#### 61", "62"),
        ("#### -62", "62"),
        ("#### 620", "62"),
        ("#### 6.2", "62"),
        ("#### 1,024", "1"),
        ("#### 1 million", "1"),
        ("#### 1/3", "0.3"),
        ("3 * 24 = 72, of which 62 remain. ####", "62"),
        ("#### impossible", "62"),
        ("#### 62", "impossible"),
        ("62", "impossible"),
        ("#### 72 - 10 = 61", "62"),
        ("\\boxed{x^2 + 1}", "(x+1)^2"),
        ("nothing", "62"),
        ("#### 62", ""),
    ],
)
def test_wrong(answer, gold):
    assert not grade(answer, gold).right, grade(answer, gold)


@pytest.mark.parametrize(
    "junk",
    [
        None,
        3.5,
        ["62"],
        b"62",
        object(),
        "\x00\ud800 ####",
        "#### " + "(" * 5000,
        "#### 9^9^9^9",
        "#### 9**9**9",
        "#### 10^{999999999}",
        "#### (2^{99})^{99}^{99}",
        "#### 99999999!",
        "#### \\binom{9999999}{4444444}",
        "\\boxed{" * 2000,
        "#### 1/0",
        "#### \\frac{1}{0}",
        "#### \\int_0^1 x^x dx",
        "####" * 5000,
        "the answer is " * 5000,
        "1" * 100_000,
    ],
    ids=lambda junk: repr(junk)[:20],
)
def test_garbage_is_wrong_and_neither_raises_nor_hangs(junk):
    assert not grade(junk, "62").right
    assert not grade(junk, "2^{10}").right
    assert not grade("#### 62", junk).right


@pytest.mark.parametrize(
    "answer",
    [
        "(a+b+c+d+f)^{99}",
        "(a+b+c+d+f+g+h)**9",
        "((a+b)^{9*9}+c)",
        "(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7})^9",
        "(a+b+c+d+f)" * 18,
        "\\sqrt{\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}+\\sqrt{13}}",
        "(x+y)^{-9}",
        "\\frac{1}{(a+b+1)^9}",
        "{" * 90 + "x^9" + "}" * 90,
        "1e99999999/3",
    ],
)
@pytest.mark.parametrize("gold", ["62", "(a+b+c)^9"])
def test_what_would_take_long_is_wrong_at_once(answer, gold):
    grade("\\boxed{\\frac{1}{3}}", "0.3")  # sympy is loaded
    began = time.monotonic()
    assert not grade(f"#### {answer}", gold).right and not grade("#### " + gold, answer).right
    assert time.monotonic() - began < 3


def test_a_unit_beside_a_power_is_a_unit():
    assert grade("#### 4 apples", "2^2").right and grade("#### 90^\\circ", "90").right


def test_every_generated_solution_is_right_and_every_other_answer_wrong():
    problems = [*generate("held_out", 120), *showcase()]
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        assert grade(problem.solution, problem.answer) == Grade(True, problem.answer)
        assert grade(other.solution, problem.answer).right == (other.answer == problem.answer)


def test_grading_works_in_a_thread():
    grades = []
    thread = threading.Thread(target=lambda: grades.append(grade("\\boxed{\\frac{7}{8}}", "0.875")))
    thread.start()
    thread.join()
    assert grades == [Grade(True, "\\frac{7}{8}")]


@pytest.mark.parametrize(
    ("text", "concluded"),
    [
        ("<think>\nIt is 62. #### 62", None),  # cut off while it thought
        ("<think>" + "hm " * 20_000 + "#### 62", None),
        ("<think>\n#### 61\n</think>\n#### 62", "62"),
        ("<think>61</think>62<think>no, 63", None),
        ("so 61</think> 62", "62"),  # its prompt opened the thought
    ],
)
def test_what_is_only_thought_is_no_answer(text, concluded):
    assert extract(text) == concluded
