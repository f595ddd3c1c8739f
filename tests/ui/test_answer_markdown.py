"""What models wrote, made inert: formulas live, everything else is text."""

import html
import re
import string
import time

import pytest

from distill.ui.compare.answer_markdown import (
    LATEX,
    NO_SUM,
    answer_markdown,
    concluded,
    found_in,
    inert,
    parted,
    question_markdown,
    verdict,
)

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![](http://evil.test/x.png)",
    "[press](javascript:alert(1))",
    "see http://evil.test or www.evil.test or a@evil.test",
    "# Heading\n---\n* point\n1. point\n> said\n```\ncode\n```\n| a | b |\n|---|---|",
    "    four blanks\n\tand a tab  \nand two at the end",
    "&lt;b&gt; &#60;b&#62;",
    "%%%LATEX_BLOCK_0%%%",
    "\\(<script>alert(1)</script>\\)",
    "</details><svg onload=alert(1)>",
]
_FORMULA = re.compile(r"\\\((?:.|\n)+?\\\)|\\\[(?:.|\n)+?\\\]")


def outside(markdown):
    """What is left of Markdown once its formulas are taken out."""
    return _FORMULA.sub("", markdown)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_outside_a_formula_has_a_meaning(attack):
    left = re.sub(r"&#\d+;", "x", outside(inert(attack)))
    assert not set(left) & set(string.punctuation)
    assert not re.search(r"^[ \t]|[ \t]$", left, re.MULTILINE)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_formula_is_html(attack):
    assert not set("<>") & set(inert(attack))


@pytest.mark.parametrize(
    "text", [*ATTACKS[:4], "3 * 24 = 72. #### 62", "a\nb\n\nc", "é – 答 \U0001f60a", "50% of $3_000"]
)
def test_it_reads_as_it_was_written(text):
    assert html.unescape(inert(text)) == text


def test_what_has_no_place_in_a_text_is_dropped_and_lines_stay():
    assert html.unescape(inert("a\x00\x1b[31mb\x7f\r\nc\rd")) == "a[31mb\nc\nd"


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("so $x + 1$ it is", r"\(x + 1\)"),
        ("so $$x + 1$$ it is", r"\[x + 1\]"),
        (r"so \(x + 1\) it is", r"\(x + 1\)"),
        ("so \\[\nx + 1\n\\] it is", r"\[x + 1\]"),
        ("$a < b > c$", r"\(a \lt  b \gt  c\)"),
        ("$50% + 3\\%$", r"\(50\% + 3\%\)"),
        (r"\(\begin{matrix} 1 \\[4pt] 2 \end{matrix}\)", r"\(\begin{matrix} 1 \\  2 \end{matrix}\)"),
        (r"it is $\text{five apples}$.", r"\(\text{five apples}\)"),
    ],
)
def test_formulas_live(text, formula):
    assert _FORMULA.findall(inert(text)) == [formula]
    assert any(formula.startswith(pair["left"]) and formula.endswith(pair["right"]) for pair in LATEX)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $4 and $5.",
        "$20 is paid, 5$ come back",
        "pays with $20 and gets 5$",
        "$3 * 24 = $72",
        "$4-$5, \\$6$",
        r"\( a \[ b \) c",
        "$$$$",
        r"\(x",
        "a $x",
        "$" + "x" * 400 + "$",
    ],
)
def test_prices_and_halves_of_formulas_are_text(text):
    assert _FORMULA.findall(inert(text)) == []
    assert html.unescape(inert(text)) == text


def test_a_hostile_text_is_not_slow():
    for text in (r"\[" * 20_000, "$$ " * 20_000, "$a" * 20_000, "<think>" * 20_000):
        answer_markdown(text)


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("4", None, "4"),
        ("<think>\nhm\n</think>\n\n4", "hm", "4"),
        ("hm</think>4", "hm", "4"),
        ("<think>hm", "hm", ""),
        ("<think></think>4", "", "4"),
    ],
)
def test_reasoning_is_told_from_the_answer(text, thought, answer):
    assert parted(text) == (thought, answer)


def test_reasoning_is_folded_and_cannot_unfold_itself():
    markdown = answer_markdown("<think>one </details> two</think>**4**")
    assert markdown.startswith("<details>\n<summary>Reasoning, 3 words</summary>\n\none")
    assert markdown.count("</details>") == 1 and markdown.endswith("\n\n&#42;&#42;4&#42;&#42;")
    assert "3 words so far" in answer_markdown("<think>one two three", over=False)


@pytest.mark.parametrize(
    ("right", "found", "answer", "said"),
    [
        (True, "62", "62", "right: 62"),
        (False, "52", "62", "wrong: 52, not 62"),
        (False, None, "62", "wrong: no answer in it, and it is 62"),
        (False, "impossible", "62", "wrong: it says there is no answer, and it is 62"),
        (True, "impossible", "impossible", "right: it can’t be answered"),
        (False, "7", "impossible", "wrong: 7, but it can’t be answered"),
        (False, None, "impossible", "wrong: no answer in it, and it can’t be answered"),
        (None, None, None, "no right answer is known, so it isn't graded"),
        (False, "<b>", "<i>", "wrong: <b>, not <i>"),
        (None, NO_SUM, None, "it doesn’t recognise a sum in this; no right answer is known, so it isn't graded"),
        (True, NO_SUM, "impossible", "right: it doesn’t recognise a sum in this"),
        (False, NO_SUM, "62", "wrong: it doesn’t recognise a sum in this, and the answer is 62"),
    ],
)
def test_verdicts_are_words(right, found, answer, said):
    found_html = verdict(right, found, answer)
    assert html.unescape(re.sub(r"<[^>]*>", "", found_html)) == said


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("no problem. #### impossible", NO_SUM, "it doesn’t recognise a sum in this"),
        ("<think>hm</think> No problem. #### Impossible.", NO_SUM, "it doesn’t recognise a sum in this"),
        ("no number. #### impossible", "impossible", "can’t be answered"),
        ("no problem. 3 + 4 = 7. #### 7", "7", "7"),
        ("", None, "no answer"),
    ],
)
def test_a_student_that_finds_no_sum_is_told_from_one_that_finds_it_impossible(text, found, said):
    assert found_in(text) == found
    assert re.sub(r"<[^>]*>", "", concluded(found)) == said


def test_a_question_comes_with_its_answer_where_that_is_known():
    assert question_markdown("How many?", None) == "How many&#63;"
    assert question_markdown("How many?", "62").endswith("\n\nRight answer: **62**")
    assert "can't be answered" in question_markdown("How many?", "impossible")
    assert "<" not in question_markdown("<b>", "<i>")


@pytest.mark.parametrize("unit", [" ", "\t", "\\[", "\\(", "\\\\[", "$$", "$a", "\\text{"])
def test_drawing_takes_time_in_proportion_to_the_text(unit):
    """Eight times the text may take 24 times as long, not 64."""

    def seconds(characters):
        text = "a" + unit * (characters // len(unit)) + "b"
        began = time.process_time()
        inert(text)
        return time.process_time() - began

    assert min(seconds(40_000) for _ in range(2)) < 24 * max(min(seconds(5_000) for _ in range(2)), 0.005)


def test_a_row_break_opens_no_formula():
    assert inert("\\[ a \\\\[2pt] b \\]").startswith("\\[a")
    assert "\\[" not in inert("a \\\\[2pt] b \\]")
