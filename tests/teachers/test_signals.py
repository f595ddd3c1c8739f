"""What a teacher says of a text: by hand, alone or in a batch, for every architecture and tokenizer of the zoo."""

import copy
import math

import pytest
import torch

from distill.config.errors import Stopped, UserError
from distill.data.encoding import encode
from distill.data.problems import generate
from distill.models.chat_template import render
from distill.models.pooling import layer_at
from distill.teachers.signals import SIGNALS, WHOLE, Request, compute
from distill.zoo.cards import TEACHERS

NAMES = [card.name for card in TEACHERS]
TEXTS = [(p.question, p.solution) for p in generate("held_out", 13)]
ODD = ("What is caf\u00e9 \U0001f60a?", "It is \u7b54 \U0001f60a = 2")


def by_hand(model, tokenizer, question, solution):
    """Nats per byte and every layer's hidden states of one text, from whole logits, token by token."""
    prompt = render(tokenizer, question)
    before = tokenizer(prompt, add_special_tokens=False).input_ids
    ids = tokenizer(prompt + solution, add_special_tokens=False).input_ids
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    log_p = out.logits[0].log_softmax(-1)
    nats = -sum(log_p[i - 1, ids[i]].item() for i in range(len(before), len(ids)))
    return nats / len(solution.encode()), out.hidden_states


@pytest.mark.parametrize("name", NAMES)
def test_the_likelihood_is_nats_per_byte_of_the_solution_without_its_end(tiny, name):
    model, tokenizer = tiny(name)
    texts = [*TEXTS[:3], ODD]
    found = compute(model, tokenizer, texts, Request())["nll_per_byte"]
    assert found.tolist() == pytest.approx([by_hand(model, tokenizer, *text)[0] for text in texts], abs=1e-4)
    # An untrained model finds every token about equally likely; a digit is a token and a byte, and nothing is shared.
    assert found[0].item() == pytest.approx(
        math.log(len(tokenizer)) * encode(tokenizer, *TEXTS[0], end=False).labelled / len(TEXTS[0][1]), rel=0.2
    )


@pytest.mark.parametrize("pooling", ["mean", "rms"])
@pytest.mark.parametrize("name", NAMES)
def test_the_pooled_vector_is_the_mean_over_tokens_at_its_layer(tiny, name, pooling):
    model, tokenizer = tiny(name)
    question, solution = TEXTS[0]
    depth = model.config.num_hidden_layers
    for layer in (1, 3, depth):
        states = by_hand(model, tokenizer, question, solution)[1][layer][0]
        if pooling == "rms":  # the card's mean weighs every token, this one only those that say what the text is about
            states = states[torch.tensor(encode(tokenizer, question, solution, end=False).content).bool()]
            states = states / states.square().mean(1, keepdim=True).add(1e-6).sqrt()
        request = Request(layer=layer / depth, pooling=pooling)
        found = compute(model, tokenizer, [(question, solution)], request)["pooled"]
        torch.testing.assert_close(found[0], states.mean(0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "rms"])
