"""What a student's tokens are in a teacher's vocabulary, for the zoo's tokenizers and some of other kinds."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from distill.models.chat_template import end_token
from distill.teachers.token_map import bridge, surfaces

ROOM = Path(__file__).parents[2] / "assets" / "zoo"
ZOO = [path.name for path in sorted(ROOM.glob("*-tiny"))]


def load(name):
    return AutoTokenizer.from_pretrained(ROOM / name)


def sentencepiece():
    """As Llama 2: a space of its own before every text, and bytes for what has no token."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "\u2581is", "i", "s", "7"]
    tokenizer = Tokenizer(models.Unigram([(p, -1.0 - (len(p) == 1)) for p in pieces], unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", ZOO)
def test_the_bytes_of_the_tokens_of_a_text_are_the_text(name):
    tokenizer = load(name)
    table, text = surfaces(tokenizer), "Tom has 3 * 24 = 72 apples.\n#### 72"
    ids = tokenizer("x" + text, add_special_tokens=False).input_ids
    assert b"".join(table[index] for index in ids).decode() == "x" + text
    assert len(table) == max(tokenizer.get_vocab().values()) + 1
    assert table[end_token(tokenizer)] is None


def test_a_byte_level_token_may_be_half_a_character():
    tokenizer = load("student-tiny")
    ids = tokenizer("\U0001f60a", add_special_tokens=False).input_ids
    assert [surfaces(tokenizer)[index] for index in ids] == [bytes([byte]) for byte in "\U0001f60a".encode()]


def test_spaces_and_bytes_of_a_sentencepiece_tokenizer():
    tokenizer = sentencepiece()
    table = dict(zip(tokenizer.convert_ids_to_tokens(range(len(tokenizer))), surfaces(tokenizer), strict=True))
    assert table["\u2581"] == b" " and table["\u2581is"] == b" is" and table["i"] == b"i"
    assert table["<0xE4>"] == b"\xe4" and table["<s>"] is None and table["<unk>"] is None
    ours = load("nemotron-tiny")  # letters among its pieces
    made = bridge(ours, tokenizer)
    images = {letter: made.ids_Vk[ours.convert_tokens_to_ids(letter)][:1].tolist() for letter in "i7"}
    assert {letter: tokenizer.convert_ids_to_tokens(image) for letter, image in images.items()} == {
        "i": ["i"],
        "7": ["7"],
    }


@pytest.mark.parametrize("theirs", ZOO)
def test_what_a_bridge_must_be(theirs):
    ours, teacher = load("student-tiny"), load(theirs)
    made, here, there = bridge(ours, teacher), surfaces(ours), surfaces(teacher)
    sums = made.weights_Vk.sum(1)
    assert made.ids_Vk.shape == made.weights_Vk.shape == (len(here), 4) and made.shared_T.shape == (len(there),)
    assert ((sums - 1).abs().lt(1e-6) | (sums == 0)).all() and (made.weights_Vk >= 0).all()
    shared = [(t, int(s)) for t, s in enumerate(made.shared_T) if s >= 0]
    assert len({s for _, s in shared}) == len(shared)  # one token for one
    assert (end_token(teacher), end_token(ours)) in shared
    for t, s in shared:
        assert here[s] == there[t] or (t, s) == (end_token(teacher), end_token(ours))
    whole = 0
    for token, surface in enumerate(here):
        image = made.ids_Vk[token][made.weights_Vk[token] > 0].tolist()
        if token != end_token(ours) and image:
            made_of = b"".join(there[index] for index in image)
            assert surface.startswith(made_of) and (made_of == surface or len(image) == 4)
            whole += 1
    assert whole > len(here) / 2  # bytes of half characters are nothing to a teacher without bytes
    digits = [here.index(str(digit).encode()) for digit in range(10)]
    assert [there[index] for index in made.ids_Vk[digits, 0]] == [str(digit).encode() for digit in range(10)]
    assert torch.equal(made.weights_Vk[digits, 0], torch.ones(10))


def test_weights_are_those_of_the_authors():
    ours, theirs = load("student-tiny"), load("nemotron-tiny")
    made, here = bridge(ours, theirs), surfaces(ours)
    token = here.index(b" length")
    assert theirs.convert_ids_to_tokens(made.ids_Vk[token].tolist()) == ["\u2581le", "@@n", "@@g", "@@th"]
    torch.testing.assert_close(made.weights_Vk[token], torch.tensor([0.9, 0.09, 0.009, 0.0009]) / 0.9999)
    assert bridge(ours, theirs, k=1).weights_Vk[token].tolist() == [1.0]


def test_a_tokenizer_and_itself():
    tokenizer = load("student-tiny")
    made = bridge(tokenizer, tokenizer)
    known = made.weights_Vk.sum(1) > 0
    assert torch.equal(made.ids_Vk[known, 0], torch.arange(len(known))[known])
    assert (made.weights_Vk[known, 0] == 1).all() and torch.equal(made.shared_T[known], torch.arange(len(known))[known])
    special = len(known) - int(known.sum())
    assert special == sum(surface is None for surface in surfaces(tokenizer)) - 1  # of those, the end has a partner
