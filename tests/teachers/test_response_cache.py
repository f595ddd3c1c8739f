"""Teachers' answers: asked once and kept, thoughts whole, ends known."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from responses_cases import DRAWN, PROBLEMS, QUESTIONS, SHORT, ask, files
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from distill.data.grading import grade
from distill.data.response_selection import choose
from distill.models.chat_template import render
from distill.models.generation import Manner, generate_batch
from distill.models.loading import load_model, load_tokenizer
from distill.teachers.response_cache import Response, ResponseBank, ResponseRequest, prefilled

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "assets" / "zoo"


@pytest.fixture
def bank(tmp_path, warnings):
    return ResponseBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warnings.append(warning))


@pytest.fixture
def loads(monkeypatch):
    """The models loaded in this test."""
    found, load = [], AutoModelForCausalLM.from_pretrained

    def counted(path, **how):
        found.append(path)
        return load(path, **how)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    return found


def test_a_teacher_of_the_zoo_answers_and_its_right_answers_are_chosen(bank):
    found, seen = ask(bank, ZOO / "qwen2-tiny", request=ResponseRequest(max_new_tokens=64))
    right = [grade(some[0].text, p.answer).right for some, p in zip(found, PROBLEMS, strict=True)]
    assert sum(right) >= 5 and all(some[0].finished for some in found)
    assert (seen[0], seen[-1]) == ((0, 10), (10, 10)) and seen == sorted(seen)
    chosen = choose({"qwen": found}, PROBLEMS, "right")
    assert [row.problem for row in chosen.rows] == [index for index, is_right in enumerate(right) if is_right]
    assert all("####" in row.text and not row.text.endswith(("<|im_end|>", "</s>")) for row in chosen.rows)


def test_the_bank_says_what_the_teacher_says(bank, folder):
    found, _ = ask(bank, folder)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    prompts = [render(tokenizer, question) for question in QUESTIONS]
    written = generate_batch(model, tokenizer, prompts, 6, manner=Manner(keep_special=True))
    for some, completion in zip(found, written, strict=True):
        assert some == [Response(completion.text, completion.finished, len(completion.tokens))]
    assert len(files(bank)) == 3


def test_what_was_answered_is_kept_and_the_teacher_is_let_go(bank, folder, loads):
    gc.collect()
    there = sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects())
    first, seen = ask(bank, folder, request=DRAWN)
    assert sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects()) == there
    assert (seen[0], seen[-1]) == ((0, 20), (20, 20))
    again, seen = ask(bank, folder, request=DRAWN)
    assert again == first and seen == [(20, 20)] and len(loads) == 1
    assert ask(bank, folder, []) == ([], [(0, 0)]) and len(loads) == 1
    assert isinstance(again[0][0], Response)


def test_samples_differ_and_neither_batches_nor_shards_change_them(bank, folder, tmp_path):
    found, _ = ask(bank, folder, request=DRAWN)
    assert all(len(some) == 2 and some[0] != some[1] for some in found)
    other = ResponseBank(tmp_path / "other", shard=7)
    assert ask(other, folder, request=DRAWN, batch_size=3)[0] == found


def test_greedy_samples_are_written_once(bank, folder):
    found, seen = ask(bank, folder, request=ResponseRequest(samples=3, max_new_tokens=6))
    assert found == [some * 3 for some in ask(bank, folder)[0]]
    assert seen[-1] == (30, 30) and seen == sorted(seen)


def test_only_what_is_missing_is_asked(bank, folder):
    ask(bank, folder, QUESTIONS[:8])
    kept = {file: file.stat().st_mtime_ns for file in files(bank)}
    assert ask(bank, folder)[1][0] == (8, 10)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


@pytest.mark.parametrize(
    "other",
    [
        {"request": ResponseRequest(max_new_tokens=7)},
        {"request": ResponseRequest(max_new_tokens=6, system="Think.")},
        {"request": ResponseRequest(max_new_tokens=6, temperature=0.5)},
        {"request": ResponseRequest(max_new_tokens=6, temperature=0.5, seed=2)},
        {"dtype": torch.bfloat16},
        {"questions": [*QUESTIONS[1:], QUESTIONS[0]]},
    ],
    ids=["limit", "system", "temperature", "seed", "dtype", "order"],
)
def test_another_question_is_not_answered_from_memory(bank, folder, other):
    ask(bank, folder)
    if "request" in other and other["request"].seed:
        ask(bank, folder, request=replace(other["request"], seed=1))
    assert ask(bank, folder, **other)[1][0] == (0, 10)


def test_what_makes_no_difference_to_greedy_answers_is_no_other_question(bank, folder):
    first, _ = ask(bank, folder)
    assert ask(bank, folder, request=replace(SHORT, seed=7, top_p=0.5)) == (first, [(10, 10)])


def test_another_model_under_the_same_name_is_another_teacher(bank, copied):
    ask(bank, copied)
    weights = load_file(copied / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert ask(bank, copied)[1][0] == (0, 10)


# --- ends and thoughts ----------------------------------------------------------------------------------------------


def rewritten(folder, tokenizer=None, **generation):
    """A teacher's folder with other ends."""
    model = load_model(folder)
    for key, value in generation.items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(folder)
    if tokenizer is not None:
        for left in (*folder.glob("tokenizer*"), *folder.glob("*.jinja")):
            left.unlink()
        tokenizer.save_pretrained(folder)
    return folder