@pytest.mark.parametrize("name", NAMES)
def test_the_layers_are_those_that_one_may_ask_for_and_the_embeddings(tiny, name, pooling):
    model, tokenizer = tiny(name)
    texts, asked, depth = TEXTS[:5], {"pooling": pooling}, model.config.num_hidden_layers
    found = compute(model, tokenizer, texts, Request(needs=frozenset(WHOLE), **asked), batch_size=8)
    layers = found["pooled_layers"]
    assert layers.shape == (5, depth + 1, model.config.hidden_size) and layers.dtype == torch.float32
    for layer in range(1, depth + 1):
        alone = compute(model, tokenizer, texts, Request(layer=layer / depth, **asked))["pooled"]
        torch.testing.assert_close(layers[:, layer], alone, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(layers[:, round(0.75 * depth)], found["pooled"])
    states = by_hand(model, tokenizer, *texts[0])[1][0][0]
    if pooling == "rms":
        states = states[torch.tensor(encode(tokenizer, *texts[0], end=False).content).bool()]
        states = states / states.square().mean(1, keepdim=True).add(1e-6).sqrt()
    torch.testing.assert_close(layers[0, 0], states.mean(0), atol=1e-4, rtol=1e-3)


def test_layers_are_counted_from_the_first_block():
    assert [layer_at(f, 4) for f in (0.01, 0.25, 0.6, 0.75, 1.0)] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_the_same_alone_and_in_any_batch(tiny, name):
    model, tokenizer = tiny(name)
    texts = [*TEXTS, ODD, ("Why?", "So.")]
    alone = [compute(model, tokenizer, [text], Request()) for text in texts]
    for batch_size in (1, 4, 64):
        together = compute(model, tokenizer, texts, Request(), batch_size)
        for signal in SIGNALS:
            expected = torch.cat([one[signal] for one in alone])
            torch.testing.assert_close(together[signal], expected, atol=1e-4, rtol=1e-4)


def test_padding_is_known_by_the_mask_not_by_an_id(tiny):
    model, tokenizer = tiny("smollm2-tiny")
    expected = compute(model, tokenizer, TEXTS, Request())
    # A token that pads is a special one from then on: one that is in none of these texts.
    read = {token for text in TEXTS for token in encode(tokenizer, *text).input_ids}
    unread = next(number for number in range(300, len(tokenizer)) if number not in read)
    for pad in (tokenizer.eos_token, tokenizer.convert_ids_to_tokens(unread)):  # SmolLM2: pad is eos
        other = copy.deepcopy(tokenizer)
        other.pad_token = pad
        found = compute(model, other, TEXTS, Request())
        for signal in SIGNALS:
            torch.testing.assert_close(found[signal], expected[signal], atol=1e-5, rtol=1e-5)


def test_only_what_is_needed_is_said_and_it_can_be_trained_on(tiny):
    model, tokenizer = tiny("qwen2-tiny")
    both = compute(model, tokenizer, TEXTS, Request())
    for signal in SIGNALS:
        found = compute(model, tokenizer, TEXTS, Request(needs=frozenset({signal})))
        assert list(found) == [signal]
        torch.testing.assert_close(found[signal], both[signal])
        assert found[signal].dtype == torch.float32 and not found[signal].is_inference()
    assert both["pooled"].shape == (len(TEXTS), model.config.hidden_size) and both["nll_per_byte"].shape == (
        len(TEXTS),
    )
    with pytest.raises(ValueError, match="no signal 'logits'"):
        Request(needs=frozenset({"logits"}))


def test_probe_texts_are_cut_by_characters(tiny):
    model, tokenizer = tiny("gemma2-tiny")
    question, solution = TEXTS[0]
    for left in (5, 0):
        cut = compute(model, tokenizer, [TEXTS[0]], Request(max_characters=len(question) + left))
        same = compute(model, tokenizer, [(question, solution[:left])], Request())
        for signal in SIGNALS:
            torch.testing.assert_close(cut[signal], same[signal])
    assert cut["nll_per_byte"].item() == 0  # nothing to say is said with certainty
    only_question = compute(model, tokenizer, [TEXTS[0]], Request(max_characters=20))["pooled"]
    torch.testing.assert_close(only_question, compute(model, tokenizer, [(question[:20], "")], Request())["pooled"])


def test_a_system_turn_is_read(tiny):
    model, tokenizer = tiny("qwen2-tiny")
    plain = compute(model, tokenizer, TEXTS[:1], Request())
    told = compute(model, tokenizer, TEXTS[:1], Request(system="Think."))
    assert not torch.allclose(plain["pooled"], told["pooled"], atol=1e-4)


def test_a_text_too_long_for_the_teacher_is_cut_and_one_without_solution_refused(tiny):
    model, tokenizer = tiny("nemotron-tiny")  # a token a digit, made for 512
    question, solution = "7" * 300, "1234567890" * 36
    found = compute(model, tokenizer, [(question, solution)], Request())
    prompt = len(tokenizer(render(tokenizer, question), add_special_tokens=False).input_ids)
    shorter = compute(model, tokenizer, [(question, solution[: 512 - prompt])], Request())
    for signal in SIGNALS:
        torch.testing.assert_close(found[signal], shorter[signal])
    with pytest.raises(UserError, match=r"begins '7+' is too long: nothing of its solution is left within 512 tokens"):
        compute(model, tokenizer, [TEXTS[0], ("7" * 600, solution)], Request())
    pooled = compute(model, tokenizer, [("7" * 600, solution)], Request(needs=frozenset({"pooled"})))["pooled"]
    assert pooled.isfinite().all()


def test_progress_and_stopping(tiny):
    model, tokenizer = tiny("qwen2-tiny")
    seen = []
    compute(model, tokenizer, TEXTS, Request(), 5, lambda *now: seen.append(now))
    assert seen == [(5, 13), (10, 13), (13, 13)]
    with pytest.raises(Stopped):
        compute(model, tokenizer, TEXTS, Request(), 5, lambda *now: seen.append(now), lambda: len(seen) == 4)
    assert len(seen) == 4
