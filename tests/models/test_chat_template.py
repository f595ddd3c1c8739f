"""Prompts, for every kind of chat template: what it writes before an answer, and what ends one."""

import copy

import pytest

from distill.config.errors import UserError
from distill.data.encoding import encode
from distill.models.chat_template import end_token, render, template_of
from distill.zoo.cards import CARDS

QUESTION = "Ann has 3 boxes of 24 pens. She gives 10 pens away. How many pens are left?"
SOLUTION = "3 * 24 = 72. 72 - 10 = 62. #### 62"
EVERY = sorted(CARDS)

QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Qwen.<|im_end|>\n{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today: {{ date_string }}\n{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
)
SHOUTING = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | upper }}\n{% endfor %}"


@pytest.fixture
def dressed(tiny):
    """`dressed(template, name)` -> a copy of a tiny tokenizer with another chat template."""

    def dress(template, name="qwen2-tiny"):
        tokenizer = copy.deepcopy(tiny(name)[1])
        tokenizer.chat_template = template
        return tokenizer

    return dress


# --- templates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_prompt_is_the_models_own_template(tiny, name):
    tokenizer = tiny(name)[1]
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
    )
    assert render(tokenizer, QUESTION) == own
    assert template_of(tokenizer).pure and template_of(tokenizer).chat


def test_a_base_model_reads_the_question_and_a_line_break(dressed):
    template = template_of(dressed(None))
    assert not template.chat
    assert template.render(QUESTION) == f"{QUESTION}\n"
    assert template_of(dressed(None), "Think.").render(QUESTION) == f"Think.\n{QUESTION}\n"


def test_a_default_system_prompt_is_kept_out_and_a_given_one_is_in(dressed):
    tokenizer = dressed(QWEN)
    assert "You are Qwen" not in render(tokenizer, QUESTION)
    assert render(tokenizer, QUESTION).startswith("<|im_start|>system\n<|im_end|>\n<|im_start|>user\n")
    assert "system\nThink.<|im_end|>" in render(tokenizer, QUESTION, "Think.")


def test_a_template_without_system_turn_gets_the_system_text_in_the_users(dressed):
    tokenizer = dressed(GEMMA, "gemma2-tiny")
    assert render(tokenizer, "Why?") == "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    assert "user\nThink.\n\nWhy?<end" in render(tokenizer, "Why?", "Think.")


def test_a_trimming_template_is_followed(dressed):
    tokenizer = dressed(GEMMA, "gemma2-tiny")
    template = template_of(tokenizer)
    assert template.trims and template.pure
    assert template.render("  Why?\n") == template.render("Why?")
    assert template.place(" Why? ")[0][slice(*template.place(" Why? ")[1:])] == "Why?"


def test_a_template_that_is_no_substitution_is_applied_to_each(dressed):
    tokenizer = dressed(SHOUTING)
    template = template_of(tokenizer)
    assert not template.pure
    assert template.render("Why?") == "[user] WHY?\n"
    example = encode(tokenizer, QUESTION, SOLUTION)
    assert tokenizer.decode(example.input_ids[example.completion_start :]) == SOLUTION + "<|im_end|>"


def test_a_template_does_not_change_at_midnight(dressed):
    assert render(dressed(LLAMA), "Why?") == "Today: 26 Jul 2024\n[user]Why?"


def test_a_template_that_refuses_is_one_sentence(dressed):
    with pytest.raises(UserError, match="refuses a plain question"):
        template_of(dressed("{{ raise_exception('No.') }}"))


# --- the end of an answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_end_token_is_the_cards(tiny, name):
    tokenizer = tiny(name)[1]
    assert tokenizer.convert_ids_to_tokens(end_token(tokenizer)) == CARDS[name].chat.end


def test_the_template_knows_better_than_eos_what_ends_a_turn(tiny):
    # Gemma (eos <eos>, turns end with <end_of_turn>) and Qwen base models (<|endoftext|>, <|im_end|>) are like this.
    tokenizer = copy.deepcopy(tiny("gemma2-tiny")[1])
    tokenizer.eos_token = "<bos>"
    assert tokenizer.convert_ids_to_tokens(end_token(tokenizer)) == "<end_of_turn>"
    assert encode(tokenizer, QUESTION, SOLUTION).input_ids[-1] == end_token(tokenizer)


def test_no_end_token_is_one_sentence(dressed):
    tokenizer = dressed(None)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end token"):
        encode(tokenizer, QUESTION, SOLUTION)
    assert encode(tokenizer, QUESTION, SOLUTION, end=False).labelled


# --- thoughts ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_opens_its_thought_is_read_alike_by_models_whose_prompt_opens_it_too(tiny):
    """A thinking teacher's own prompt ends with <think>: its labels start where the student's do, with the tag."""
    _, tokenizer = tiny("qwen2-tiny")
    thinking = copy.deepcopy(tokenizer)
    thinking.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    answer = "<think>\nIs it 61?\n</think>\n\n#### 62"
    plain, other = (encode(one, "30 + 32 = ?", answer) for one in (tokenizer, thinking))
    assert other == plain and tokenizer.decode(plain.input_ids[plain.completion_start :]).startswith("<think>\n")
    template = template_of(thinking)
    assert template.render("30 + 32 = ?").endswith("<think>\n")
    assert template.render("30 + 32 = ?", answer) == render(tokenizer, "30 + 32 = ?")
    # What opens no thought is still read as this model would write it.
    assert tokenizer.decode(encode(thinking, "30 + 32 = ?", "#### 62").input_ids).count("<think>") == 1
