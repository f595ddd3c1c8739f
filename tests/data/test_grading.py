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
        ("None", None),  # of what?
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


RIGHT = [
    # scripts and languages
    ("答案是33个", "33"), ("所以一共有３３个苹果。", "33"), ("ответ33", "33"), ("Всего 33 яблока.", "33"),
    ("الجواب هو ٣٣", "33"), ("उत्तर ३३ है।", "33"), ("答えは１８です。", "18"), ("정답은 18개입니다", "18"),
    ("ทั้งหมด ๑๘ ลูก", "18"), ("La respuesta es 18.", "18"), ("#### １８", "18"), ("#### ١٬٠٠٠", "1000"),
    ("#### 18元", "18"), ("#### 1万", "10000"), ("#### 5 тыс. рублей", "5000"),
    # asides, wrappings, what is around a number
    ("#### 12 (not 13)", "12"), ("#### 12 (a dozen)", "12"), ("#### (18)", "18"), ("#### ((18))", "18"),
    ("**18**", "18"), ("`18`", "18"), ("#### ~18", "18"), ("#### about 18", "18"), ("#### She has 18 apples", "18"),
    ("#### x = 18", "18"), ("#### 18 = x", "18"), ("#### 62 (72 - 10)", "62"), ("#### 72 - 10 = 62 apples", "62"),
    ("#### 18 more apples", "18"), ("#### 3 * 24 = 72, 72 - 10 = 62", "62"), ("**Final Answer: 18 apples**", "18"),
    ("The answer is <<9+9=18>>18.", "18"),
    # money and units
    ("#### ¥18", "18"), ("#### ₹18", "18"), ("#### US$18", "18"), ("#### Rs. 18", "18"), ("He pays Rs.18", "18"),
    ("#### R18", "18"), ("#### EUR 18", "18"), ("#### 18 €", "18"), ("#### $18.00 per day", "18"),
    ("#### \\$18", "18"), ("#### -$5", "-5"), ("#### $-5", "-5"), ("\\boxed{18\\text{ cm}}", "18"),
    ("The area is 18 cm2.", "18"), ("#### 18 cm²", "18"), ("#### 18 km/h", "18"), ("#### 18 °C", "18"),
    # separators and signs
    ("#### 1,000", "1000"), ("#### 1 000", "1000"), ("#### 1\u202f000", "1000"), ("#### 1'000", "1000"),
    ("#### 1{,}000", "1000"), ("#### 1.234,50 €", "1234.5"), ("#### 12,34,567", "1234567"), ("#### 2,5", "2.5"),
    ("#### 18.00", "18"), ("#### 18.", "18"), ("#### \u22125", "-5"), ("#### minus 5", "-5"),
    ("#### negative five", "-5"),
    # fractions, percents, powers of ten, large numbers
    ("#### 2 1/2", "2.5"), ("#### 2½", "2.5"), ("#### $2\\frac{1}{2}$", "2.5"), ("so 2 1/2 cups", "2.5"),
    ("#### 3/4 of an hour", "0.75"), ("#### -\\frac{3}{4}", "-0.75"), ("#### \\frac12", "0.5"),
    ("#### 0.3333", "1/3"), ("#### 0.333...", "1/3"), ("#### $33.33", "100/3"), ("#### 75%", "75"),
    ("#### 75%", "0.75"), ("#### 0.75", "75%"), ("\\boxed{75\\%}", "75"), ("#### 75 percent", "3/4"),
    ("#### 1.8e1", "18"), ("#### 1.8 × 10^1", "18"), ("\\boxed{1.8 \\times 10^{1}}", "18"),
    ("#### 1 million", "1000000"), ("It costs 1.5 million dollars.", "1500000"), ("#### 3 dozen", "36"),
    ("#### 3 dozen", "3"),
    # in words
    ("#### eighteen", "18"), ("She has eighteen apples left.", "18"), ("#### one hundred and five", "105"),
    ("#### half", "1/2"), ("#### three quarters", "0.75"), ("#### two and a half", "2.5"), ("#### none", "0"),
    # several numbers, where several are right
    ("#### 28 and 4", "28 and 4"), ("#### 28 apples and 4 pears", "28 and 4"), ("#### 28, 4", "28 and 4"),
    ("#### 28.0 and 4", "28 and 4"), ("\\boxed{28} and \\boxed{4}", "28 and 4"), ("#### -2 or 2", "2 or -2"),
    ("#### x = -2, x = 2", "2, -2"), ("#### 3:30 PM", "3:30 pm"), ("#### 4 sqrt(2)", "\\sqrt{32}"), ("#### (A)", "A"),
]  # fmt: skip
WRONG = [
    # one of several
    ("#### 1331 and 1728", "1728"), ("#### 1331 and 1728", "1331"), ("The answers are 1331 and 1728.", "1728"),
    ("#### 12, 13", "13"), ("\\boxed{1331} and \\boxed{1728}", "1728"), ("#### 17 or 18", "18"),
    ("It's 17 or 18.", "18"), ("#### between 17 and 18", "18"), ("#### 17-18", "18"), ("#### 3 to 5", "5"),
    ("#### 12 (or 13)", "12"), ("#### 18 apples and 3 left", "18"), ("#### 28", "28 and 4"),
    ("#### 18 apples and 3 left", "3"), ("#### 4 and 28", "28 and 4"), ("#### 28 or 4", "28 and 4"),
    ("#### x = 3, y = 4", "4"), ("#### ±5", "5"), ("#### 3:30", "30"), ("#### 3:30", "3"),
    ("#### eighteen or nineteen", "18"),
    # numbers that are not joined, or are
    ("#### 12 13", "1213"), ("#### 12 13", "13"), ("#### 2 1/2", "2"), ("#### 21/2", "2.5"), ("#### 1.000", "1000"),
    ("#### 1,5", "5"),
    # more than the number
    ("#### 4 sqrt(2)", "4"), ("#### 4√2", "4"), ("#### 3x", "3"), ("#### 3 x", "3"), ("#### 18x + 1", "18"),
    ("#### 18^2", "18"), ("#### 5!", "5"), ("#### log 18", "18"), ("#### less than 18", "18"),
    ("#### at least 18", "18"), ("#### not 18", "18"), ("#### x > 5", "5"), ("#### half of 18", "18"),
    ("#### twice 9", "9"), ("#### 18 and a half", "18"), ("#### 1 million", "1"), ("#### 1万", "1"), ("#### 2k", "2"),
    ("#### 1.8e2", "18"), ("#### 1.8 × 10^2", "1.8"), ("#### 18 - x", "18"), ("#### f(2)", "2"),
    # another number
    ("#### -5", "5"), ("#### 75%", "7.5"), ("#### 0.33", "1/3"), ("#### 0.3334", "1/3"),
    ("#### 0.0000002", "0.0000001"), ("答案是33个", "3"), ("#### 1/0", "1"), ("#### eighty", "18"),
    ("#### the third", "1/3"), ("#### one of them", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_a_person_would_call_it_right(answer, gold):
    assert grade(answer, gold).right, grade(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_a_person_would_call_it_wrong(answer, gold):
    assert not grade(answer, gold).right, grade(answer, gold)


@pytest.mark.parametrize(
    "answer",
    [
        "impossible",
        "**Impossible**",
        "It is impossible.",
        "This problem is impossible to solve.",
        "The problem has no solution.",
        "No solution exists.",
        "She has 12 and gives away 17. That is impossible.",
        "She has 12 and gives away 17. Impossible.",
        "17 - 46 is negative, so it's impossible.",
        "Therefore, it's impossible to determine how many apples there are.",
        "It is impossible, because 12 < 17",
        "The numbers contradict each other.",
        "This situation isn't possible.",
        "The answer is: impossible",
        "\\boxed{\\text{impossible}}",
        "no problem. #### impossible",
        "3 + + boxes the the #### impossible",
    ],
)
def test_a_statement_that_there_is_no_answer(answer):
    assert grade(answer, "impossible") == Grade(True, "impossible")


@pytest.mark.parametrize(
    "babble",
    [
        "cats boxes 12 the of impossible",
        "62 62 62 62 impossible",
        "the the the the. impossible",
        "12 * 7 boxes the\nimpossible",
        "3 + + boxes and then so impossible",
        "no answer no answer no answer the no answer",
        "lorem ipsum dolor sit amet no solution",
        "apple apple apple is impossible",
        "It is impossible to have half a crayon, so it is 12.",
        "It is not impossible.",
        "",
    ],
)
def test_babble_that_ends_in_the_word_says_nothing(babble):
    assert not grade(babble, "impossible").right, grade(babble, "impossible")


@pytest.mark.parametrize("before", ["", "#### ", "12 "])
@pytest.mark.parametrize(
    "unit",
    [":", "#", "#### ", "-", " ", "\n", "1,", "1,111 ", "1/1 ", "1 and ", "answer is ", "answer : ", "not a ",
     "is aly ", "n't ", "\\boxed{}", "\\frac{1}", "<<1=", "<|x", "**a", "US$", "one-", "１，", "½", "x = ", "12 (no ",
     "impossible ", "to be ", "it has ", "there is ", "'s just "],
)  # fmt: skip
def test_reading_takes_time_in_proportion_to_the_text(unit, before):
    """Nothing to be compared: patterns alone. Eight times the text may take 24 times as long, not 64."""

    def seconds(characters):
        text = before + unit * (characters // len(unit)) + "!a"
        began = time.process_time()
        extract(text)
        return time.process_time() - began

    assert min(seconds(19_000) for _ in range(2)) < 24 * max(min(seconds(2_400) for _ in range(2)), 0.005)


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