def test_answers_that_reach_the_limit_are_unfinished_and_others_are_not(bank, copied):
    first, _ = ask(bank, copied)
    assert not any(some[0].finished for some in first) and {some[0].tokens for some in first} == {6}
    written = load_tokenizer(copied)(first[0][0].text, add_special_tokens=False).input_ids
    ended, _ = ask(bank, rewritten(copied, eos_token_id=[written[0]]))
    assert ended[0] == [Response("", True, 0)]


def test_a_base_model_that_knows_no_end_still_ends_and_it_is_said(bank, warnings, copied):
    tokenizer = load_tokenizer(copied)
    tokenizer.chat_template = tokenizer.eos_token = None
    found, _ = ask(bank, rewritten(copied, tokenizer, eos_token_id=None))
    assert {(some[0].finished, some[0].tokens) for some in found} == {(False, 6)}
    assert [code for code, _ in warnings] == ["teacher_never_ends"] and "'qwen'" in warnings[0][1]


CHAT, THINKS = "<|im_end|>\n<|im_start|>assistant\n", "<think>\n"


@pytest.mark.parametrize(
    ("after", "prefill", "prompt", "opening"),
    [
        (CHAT, "", CHAT, ""),
        (CHAT + THINKS, "", CHAT + THINKS, THINKS),  # as Qwen3-4B-Thinking-2507
        (CHAT + "<think>\n\n</think>\n\n", "", CHAT + "<think>\n\n</think>\n\n", ""),  # told not to think
        (CHAT, THINKS, CHAT + THINKS, THINKS),
        (CHAT + THINKS, THINKS, CHAT + THINKS, THINKS),  # never twice
        (CHAT + THINKS, "<think>", CHAT + THINKS, THINKS),
        (CHAT + "<think>\n\n</think>\n\n", THINKS, CHAT + THINKS, THINKS),  # as Qwen3-4B: let it think
        (CHAT + THINKS, "Let me see.", CHAT + THINKS + "Let me see.", THINKS + "Let me see."),
        ("", "#### ", "#### ", "#### "),
    ],
)
def test_what_an_answer_begins_with_is_in_the_prompt_once_and_part_of_the_answer(after, prefill, prompt, opening):
    assert prefilled(after, prefill) == (prompt, opening)


def test_a_prefill_is_written_before_the_first_token_and_kept(bank, copied):
    plain, _ = ask(bank, copied)
    begun, _ = ask(bank, copied, request=replace(SHORT, prefill=THINKS))
    assert all(some[0].text.startswith("<think>\n") and some[0].tokens == 6 for some in begun)
    assert [some[0].text for some in plain] != [some[0].text.removeprefix("<think>\n") for some in begun]
    assert ask(bank, copied)[0] == plain


def test_a_thinking_teachers_answers_open_their_thought(bank, copied):
    tokenizer = load_tokenizer(copied)
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    found, _ = ask(bank, rewritten(copied, tokenizer), QUESTIONS[:2])
    assert all(some[0].text.startswith("<think>\n") and some[0].tokens == 6 for some in found)
