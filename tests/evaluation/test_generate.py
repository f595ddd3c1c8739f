"""Generation: the greedy answer whatever the batch, the end wherever a model may end, progress, stopping, streaming."""

import copy
import json
import shutil
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from distill.config.errors import Stopped, UserError
from distill.data.encoding import collate, encode_many
from distill.data.grading import Grade
from distill.data.problems import generate
from distill.evaluation.answering import answer_problems, score
from distill.models.chat_template import render, template_of
from distill.models.generation import Completion, Manner, Sitting, end_tokens, evaluating, follow, generate_batch
from distill.models.loading import load_model, load_tokenizer
from distill.models.sampling import Sampling

NEW = 10  # tokens


@pytest.fixture(scope="module")
def lively(tiny):
    """`lively(name)` -> (model, tokenizer). An untrained model repeats one word; with larger weights it says many."""

    @cache
    def louder(name):
        model, tokenizer = copy.deepcopy(tiny(name))
        with torch.no_grad():
            for parameter in model.model.layers.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(8)
        return model, tokenizer

    return louder


@pytest.fixture(scope="module")
def prompts(tiny):
    template = template_of(tiny("student-tiny")[1])
    return [template.render(problem.question[: 20 + 15 * k]) for k, problem in enumerate(generate("held_out", 7))]


def greedy(model, tokenizer, prompt, new=NEW):
    """The tokens of one prompt by whole forward passes: no cache, no padding, no library."""
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    written = []
    with torch.no_grad():
        for _ in range(new):
            written.append(int(model(torch.tensor([ids + written]), use_cache=False).logits[0, -1].argmax()))
    return tuple(written)


@pytest.mark.parametrize("name", ["student-tiny", "gemma2-tiny", "minicpm3-tiny"])
def test_a_batch_is_what_each_prompt_gives_alone(lively, name):
    model, tokenizer = lively(name)
    prompts = [render(tokenizer, p.question[: 20 + 15 * k]) for k, p in enumerate(generate("held_out", 5))]
    alone = [greedy(model, tokenizer, prompt) for prompt in prompts]
    for batch_size in (1, 2, 256):
        completions = generate_batch(model, tokenizer, prompts, NEW, batch_size)
        assert [completion.tokens for completion in completions] == alone
        texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in alone]
        assert [completion.text for completion in completions] == texts
        assert not any(completion.finished for completion in completions)
    assert len({token for tokens in alone for token in tokens}) > NEW  # they do say something


def test_nothing_to_answer(lively):
    model, tokenizer = lively("student-tiny")
    assert generate_batch(model, tokenizer, []) == []
    with pytest.raises(UserError, match="Prompt 1 is empty"):
        generate_batch(model, tokenizer, ["Why?", ""])


def ending_at(model, token):
    ended = copy.deepcopy(model)
    ended.generation_config.eos_token_id = token
    return ended


def test_the_generation_configs_end_ends_an_answer(lively, prompts):
    model, tokenizer = lively("student-tiny")
    written = greedy(model, tokenizer, prompts[0])
    end = written[4]
    first = written.index(end)
    for ends in (end, [tokenizer.eos_token_id, end]):
        completion = generate_batch(ending_at(model, ends), tokenizer, prompts, NEW)[0]
        assert completion == Completion(tokenizer.decode(written[:first]), written[:first], True)


def test_the_tokenizers_and_the_templates_ends_end_an_answer(lively, prompts):
    # A base student of an instruct teacher: its own config knows neither the turn's end nor the tokenizer's.
    model, tokenizer = lively("student-tiny")
    model, tokenizer = ending_at(model, None), copy.deepcopy(tokenizer)
    written = greedy(model, tokenizer, prompts[0])
    marker = tokenizer.convert_ids_to_tokens(written[3])
    turn_end = tokenizer.eos_token_id
    tokenizer.eos_token = marker
    assert end_tokens(model, tokenizer) == sorted({turn_end, written[3]})
    completion = generate_batch(model, tokenizer, prompts[:2], NEW)[0]
    assert completion.finished and completion.tokens == written[: written.index(written[3])]


def test_no_end_anywhere_is_one_sentence(lively):
    model, tokenizer = lively("student-tiny")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end token"):
        generate_batch(ending_at(model, None), tokenizer, ["Why?"], NEW)


