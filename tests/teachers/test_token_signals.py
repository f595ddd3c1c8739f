"""What a teacher says of each token, for every architecture, against whole logits; and how the bank keeps it."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.data.encoding import encode
from distill.data.problems import generate
from distill.losses import chunked
from distill.models.chat_template import end_token
from distill.models.loading import load_model, load_tokenizer
from distill.teachers import signals
from distill.teachers.ragged import Ragged
from distill.teachers.requests import of_train
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import Request, compute, read
from distill.zoo.cards import CARDS

NAMES = [name for name, card in CARDS.items() if not card.is_student]
TEXTS = [(p.question, p.solution) for p in generate("held_out", 9)]
ODD = ("What is caf\u00e9 \U0001f60a?", "It is \u7b54 \U0001f60a = 2")
ASKED = {"top_k": 5, "temperature": 2.0, "layers": (0, 2, 4)}
EVERY = Request(frozenset(signals.TOKENWISE), **ASKED)


def by_hand(model, tokenizer, text):
    """ids, ends, log-probabilities of all tokens at each place [m, V], and the states [layers, m, D] of one text."""
    example = encode(tokenizer, *text)
    with torch.no_grad():
        out = model(torch.tensor([example.input_ids]), output_hidden_states=True)
    start = example.completion_start
    states = torch.stack([out.hidden_states[layer][0, start:] for layer in ASKED["layers"]])
    real = max(tokenizer.get_vocab().values()) + 1
    return example.input_ids[start:], example.ends, out.logits[0, start - 1 : -1, :real].float(), states


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_signal_by_hand(tiny, name):
    model, tokenizer = tiny(name)
    texts = [*TEXTS[:4], ODD]
    found = compute(model, tokenizer, texts, EVERY, batch_size=2)
    assert list(found) == list(EVERY.answers) == ["tokens", "token_logprobs", "topk_logprobs", "topk_ids", "hidden"]
    for row, text in enumerate(texts):
        ids, ends, logits, states = by_hand(model, tokenizer, text)
        said = {signal: values.row(row) for signal, values in found.items()}
        assert said["tokens"].tolist() == [list(pair) for pair in zip(ids, ends, strict=True)]
        assert ids[-1] == end_token(tokenizer) and ends[-1] == -1  # what ends the answer is among them
        close(said["token_logprobs"], logits.log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)])
        log_p = (logits / 2).log_softmax(-1)
        close(said["topk_logprobs"], log_p.sort(descending=True).values[:, :5])
        close(log_p.gather(1, said["topk_ids"].long()), said["topk_logprobs"])  # ids that belong to them, ties or not
        unit = (states / states.square().mean(-1, keepdim=True).sqrt()).transpose(0, 1)
        torch.testing.assert_close(said["hidden"].float(), unit, atol=5e-3, rtol=2e-3)
    kinds = {signal: (values.values.dtype, tuple(values.values.shape[1:])) for signal, values in found.items()}
    assert kinds == {
        "tokens": (torch.int32, (2,)),
        "token_logprobs": (torch.float32, ()),
        "topk_logprobs": (torch.float32, (5,)),
        "topk_ids": (torch.int32, (5,)),
        "hidden": (torch.float16, (3, model.config.hidden_size)),
    }


def test_logits_that_are_no_token_count_for_nothing(tiny):
    model, tokenizer = tiny("sibling-tiny")
    real = len(tokenizer)
    assert model.get_output_embeddings().weight.shape[0] > real
    model = copy.deepcopy(model)
    model.get_output_embeddings().weight.data[real:] *= 1000
    found = compute(model, tokenizer, TEXTS[:2], Request(frozenset({"token_logprobs", "topk"}), top_k=10_000))
    assert found["topk_ids"].values.shape[1] == real and found["topk_ids"].values.max() == real - 1
    close(found["topk_logprobs"].values.exp().sum(-1), torch.ones(len(found["topk_ids"].values)))
    assert (found["token_logprobs"].values > -20).all()


def test_logits_in_pieces_are_the_same(tiny, monkeypatch):
    model, tokenizer = tiny("qwen2-tiny")
    whole = compute(model, tokenizer, TEXTS[:3], EVERY)
    monkeypatch.setattr(signals, "ELEMENTS", 7 * len(tokenizer))
    assert chunked.ELEMENTS > signals.ELEMENTS
    parts = compute(model, tokenizer, TEXTS[:3], EVERY)
    for signal in ("token_logprobs", "topk_logprobs"):
        close(parts[signal].values, whole[signal].values)


def test_tokens_alone_need_no_model_at_work(tiny):
    _, tokenizer = tiny("gemma2-tiny")
    examples = [encode(tokenizer, *text) for text in TEXTS[:3]]
    found = read(examples, None, None, None, Request(frozenset({"tokens"})))
    assert found["tokens"].lengths.tolist() == [e.labelled for e in examples]


def test_what_is_said_of_texts_is_the_same_to_the_bit_beside_what_is_said_of_tokens(tiny):
    model, tokenizer = tiny("smollm2-tiny")
    for pooling in ("rms", "mean"):
        alone = compute(model, tokenizer, TEXTS, Request(pooling=pooling), batch_size=4)
        both = Request(frozenset({*alone, *signals.TOKENWISE}), pooling=pooling, **ASKED)
        seen = []
        found = compute(model, tokenizer, TEXTS, both, 4, lambda *now, seen=seen: seen.append(now))
        assert all(torch.equal(found[signal], values) for signal, values in alone.items())
        assert seen == [(done, 9) for done in (4, 8, 9)]  # one pass
    # The likelihood of the tokens without the end is the same likelihood.
    bytes_of = [len(solution.encode()) for _, solution in TEXTS]
    nats = [-found["token_logprobs"].row(row)[:-1].sum() / bytes_of[row] for row in range(9)]
    close(found["nll_per_byte"], torch.stack(nats))


def test_what_is_cut_has_no_end_token(tiny):
    model, tokenizer = tiny("nemotron-tiny")
    length = len(encode(tokenizer, *TEXTS[0]).input_ids)
    found = compute(model, tokenizer, TEXTS[:1], Request(frozenset({"tokens"}), max_length=length - 4))
    assert found["tokens"].row(0)[-1].tolist() != [end_token(tokenizer), -1]
    assert (found["tokens"].row(0)[:, 1] > 0).all()
    found = compute(model, tokenizer, TEXTS[:1], Request(frozenset({"tokens"}), max_characters=len(TEXTS[0][0]) + 9))
    assert found["tokens"].row(0)[-1, 1] == 9
    found = compute(model, tokenizer, [("Why?", "")], EVERY)
    assert found["tokens"].row(0).tolist() == [[end_token(tokenizer), -1]] and found["hidden"].lengths.tolist() == [1]


def test_refusals(tiny):
    with pytest.raises(ValueError, match="'topk' needs a top_k"):
        Request(frozenset({"topk"}))
    with pytest.raises(ValueError, match="'hidden' needs the layers"):
        Request(frozenset({"hidden"}))
    with pytest.raises(UserError, match="is too long: nothing of its solution is left"):
        compute(*tiny("qwen2-tiny"), TEXTS, Request(frozenset({"tokens"}), max_length=5))


# --- kept -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bank(tmp_path):
    warned = []
    return SignalBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warned.append(warning))


def ask(bank, path, request, texts=TEXTS, **more):
    seen = []
    found = bank.ask("qwen", path, texts, request, on_progress=lambda *now: seen.append(now), **more)
    return found, seen[0]


def same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[s].values, expected[s].values) and torch.equal(found[s].lengths, expected[s].lengths)
        for s in expected
    )


def files(bank):
    return sorted(file.name.rpartition("-")[0] for file in bank.cache_dir.rglob("*.safetensors"))


def test_it_is_kept_and_found_again(bank, tiny_folder):
    folder = tiny_folder("qwen2-tiny")
    first, asked = ask(bank, folder, EVERY)
    assert asked == (0, 9) and files(bank) == sorted(EVERY.answers * 3)
    again, asked = ask(bank, folder, EVERY)
    assert asked == (9, 9) and same(again, first)
    direct = compute(load_model(folder), load_tokenizer(folder), TEXTS, EVERY)
    assert torch.equal(first["tokens"].values, direct["tokens"].values)
    assert all(isinstance(values, Ragged) and len(values) == 9 for values in first.values())
    for signal in ("token_logprobs", "topk_logprobs"):
        close(first[signal].values, direct[signal].values)


@pytest.mark.parametrize(
    ("changed", "asked_again"),
    [
        ({"layer": 0.25}, []),
        ({"pooling": "mean"}, []),
        ({"layers": (1,)}, ["hidden"]),
        ({"top_k": 3}, ["topk_ids", "topk_logprobs"]),
        ({"temperature": 1.0}, ["topk_ids", "topk_logprobs"]),
        ({"max_characters": 100}, sorted(EVERY.answers)),
        ({"system": "Think."}, sorted(EVERY.answers)),
    ],
    ids=str,
)
def test_each_signal_depends_on_what_decides_it_only(bank, tiny_folder, changed, asked_again):
    folder, texts = tiny_folder("qwen2-tiny"), TEXTS[:3]
    ask(bank, folder, EVERY, texts)
    before = files(bank)
    other = Request(EVERY.needs, **{**ASKED, **changed})
    found, _ = ask(bank, folder, other, texts)
    assert sorted(files(bank)) == sorted([*before, *asked_again])
    direct = compute(load_model(folder), load_tokenizer(folder), texts, other)
    close(found["topk_logprobs"].values, direct["topk_logprobs"].values)
    assert found["hidden"].values.shape == direct["hidden"].values.shape


def test_half_of_an_answer_is_asked_for_again(bank, tiny_folder):
    folder = tiny_folder("qwen2-tiny")
    first, _ = ask(bank, folder, EVERY, TEXTS[:4])
    (file,) = bank.cache_dir.rglob("topk_ids-*")
    stored = load_file(file)
    save_file({**stored, "lengths": stored["lengths"].flip(0)}, file, metadata={"sha256": "of something else"})
    again, asked = ask(bank, folder, EVERY, TEXTS[:4])
    assert asked == (0, 4) and same(again, first)
    assert ask(bank, folder, EVERY, TEXTS[:4])[1] == (4, 4)


def test_numbers_that_are_not_finite_name_the_text(bank, tiny_folder, tmp_path):
    folder = Path(tmp_path / "broken")
    model, tokenizer = load_model(tiny_folder("qwen2-tiny")), load_tokenizer(tiny_folder("qwen2-tiny"))
    model.get_input_embeddings().weight.data[tokenizer("?").input_ids[0]] = float("nan")
    model.save_pretrained(folder), tokenizer.save_pretrained(folder)
    request = Request(frozenset({"hidden"}), layers=(2,))
    with pytest.raises(UserError, match=r"not finite .* for 1 of 2 texts, such as 'Why"):
        ask(bank, folder, request, [("Say 7.", "7"), ("Why?", "So.")])


def test_a_run_asks_a_teacher_for_both_at_once():
    asked = {"student": "student-tiny", "teachers": ["qwen2-tiny"], "objectives": ["cross_tokenizer", "geometry"]}
    wanted = of_train(configs.parse(asked), "qwen2-tiny", 0.5, "mean", {})
    needs = {"pooled", "nll_per_byte", "tokens", "token_logprobs"}
    assert wanted == Request(frozenset(needs), 0.5, "mean")
    assert of_train(configs.parse({**asked, "objectives": ["response"]}), "qwen2-tiny", 0.5, "mean", {}) is None
