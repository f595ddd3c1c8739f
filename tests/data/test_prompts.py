"""Prompts, labels and masks, for every kind of tokenizer: the border, the end, padding, truncation."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from distill.data.problems import generate
from distill.data.prompts import (
    IGNORED,
    Encoded,
    collate,
    encode,
    encode_many,
    end_token,
    render,
    special_ids,
    template_of,
)
from distill.errors import UserError
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


def text_of(tokenizer, example, wanted):
    return tokenizer.decode([i for i, w in zip(example.input_ids, wanted, strict=True) if w], skip_special_tokens=False)


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
    assert text_of(tokenizer, example, [label != IGNORED for label in example.labels]) == SOLUTION + "<|im_end|>"


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


# --- labels and masks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_labels_are_the_solution_and_the_end_and_nothing_else(tiny, name):
    tokenizer = tiny(name)[1]
    for problem in generate("held_out", 24):
        example = encode(tokenizer, problem.question, problem.solution)
        labelled = [label != IGNORED for label in example.labels]
        assert text_of(tokenizer, example, labelled) == problem.solution + CARDS[name].chat.end
        prompt = text_of(tokenizer, example, [not is_labelled for is_labelled in labelled])
        assert prompt == render(tokenizer, problem.question)
        assert labelled == [False] * example.completion_start + [True] * example.labelled
        assert all(i == label for i, label, w in zip(example.input_ids, example.labels, labelled, strict=True) if w)
        assert example.completion_bytes == len(problem.solution.encode())


@pytest.mark.parametrize("name", EVERY)
def test_content_is_question_and_solution_without_the_first_token(tiny, name):
    tokenizer = tiny(name)[1]
    example = encode(tokenizer, QUESTION, SOLUTION)
    kept = text_of(tokenizer, example, example.content)
    assert (QUESTION + SOLUTION).endswith(kept.replace("▁", " "))
    first = len(QUESTION + SOLUTION) - len(kept)
    assert 0 < first <= len("Ann has"), kept
    assert not {i for i, w in zip(example.input_ids, example.content, strict=True) if w} & special_ids(tokenizer)


def test_an_unknown_character_is_content_but_no_special_token(tiny):
    tokenizer = tiny("nemotron-tiny")[1]
    example = encode(tokenizer, "a\u00e9\u00e9", "b")
    assert sum(example.content) == 3


def test_a_special_token_inside_a_text_is_no_content(tiny):
    tokenizer = tiny("qwen2-tiny")[1]
    plain = encode(tokenizer, "Why?", "So. Yes.")
    marked = encode(tokenizer, "Why?", "So.<|im_end|> Yes.")
    assert len(marked.input_ids) == len(plain.input_ids) + 1 and sum(marked.content) == sum(plain.content)


def merging_tokenizer():
    """A base model's byte-level BPE that merges across everything, line breaks included."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        decoders.ByteLevel(),
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["x\n\ny", "x\n\nz", "w\n\nw"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")


def test_a_token_across_the_border_belongs_to_the_completion():
    tokenizer = merging_tokenizer()
    example = encode(tokenizer, "Why", "\nso")
    straddler = tokenizer("\n\n", add_special_tokens=False).input_ids
    assert len(straddler) == 1 and example.input_ids[example.completion_start] == straddler[0]
    assert example.labels[example.completion_start] == straddler[0]
    assert example.input_ids == [*tokenizer("Why\n\nso").input_ids, tokenizer.eos_token_id]  # jointly
    assert example.completion_bytes == 3


@pytest.mark.parametrize(
    "solution", ["caf\u00e9 \U0001f60a\U0001f60a = 2", "\u7b54\u6848\u662f 62", "e\u0301 \U0001d7d9"]
)
@pytest.mark.parametrize("name", ["qwen2-tiny", "minicpm3-tiny", "nemotron-tiny"])
def test_characters_of_several_bytes_neither_move_the_border_nor_are_lost(tiny, name, solution):
    tokenizer = tiny(name)[1]
    question = "\U0001f60a \u4ec0\u4e48?"
    example = encode(tokenizer, question, solution, end=False)
    assert example.completion_start == len(tokenizer(render(tokenizer, question), add_special_tokens=False).input_ids)
    assert example.completion_bytes == len(solution.encode())


def test_where_pad_is_end_the_real_end_is_still_read_and_learned():
    tokenizer = merging_tokenizer()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    examples = encode_many(tokenizer, [("Why", "because it is so"), ("Why", "so")]).examples
    batch = collate(examples, tokenizer.pad_token_id)
    for row, example in enumerate(examples):
        last = len(example.input_ids) - 1
        assert batch["labels"][row, last] == tokenizer.eos_token_id
        assert batch["attention_mask"][row, last] == 1
    assert batch["attention_mask"].sum(1).tolist() == [len(example.input_ids) for example in examples]


def test_a_base_tokenizer_that_adds_a_beginning_gets_it_once(tiny):
    tokenizer = copy.deepcopy(tiny("gemma2-tiny")[1])
    tokenizer.chat_template = None
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    ids = encode(tokenizer, "Why?", "So.").input_ids
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1


# --- padding, truncation, many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing_but_where_things_stand(tiny, side):
    tokenizer = tiny("qwen2-tiny")[1]
    examples = encode_many(tokenizer, [(QUESTION, SOLUTION), ("Why?", "So.")]).examples
    batch = collate(examples, tokenizer.pad_token_id, side)
    assert {name: (t.dtype, tuple(t.shape)) for name, t in batch.items()} == dict.fromkeys(
        ["input_ids", "attention_mask", "labels", "content_mask"], (torch.int64, (2, len(examples[0].input_ids)))
    )
    for row, example in enumerate(examples):
        real = batch["attention_mask"][row].bool()
        assert real[0 if side == "right" else -1]
        assert batch["input_ids"][row][real].tolist() == example.input_ids
        assert batch["labels"][row][real].tolist() == example.labels
        assert batch["content_mask"][row][real].tolist() == example.content
        assert (batch["labels"][row][~real] == IGNORED).all() and not batch["content_mask"][row][~real].any()


def test_what_is_cut_has_no_end_token_and_is_counted(tiny):
    tokenizer = tiny("nemotron-tiny")[1]  # a token a character
    whole = encode(tokenizer, QUESTION, SOLUTION)
    length = len(whole.input_ids)
    exact = encode(tokenizer, QUESTION, SOLUTION, max_length=length)
    assert exact == whole and not exact.truncated
    short = encode(tokenizer, QUESTION, SOLUTION, max_length=length - 5)
    assert short.truncated and short.input_ids == whole.input_ids[: length - 5]
    assert short.labels[-1] != end_token(tokenizer)
    assert short.completion_bytes == len(SOLUTION) - 4  # the end token and four characters are gone
    encoded = encode_many(tokenizer, [(QUESTION, SOLUTION), ("Why?", "So.")], max_length=length - 5)
    assert (encoded.truncated, encoded.dropped, encoded.kept) == (1, 0, [0, 1])


def test_an_example_without_labels_is_dropped_and_counted(tiny):
    tokenizer = tiny("nemotron-tiny")[1]
    border = encode(tokenizer, QUESTION, SOLUTION).completion_start
    texts = [(QUESTION, SOLUTION), ("Why?", "So."), (QUESTION, "")]
    encoded = encode_many(tokenizer, texts, max_length=border, end=False)
    assert (encoded.kept, encoded.dropped, encoded.truncated) == ([1], 2, 1)
    kept = encode_many(tokenizer, texts, max_length=border, end=False, keep_unlabelled=True)
    assert [example.labelled for example in kept.examples] == [0, 3, 0]
    assert kept.examples[0].completion_bytes == kept.examples[2].completion_bytes == 0


def test_characters_cut_the_same_text_for_every_tokenizer(tiny):
    for name in EVERY:
        tokenizer = tiny(name)[1]
        example, whole = encode_many(tokenizer, [(QUESTION, SOLUTION), ("Why?", "So.")], max_characters=90).examples
        labelled = [label != IGNORED for label in example.labels]
        assert text_of(tokenizer, example, labelled) == SOLUTION[: 90 - len(QUESTION)]  # and no end: it has not ended
        assert example.completion_bytes == 90 - len(QUESTION) and not example.truncated
        assert whole.labels[-1] == end_token(tokenizer)


@pytest.mark.parametrize("name", EVERY)
def test_many_at_once_are_the_same_as_one_by_one(tiny, name):
    tokenizer = tiny(name)[1]
    texts = [(p.question, p.solution) for p in generate("validation", 30)]
    assert encode_many(tokenizer, texts).examples == [encode(tokenizer, *text) for text in texts]
    assert encode_many(tokenizer, []).examples == []


def test_what_is_too_long_is_dropped_and_counted_rather_than_cut(tiny):
    tokenizer = tiny("student-tiny")[1]
    texts = [("How many?", "2 + 2 = 4. #### 4"), ("How many?", "2 + 2 = 4. " * 20), ("Why? " * 60, "So.")]
    whole = encode_many(tokenizer, texts)
    limit = len(whole.examples[0].input_ids)
    found = encode_many(tokenizer, texts, limit, drop_long=True)
    assert found == Encoded(whole.examples[:1], kept=[0], truncated=0, dropped=2)
    assert encode_many(tokenizer, texts, limit - 1, drop_long=True).kept == []  # its end token counts
    assert encode_many(tokenizer, texts, limit, drop_long=True, keep_unlabelled=True) == found
    assert encode_many(tokenizer, texts, drop_long=True) == whole


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