# What a checkpoint may ask for, in groups that the library lets stand together.
WILD = {
    "sampling": {"do_sample": True, "temperature": 5.0, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.3},
    "cut-offs": {"do_sample": True, "epsilon_cutoff": 0.2, "eta_cutoff": 0.2, "top_h": 0.4},
    "penalties": {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 3.0},
    "ngrams of the prompt": {"encoder_no_repeat_ngram_size": 1},
    "beams": {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 4.0, "early_stopping": True},
    "several answers without beams": {"num_return_sequences": 3},
    "stop strings": {"stop_strings": ["a", "e", " "]},
    "a dictionary": {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True},
    "logits too": {"output_logits": True, "output_attentions": True, "return_dict_in_generate": True},
    "least lengths": {"min_new_tokens": 3, "min_length": 400},
    "most": {"max_length": 5, "max_new_tokens": 1, "max_time": 1e-9},
    "tokens ruled out": {"suppress_tokens": [*range(3, 90)], "begin_suppress_tokens": [*range(90, 200)]},
    "words ruled out": {"bad_words_ids": [[i] for i in range(3, 90)], "sequence_bias": [[[5], 50.0]]},
    "forced tokens": {"forced_bos_token_id": 7, "forced_eos_token_id": 9},
    "a longer end": {"exponential_decay_length_penalty": [1, 9.0], "renormalize_logits": True},
    "a cache": {"use_cache": False, "cache_implementation": "static"},
    "another cache": {"cache_implementation": "quantized", "cache_config": {"backend": "quanto"}},
    "a cache that nobody knows": {"cache_implementation": "mine"},
    "assistants": {"prompt_lookup_num_tokens": 3, "num_assistant_tokens": 5, "assistant_early_exit": 1},
    "a watermark": {"watermarking_config": {"bias": 50.0, "greenlist_ratio": 0.2, "context_width": 1}},
    "guidance": {"guidance_scale": 7.0},
    "low memory and contrast": {"penalty_alpha": 0.6, "top_k": 4, "low_memory": True},
    "layers": {"dola_layers": "high"},
    "healing": {"token_healing": True},
    "other tokens": {"pad_token_id": 11, "bos_token_id": 12, "decoder_start_token_id": 13},
    "what is no number": {"temperature": "warm", "num_beams": "two"},
    "a key that nobody knows": {"my_own": {"nested": [1]}, "transformers_version": "99.0"},
}


@pytest.fixture(scope="module")
def saved(lively, tmp_path_factory):
    """A folder of a tiny model whose checkpoint asks for nothing but its end."""
    model, tokenizer = lively("student-tiny")
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def answers(saved, prompts):
    model, tokenizer = load_model(saved), load_tokenizer(saved)
    return generate_batch(model, tokenizer, prompts, NEW)


@pytest.mark.parametrize("wild", WILD.values(), ids=WILD)
def test_the_checkpoint_does_not_decide_how_answers_are_written(saved, answers, prompts, tmp_path, wild):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | wild))
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    assert generate_batch(model, tokenizer, prompts, NEW) == answers
    by_lot = Manner(Sampling(0.7, seed=1), keep_special=True)  # as teachers are asked
    drawn = [generate_batch(one, tokenizer, prompts, NEW, manner=by_lot) for one in (model, load_model(saved))]
    assert drawn[0] == drawn[1] != answers


def test_nor_does_what_old_checkpoints_say_in_their_config(saved, answers, prompts, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    (folder / "generation_config.json").unlink()
    file = folder / "config.json"
    wild = {"do_sample": True, "num_beams": 4, "repetition_penalty": 3.0, "output_scores": True, "min_length": 90}
    file.write_text(json.dumps(json.loads(file.read_text()) | wild))
    assert generate_batch(load_model(folder), load_tokenizer(folder), prompts, NEW) == answers


def test_its_ends_are_heeded_wherever_it_says_them(saved, answers, prompts, tmp_path):
    end = answers[0].tokens[4]
    for number, (name, gone) in enumerate(
        [("generation_config.json", ()), ("config.json", ("generation_config.json",))]
    ):
        folder = Path(shutil.copytree(saved, tmp_path / str(number)))
        for file in gone:
            (folder / file).unlink()
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | {"eos_token_id": [end]}))
        found = generate_batch(load_model(folder), load_tokenizer(folder), prompts, NEW)[0]
        assert found.finished and found.tokens == answers[0].tokens[: answers[0].tokens.index(end)]


@pytest.mark.parametrize("text", ["{", "[]", '{"eos_token_id": "</s>"}', '{"eos_token_id": [1, null]}'])
def test_ends_that_can_not_be_read_are_one_sentence(saved, tmp_path, text):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(UserError, match="of its is damaged, or its eos_token_id is no number"):
        load_model(folder, name="its")


def test_the_models_own_generation_config_is_as_it_was(lively, prompts):
    model, tokenizer = lively("student-tiny")
    wild = copy.deepcopy(model)
    wild.generation_config.update(do_sample=True, temperature=5.0, stop_strings=["a"])
    before = wild.generation_config
    assert generate_batch(wild, tokenizer, prompts, NEW) == generate_batch(model, tokenizer, prompts, NEW)
    assert wild.generation_config is before and before.stop_strings == ["a"]


