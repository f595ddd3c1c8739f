"""Which questions are unlike all that generated problems ask, and why."""

import time

import pytest

from distill.data.families import IMPOSSIBLE
from distill.data.problems import examples, generate, showcase
from distill.evaluation.coverage import outside


@pytest.mark.parametrize("split", ["train", "new_phrasing"])
def test_no_generated_problem_is_outside(split):
    possible = [problem for problem in generate(split, 400) if problem.family != IMPOSSIBLE]
    assert len(possible) > 300
    assert not [(why, p.question) for p in possible if (why := outside(p.question))]


def test_what_the_page_offers_is_not_outside():
    assert not [why for problem in (*showcase(), *examples()) if (why := outside(problem.question))]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (
            "What is the capital of France?",
            "There is no number in the question, in digits or in words, so it is no sum.",
        ),
        ("Which one is better, cats or dogs?", "no number"),
        ("", "no number"),
        ("A coffee costs $2.50. How much are 4?", "There is a number in the question that isn't whole (2.50)."),
        ("A coffee costs 2.50 and I have one for an hour. How much are 4?", "(2.50)"),
        ("I earn 9.50 an hour and work 8 hours. How much is that?", "(9.50)"),
        ("Bread is 2,50 € a loaf. How much are 4 loaves?", "(2,50)"),
        ("A plank of 2.5 m is cut into 5 pieces. How long is each?", "(2.5)"),
        ("I ate 3/4 of a pizza with 8 slices. How many slices is that?", "(3/4)"),
        ("I walked 1½ miles 4 times. How far?", "(½)"),
        ("I drank two thirds of 12 cups. How many is that?", "(two thirds of)"),
        ("How many minutes are two and a half hours?", "(two and a half)"),
        ("It was -5 degrees and is 8 degrees warmer now. How warm is it?", "There is a number below zero"),
        (
            "A firm has 1,200 workers and 300 leave. How many stay?",
            "There is a number above 500 in the question (1,200).",
        ),
        ("A town has 12 000 people and 30 leave. How many stay?", "(12 000)"),
        ("Ida was born in 1985. How old was she in 2020?", "(1985)"),
        ("Two thousand people came and 30 left. How many stayed?", "(thousand)"),
        ("What is " + "9" * 8000 + " + 1?", "(99999999999999999999)."),
        ("Solve x^2 = 9", "There are signs of algebra in the question (^)."),
        ("2x + 3 is 11. Find x.", "(2x + 3)"),
        ("2 + 3 = ?", "(3 =)"),
        ("What is sqrt(16)?", "(sqrt)"),
        ("I buy 3 pens at 2 dollars. How much do I pay and what is the capital of Peru?", "several things at once"),
        ("Tom has 3 red and 4 blue pens. How many red? How many blue? How many more blue?", "several things at once"),
        ("He had 3 pens. " * 40 + "How many had he?", "The question has 164 words"),
    ],
)
def test_what_is_outside_says_why(question, why):
    assert why in outside(question)


@pytest.mark.parametrize(
    "question",
    [
        "The train leaves at 9.20 and arrives at 10.05. How many minutes does it take?",
        "I left at 9:20 and was home at 10:05. How long was I away?",
        "Lea got up at 7.15am and left at 8.00am. How long did she need?",
        "My scores are 12,15,18. What is the average?",
        "What is 12/4?",
        "I have one cat and Ana has one dog. How many pets have we got?",
        "I've seen half of the ten episodes. How many is that?",
        "12 shirts at $20 each, and I pay with $500. How much is my change?",
        "A floor of 12 m² costs $5 per m². How much is that in all?",
        "Line A: 103 units. Line B: 51 units fewer. Line B = ?",
        "A tank holds 69 thousand litres, another 18 thousand less. How many thousand litres does that one hold?",
        "Ana has 34 pens and Ben 19. How many have they in all, and how many more has Ana?",
        "We buy 7 drinks at $4. How much do we spend, and what is the average cost of a drink?",
        "The shop is open 24/7, and 4 people share 12 shifts. How many does each have?",
        "There are 3 x 4 tiles on the wall. How many tiles is that?",
    ],
)
def test_what_may_be_like_it_is_not_outside(question):
    assert outside(question) is None


@pytest.mark.parametrize("text", ["9" * 8000, "1/" * 4000, "a " * 4000, "=" * 8000, " ".join("1" * 120), "(" * 8000])
def test_a_hostile_text_is_not_slow(text):
    began = time.monotonic()
    outside(text)
    assert time.monotonic() - began < 1


def test_one_long_word_is_judged_at_once():
    began = time.process_time()
    outside("3 " + "a" * 20_000 + ".")
    assert time.process_time() - began < 0.5
