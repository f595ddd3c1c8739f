"""What Configure says: the cards, the line that follows every change, the review, the preview."""

import pytest
from configure_cases import edited

from distill.config.run_config import ConfigError
from distill.runs.estimate import Machine, estimate
from distill.runs.preset_cards import Card
from distill.ui.configure.cards import cards_html
from distill.ui.configure.preview_html import preview_config, rows_html
from distill.ui.configure.review import review, student_facts, verdict
from distill.ui.configure.validation import check

MACHINE = Machine(cores=2, memory_gb=8.0)
ROW = {"prompt": "<|user|> 1 < 2?\n", "completion": "yes<script>", "prompt_tokens": 7, "completion_tokens": 1234}


def judged(draft, machine=MACHINE):
    checked = check(draft, public=True)
    return checked, estimate(checked.config, machine, []) if checked.config else None


def test_cards_say_what_how_long_and_why_not():
    here = Card("tiny", "Tiny", "Six & one.", "about 1 min", "0.9 GB of memory", True, None)
    off = Card("deku", "Deku", "Large.", "about 9 hours", "20 GB", False, "needs a GPU")
    html = cards_html([here, off], chosen="tiny")
    tiny, deku = html.split("<li ")[1:]
    assert 'aria-pressed="true"' in tiny and "Six &amp; one." in tiny and "<b>about 1 min</b> here" in tiny
    assert 'data-event="start"' in tiny and 'data-event="start"' not in deku
    assert (
        " disabled" in deku and "Not available on this machine: it needs a GPU." in deku and "aria-pressed" not in deku
    )
    assert 'aria-pressed="false"' in cards_html([here], chosen="tiny-ce")


def test_the_line_says_that_all_is_well_and_what_it_costs():
    html = verdict(*judged(edited(budget__steps=60)))
    assert "<b>tiny, edited</b> · every step is filled in · about " in html
    assert 'data-step="review">Review and start<' in html


def test_the_line_names_every_fault_and_where_it_is():
    html = verdict(*judged(edited(budget__steps=0, name="<b>/x")))
    assert "2 things to fix" in html
    assert 'data-step="budget">5 Budget</button> “Steps” is 0: it must be at least 1.' in html
    assert 'data-step="review">6 Review</button>' in html and "<b>/x" not in html


def test_the_line_says_what_this_machine_has_too_little_of():
    html = verdict(*judged(edited(), Machine(cores=2, memory_gb=0.1)))
    assert "cannot run on this machine: it needs" in html and "Review and start" not in html


def test_the_review_says_costs_and_what_will_be_done():
    draft = edited(budget__accumulation=2, objectives__response=False, name="a<b>c")
    html = review(draft, *judged(draft), ["Only 19 rows"])
    for part in ("<dt>Time</dt><dd>about ", " GB</dd>", " MB</dd>", "Only 19 rows.", "90 steps of 64 problems"):
        assert part in html
    assert (
        "the solutions × 1 + the geometry × 0.5 (mode kernel, debiased similarity at 0.75 of the depth, prior gate)"
        in html
    )
    refused = review(draft, *judged(draft), refusal="Too few rows.")
    assert '<p class="wrong" role="status">Too few rows.</p>' in refused


def test_there_is_no_review_of_what_is_wrong():
    draft = edited(budget__steps=0)
    assert "once everything above is fixed" in review(draft, *judged(draft))


def test_facts_of_a_student():
    html = student_facts("student-tiny")
    for part in ("Qwen2ForCausalLM", "0.985 million parameters", "<dd>128</dd>", "1,536 tokens", "on this machine"):
        assert part in html
    assert "on the Hub" in student_facts("nobody/nothing")


def test_the_preview_shows_both_parts_with_their_tokens_and_nothing_runs():
    html = rows_html([{**ROW, "truncated": True}], "student-tiny")
    assert "&lt;|user|&gt; 1 &lt; 2?" in html and "yes&lt;script&gt;" in html and "<script>" not in html
    assert "<b>given</b>" in html and "<b>learns to write</b>" in html
    assert "7 tokens" in html and "1,234 tokens · too long: left out" in html and "the longest has 1,241 tokens" in html
    assert "1 of them is too long and left out" in html
    assert "too long" not in rows_html([{**ROW, "truncated": False}], "x")


def test_a_preview_depends_on_student_and_data_only():
    assert preview_config(edited(budget__steps=0, lora__r=None, data__train=7)) == preview_config(edited())
    assert preview_config(edited(data__families=["rate"])) != preview_config(edited())
    assert preview_config(edited(student__model="smollm2-tiny")) != preview_config(edited())
    with pytest.raises(ConfigError, match="max_length"):
        preview_config(edited(budget__max_length=1))