def test_modes_are_restored_and_dropout_is_off(lively, prompts):
    model, tokenizer = copy.deepcopy(lively("student-tiny"))
    model.config.attention_dropout = 0.9
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    model.train()
    model.lm_head.eval()
    completions = generate_batch(model, tokenizer, prompts, NEW)
    assert model.training and model.model.layers[0].self_attn.training and not model.lm_head.training
    assert completions == generate_batch(lively("student-tiny")[0], tokenizer, prompts, NEW)
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training
        raise ZeroDivisionError
    assert model.training


def test_training_goes_on_after_generation(lively, prompts):
    # Nothing that generation made in inference mode may linger in the model.
    model, tokenizer = copy.deepcopy(lively("phi3-tiny"))
    generate_batch(model, tokenizer, prompts, NEW)
    ids = torch.tensor([tokenizer(prompts[0]).input_ids])
    model(ids, labels=ids).loss.backward()


def test_progress_counts_answers_and_ends_at_all_of_them(lively, prompts):
    model, tokenizer = lively("student-tiny")
    end = greedy(model, tokenizer, prompts[0])[2]
    seen = []
    sitting = Sitting(lambda *now: seen.append(now))
    generate_batch(ending_at(model, end), tokenizer, prompts, NEW, batch_size=4, sitting=sitting)
    done = [now for now, _ in seen]
    assert done == sorted(done) and seen[-1] == (7, 7) and (4, 7) in seen and len(seen) > 2


def test_asked_to_stop_it_stops_at_the_next_token(lively, prompts):
    model, tokenizer = lively("student-tiny")
    asked = []
    with pytest.raises(Stopped):
        sitting = Sitting(should_stop=lambda: len(asked) == 3 or asked.append(1))
        generate_batch(model, tokenizer, prompts, NEW, sitting=sitting)
    assert len(asked) == 3


# --- from labels to answers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taught(tiny):
    """A tiny student that has learned two problems by heart, labels and end token included."""
    model, tokenizer = copy.deepcopy(tiny("student-tiny"))
    problems = generate("train", 2)
    batch = collate(encode_many(tokenizer, [(p.question, p.solution) for p in problems]).examples, None)
    del batch["content_mask"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0)
    for _ in range(80):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return model, tokenizer, problems


def test_what_was_learned_is_answered_finished_and_right(taught):
    model, tokenizer, problems = taught
    answers = answer_problems(model, tokenizer, problems)
    for answer, problem in zip(answers, problems, strict=True):
        assert answer.problem == problem
        assert (answer.completion.text, answer.completion.finished) == (problem.solution, True)
        assert answer.grade == Grade(True, problem.answer)
    assert (score(answers).correct, score(answers).families) == (2, tuple(p.family for p in problems))


def test_a_stream_is_the_same_answer_in_pieces(taught):
    model, tokenizer, problems = taught
    prompt = render(tokenizer, problems[0].question)
    texts = [completion.text for completion in follow(model, tokenizer, prompt)]
    assert texts[-1] == problems[0].solution and len(set(texts)) > 10
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert [completion.text for completion in follow(model, tokenizer, prompt, 3)] == texts[:3]


def test_a_stream_that_is_closed_leaves_the_model_as_it_was(taught):
    model, tokenizer, problems = taught
    model.train()
    written = follow(model, tokenizer, render(tokenizer, problems[0].question))
    next(written)
    assert not torch.is_inference_mode_enabled()
    written.close()
    assert model.training
    model.eval()


class Parrot(torch.nn.Module):
    """A causal language model that says the same whatever it is asked."""

    def __init__(self, tokens, width):
        super().__init__()
        self.tokens, self.width = tokens, width
        self.embedding = torch.nn.Embedding(1, 1)
        self.generation_config = SimpleNamespace(eos_token_id=None)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, past_key_values=None, **_):
        said = past_key_values or 0
        logits = torch.zeros(1, 1, self.width)
        logits[0, 0, self.tokens[said]] = 1
        return SimpleNamespace(logits=logits, past_key_values=said + 1)


def test_a_character_of_several_tokens_is_streamed_whole(tiny):
    tokenizer = tiny("qwen2-tiny")[1]
    text = "a \U0001f60a \u7b54."
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    assert len(tokens) > len(text)
    parrot = Parrot([*tokens, tokenizer.eos_token_id], len(tokenizer))
    texts = [completion.text for completion in follow(parrot, tokenizer, "Say it.")]
    assert texts[-1] == text and all(text.startswith(part) for part in texts)
