"""Prompts, for every kind of chat template: what it writes before an answer, and what ends one."""

import copy
from datetime import datetime

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
COUNTING = "{% for m in messages %}[{{ m['role'] }}, {{ m['content'] | length }}] {{ m['content'] }}\n{% endfor %}"
OPENS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
IN_PARTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}" + OPENS
)


def changing(content):
    """A template that does something to what it is given."""
    return f"{{% for m in messages %}}<|im_start|>{{{{ m['role'] }}}}\n{content}<|im_end|>\n{{% endfor %}}{OPENS}"


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
    tokenizer = dressed(COUNTING)
    template = template_of(tokenizer)
    assert not template.pure
    assert template.render("Why?") == "[user, 4] Why?\n"
    assert template.place("Why?") == ("[user, 4] Why?\n", 10, 14)
    example = encode(tokenizer, QUESTION, SOLUTION)
    assert tokenizer.decode(example.input_ids[example.completion_start :]) == SOLUTION + "<|im_end|>"


@pytest.mark.parametrize("system", [None, "Think."])
def test_a_template_that_reads_parts_is_given_parts(dressed, system):
    tokenizer = dressed(IN_PARTS)
    assert render(tokenizer, QUESTION, system) == render(dressed(changing("{{ m['content'] }}")), QUESTION, system)
    assert QUESTION in render(tokenizer, QUESTION, system)
    assert tokenizer.convert_ids_to_tokens(end_token(tokenizer)) == "<|im_end|>"
    example = encode(tokenizer, QUESTION, SOLUTION, system=system)
    assert tokenizer.decode(example.input_ids[example.completion_start :]) == SOLUTION + "<|im_end|>"


@pytest.mark.parametrize(
    "template",
    [
        changing("{{ m['content'] | lower }}"),
        changing("{{ m['content'] | upper }}"),
        changing("{{ m['content'] | escape }}"),
        changing("{{ m['content'] | urlencode }}"),
        changing("{{ m['content'][:512] }}"),
        changing("{{ m['content'] | truncate(2000) }}"),
        changing("{{ m['content'].split('\n')[0] }}"),
        changing("{{ m['content'].split() | join(' ') }}"),
        changing("{{ m['content'].replace('<', '') }}"),
        changing("{{ m['content'] | tojson }}"),
    ],
)
def test_a_template_that_changes_the_question_is_refused(dressed, template):
    with pytest.raises(UserError, match=r"^The chat template of .* changes the questions .*: use another model, or"):
        encode(dressed(template), "Why?", SOLUTION)


@pytest.mark.parametrize(
    "content", ["", "{{ m['text'] }}", "{% if m['role'] == 'human' %}{{ m['content'] }}{% endif %}"]
)
def test_a_template_without_the_question_is_refused(dressed, content):
    with pytest.raises(UserError, match=r"^The chat template of .* leaves out the questions"):
        render(dressed(changing(content)), QUESTION)


def test_a_template_that_changes_some_questions_refuses_those(dressed):
    template = template_of(dressed(changing("{{ m['content'] | length }}{{ m['content'].replace('Zoe', 'Ann') }}")))
    assert template.render("Who is Ann?")
    with pytest.raises(UserError, match=r"'Who is Zoe\?' for one"):
        template.render("Who is Zoe?")


def test_a_template_that_takes_the_first_turn_for_the_systems_is_given_one(dressed):
    of_the_second = "{% for m in messages[1:] %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}" + OPENS
    assert render(dressed(of_the_second), QUESTION) == f"[user] {QUESTION}<|im_start|>assistant\n"


def test_a_template_that_wants_tools_is_one_sentence(dressed):
    with pytest.raises(UserError, match=r"^The chat template of .* refuses a plain question .*: use another model\.$"):
        render(dressed("{% for tool in tools %}{{ tool }}{% endfor %}" + changing("{{ m['content'] }}")), QUESTION)


def test_an_answer_is_opened_where_the_template_heeds_no_asking(dressed):
    every_turn = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    asked = render(dressed(every_turn + OPENS), QUESTION)
    assert asked.endswith("<|im_start|>assistant\n") and render(dressed(every_turn), QUESTION) == asked
    mistral = "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} "
    mistral += "{{ m['content'] }}</s>{% endif %}{% endfor %}"
    assert render(dressed(mistral), "Why?") == "[INST] Why? [/INST]"  # nothing is missing there


@pytest.mark.parametrize(
    "today",
    [
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}",
        "{%- set today = strftime_now('%d %b %Y') -%}{{ today }}",
        '{{ strftime_now("%d %b %Y") }}',
        "{% set format = '%d ' ~ '%b %Y' %}{{ strftime_now(format) }}",
        "{% set clock = strftime_now %}{{ clock('%d %b %Y') }}",
        "{% macro day() %}{{ strftime_now('%d %b %Y') }}{% endmacro %}{{ day() }}",
        "{% if strftime_now is defined %}{{ strftime_now('%-d %b %Y') }}{% else %}none{% endif %}",
    ],
)
def test_a_template_does_not_change_at_midnight(dressed, today):
    tokenizer = dressed(f"{today}:\n{{% for m in messages %}}{{{{ m['content'] }}}}{{% endfor %}}")
    assert render(tokenizer, "Why?") == "26 Jul 2024:\nWhy?"


@pytest.mark.parametrize(
    "format", ["%Y-%m-%d", "%A, %d %B %Y", "%H:%M:%S %p", "%j %U %y %w", "%-d.%-m. %-H", "100%%", "day"]
)
def test_the_day_is_written_as_the_template_wants_it(dressed, format):
    tokenizer = dressed(
        f"{{{{ strftime_now('{format}') }}}}\n{{% for m in messages %}}{{{{ m['content'] }}}}{{% endfor %}}"
    )
    assert render(tokenizer, "Why?") == f"{datetime(2024, 7, 26).strftime(format)}\nWhy?"


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
