"""Labels and masks, for every kind of tokenizer: the border, padding, truncation."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from distill.data.encoding import IGNORED, Encoded, collate, encode, encode_many
from distill.data.problems import generate
from distill.models.chat_template import end_token, render, special_ids
from distill.zoo.cards import CARDS

QUESTION = "Ann has 3 boxes of 24 pens. She gives 10 pens away. How many pens are left?"
SOLUTION = "3 * 24 = 72. 72 - 10 = 62. #### 62"
EVERY = sorted(CARDS)


def text_of(tokenizer, example, wanted):
    return tokenizer.decode([i for i, w in zip(example.input_ids, wanted, strict=True) if w], skip_special_tokens=False)


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
    # The template's line break may be in the token that ends the question.
    kept = text_of(tokenizer, example, example.content).replace("\n", "")
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
    tokenizer = tiny("nemotron-tiny")[1]
    whole = encode(tokenizer, QUESTION, SOLUTION)
    length = len(whole.input_ids)
    gone = tokenizer.decode(whole.input_ids[length - 5 : -1])  # beside the end token
    exact = encode(tokenizer, QUESTION, SOLUTION, max_length=length)
    assert exact == whole and not exact.truncated
    short = encode(tokenizer, QUESTION, SOLUTION, max_length=length - 5)
    assert short.truncated and short.input_ids == whole.input_ids[: length - 5]
    assert short.labels[-1] != end_token(tokenizer)
    assert short.completion_bytes == len(SOLUTION) - len(gone.encode()) and SOLUTION.endswith(gone)
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
