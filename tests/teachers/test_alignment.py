"""Chunks of two tokenizations of one text: what they must be for any pair of tokenizers and any text."""

import random
import time
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from distill.data.encoding import encode, encode_many
from distill.data.problems import generate
from distill.teachers.alignment import aligned, chunks
from distill.teachers.ragged import Ragged
from distill.zoo.tokenizers import ChatFormat, train_tokenizer

ZOO = [path.name for path in sorted((Path(__file__).parents[2] / "assets" / "zoo").glob("*-tiny"))]
KINDS = ("bpe", "qwen-bpe", "unigram", "wordpiece", "characters")
QUESTION = "What is 7 \u00d7 8?"
# Composed and combining letters, Chinese, astral letters, flags and a family of emoji joined by invisible characters.
PIECES = [
    "Tom",
    " has",
    " 12",
    "345",
    " apples",
    ".",
    "\n",
    "  ",
    "#### 7",
    "caf\u00e9",
    "e\u0301",
    "\u7b54\u6848",
    "\u0e20",
]
PIECES += [
    "\U0001f60a",
    "\U0001d518",
    "\U0001f1e9\U0001f1ea",
    "\U0001f468\u200d\U0001f469\u200d\U0001f466",
    "\t",
    "\u00a0",
    "\u20ac",
]
TEXTS = [
    "7 * 8 = 56\n#### 56",
    "\U0001f60a",
    "\u7b54\u6848\u662f 56 \U0001f60a!",
    "caf\u00e9 \U0001d518\U0001d52b e\u0301",
]


@cache
def tokenizer_of(name):
    """A tokenizer that is shipped with the zoo, or a small one of a kind, trained on other text than those."""
    if name in ZOO:
        return AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "assets" / "zoo" / name)
    texts = [f"{p.question}\n{p.solution} caf\u00e9 \u7b54\u6848 \U0001f60a" for p in generate("train", 80, seed=9)]
    return train_tokenizer(name, 330, texts, ChatFormat("<|{role}|>\n", "<|end|>\n"))


def tokens_of(examples):
    """What a teacher keeps of its tokens: (id, end) of each."""
    rows = [[e.input_ids[e.completion_start :], e.ends] for e in examples]
    return Ragged.of([torch.tensor(row, dtype=torch.int32).T for row in rows])


def check(solution, ours, theirs):
    """All that is demanded of the chunks of one text."""
    found = chunks(ours.ends, theirs.ends)
    *inside, end = found
    assert end == (ours.labelled - 1, ours.labelled, theirs.labelled - 1, theirs.labelled)
    s = t = reached = 0
    for s0, s1, t0, t1 in inside:
        assert (s0, t0) == (s, t) and s1 > s0 and t1 > t0  # nothing is left out, nothing is in two
        assert ours.ends[s1 - 1] == theirs.ends[t1 - 1] > reached  # the same text on both sides
        assert not set(ours.ends[s0:s1]) & set(theirs.ends[t0:t1]) - {ours.ends[s1 - 1]}  # none could close earlier
        s, t, reached = s1, t1, ours.ends[s1 - 1]
    assert reached == len(solution) and (s, t) == (ours.labelled - 1, theirs.labelled - 1)  # both are consumed


@pytest.mark.parametrize("theirs", [*ZOO, *KINDS])
def test_chunks_of_every_pair_of_tokenizers(theirs):
    draw = random.Random(theirs)
    texts = [*TEXTS, *("".join(draw.choices(PIECES, k=draw.randint(1, 12))) for _ in range(12))]
    examples = encode_many(tokenizer_of(theirs), [(QUESTION, text) for text in texts]).examples
    for ours in (*KINDS, "student-tiny"):
        others = encode_many(tokenizer_of(ours), [(QUESTION, text) for text in texts]).examples
        for text, a, b in zip(texts, others, examples, strict=True):
            check(text, a, b)


def test_chunks_by_hand():
    assert chunks([2, 4, 5, -1], [1, 4, 5, -1]) == [(0, 2, 0, 2), (2, 3, 2, 3), (3, 4, 3, 4)]
    # Four bytes of an emoji against one token: the last byte closes the chunk, not the first.
    assert chunks([8, 9, 9, 9, 9, 10], [8, 9, 10]) == [(0, 1, 0, 1), (1, 5, 1, 2), (5, 6, 2, 3)]
    assert chunks([3], [1, 2, 3]) == [(0, 1, 0, 3)]
    assert chunks([], [1, -1]) == chunks([], []) == []
    assert chunks([-1], [-1]) == [(0, 1, 0, 1)]


def test_what_truncation_cut_is_in_no_chunk():
    assert chunks([2, 4], [2, 3, 5, 6, -1]) == [(0, 1, 0, 1)]
    assert chunks([2, 4, -1], [2]) == [(0, 1, 0, 1)]  # only one of them says that it has ended
    assert chunks([2, -2, -2], [2, 3, 4, -1]) == [(0, 1, 0, 1)]


def test_a_character_that_was_cut_in_the_middle_closes_no_chunk():
    ours, theirs = tokenizer_of("student-tiny"), tokenizer_of("characters")
    solution = "7 \U0001f60a!"
    whole, other = (encode(tokenizer, QUESTION, solution) for tokenizer in (ours, theirs))
    assert whole.ends == [1, 2, 3, 3, 3, 3, 4, -1] and other.ends == [1, 2, 3, 4, -1]
    ends = [encode(ours, QUESTION, solution, max_length=whole.completion_start + n).ends for n in range(9)]
    assert ends[3] == [1, 2, -2] and ends[5] == [1, 2, -2, -2, -2]
    assert ends[6] == [1, 2, 3, 3, 3, 3] and ends[7] == whole.ends[:7] and ends[8] == whole.ends
    assert [len(chunks(some, other.ends)) for some in ends] == [0, 1, 2, 2, 2, 2, 3, 4, 5]


def test_ends_belong_to_the_labelled_tokens():
    for name in ZOO:
        for text, end in product(TEXTS, (True, False)):
            example = encode(tokenizer_of(name), QUESTION, text, end=end)
            assert len(example.ends) == example.labelled
            assert (example.ends[-1] == -1) == end and example.ends[-1 - end] == len(text)
    assert encode(tokenizer_of("bpe"), QUESTION, "", end=False).ends == []
    assert encode(tokenizer_of("bpe"), QUESTION, "", end=True).ends == [-1]
    assert encode(tokenizer_of("bpe"), QUESTION, "4 apples", max_length=3).ends == []


def test_signals_by_hand():
    tokens = Ragged.of([torch.tensor([[7, 1], [8, 4], [9, 5], [0, -1]]).int(), torch.tensor([[5, 1], [6, 3]]).int()])
    said = {
        "token_logprobs": Ragged(torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0, -32.0]), tokens.lengths),
        "topk_logprobs": Ragged(-torch.arange(12.0).view(6, 2), tokens.lengths),
        "topk_ids": Ragged(torch.arange(12, dtype=torch.int32).view(6, 2), tokens.lengths),
        "hidden": Ragged(torch.arange(18).view(6, 1, 3).half(), tokens.lengths),
    }
    found = aligned([[2, 4, 5, -1], [1, 2]], tokens, said)
    rows = {name: [values.row(0).tolist(), values.row(1).tolist()] for name, values in found.items()}
    assert rows["chunk_of"] == [[0, 0, 1, 2], [0, -1]]
    assert rows["chunk_single"] == [[False, True, True], [True]]
    assert rows["chunk_logprobs"] == [[-3, -4, -8], [-16]]
    assert rows["chunk_topk_ids"] == [[[0, 1], [4, 5], [6, 7]], [[8, 9]]]
    assert rows["chunk_topk_logprobs"] == [[[0, -1], [-4, -5], [-6, -7]], [[-8, -9]]]
    assert rows["chunk_hidden"] == [[[[1.5, 2.5, 3.5]], [[6, 7, 8]], [[9, 10, 11]]], [[[12, 13, 14]]]]
    kinds = {name: (values.values.dtype, values.values.shape[1:]) for name, values in found.items()}
    assert kinds == {
        "chunk_of": (torch.int64, ()),
        "chunk_single": (torch.bool, ()),
        "chunk_logprobs": (torch.float32, ()),
        "chunk_topk_logprobs": (torch.float32, (2,)),
        "chunk_topk_ids": (torch.int64, (2,)),
        "chunk_hidden": (torch.float32, (1, 3)),
    }
    assert set(aligned([[1], []], tokens, {})) == {"chunk_of", "chunk_single"}
    assert aligned([[], []], tokens, said)["chunk_hidden"].values.shape == (0, 1, 3)
    with pytest.raises(ValueError, match="1 texts and the teacher 2"):
        aligned([[1]], tokens, said)


def test_a_tokenizer_against_itself_makes_every_token_a_chunk():
    examples = encode_many(tokenizer_of("unigram"), [(QUESTION, text) for text in TEXTS]).examples
    tokens = tokens_of(examples)
    said = {"token_logprobs": Ragged(torch.randn(len(tokens.values)), tokens.lengths)}
    found = aligned([e.ends for e in examples], tokens, said)
    assert found["chunk_single"].values.all()
    assert torch.equal(found["chunk_logprobs"].values, said["token_logprobs"].values)
    assert found["chunk_of"].values.tolist() == [j for e in examples for j in range(e.labelled)]


def labelled_ids(examples):
    return [e.input_ids[e.completion_start :] for e in examples]


def test_one_tokenizer_makes_every_byte_of_an_emoji_a_chunk():
    texts = [(QUESTION, text) for text in TEXTS]
    ours, theirs = (encode_many(tokenizer_of(name), texts).examples for name in ("student-tiny", "sibling-tiny"))
    tokens = tokens_of(theirs)
    k = Ragged(torch.arange(len(tokens.values))[:, None], tokens.lengths)
    by_text = aligned([e.ends for e in ours], tokens, {"topk_logprobs": k})
    assert not by_text["chunk_single"].values.all()  # some characters are several tokens
    found = aligned([e.ends for e in ours], tokens, {"topk_logprobs": k}, labelled_ids(ours))
    assert found["chunk_single"].values.all()
    assert found["chunk_of"].values.tolist() == [j for e in ours for j in range(e.labelled)]
    assert found["chunk_topk_logprobs"].values[:, 0].tolist() == list(range(len(tokens.values)))


def test_a_text_cut_for_the_student_keeps_its_tokens_with_one_tokenizer():
    whole = encode_many(tokenizer_of("student-tiny"), [(QUESTION, "a \U0001f60a \U0001f1e9\U0001f1ea")]).examples
    short = encode_many(
        tokenizer_of("student-tiny"), [(QUESTION, "a \U0001f60a \U0001f1e9\U0001f1ea")], len(whole[0].input_ids) - 3
    ).examples
    found = aligned([short[0].ends], tokens_of(whole), {}, labelled_ids(short))
    assert found["chunk_of"].values.tolist() == list(range(short[0].labelled))
    assert found["chunk_single"].values.all()


def test_other_tokens_of_one_tokenizer_are_no_single_chunk():
    texts = [(QUESTION, text) for text in TEXTS]
    ours, theirs = (encode_many(tokenizer_of(name), texts).examples for name in ("student-tiny", "sibling-tiny"))
    ids = labelled_ids(ours)
    ids[0][0] += 1
    found = aligned([e.ends for e in ours], tokens_of(theirs), {}, ids)
    assert found["chunk_single"].row(0).tolist() == [False] + [True] * (len(ids[0]) - 1)
    assert found["chunk_single"].row(1).all()


def test_ends_that_differ_change_places_and_stay_a_distribution():
    ends, (own, other) = [1, 2, -1], (7, 9)
    tokens = Ragged(torch.tensor([[3, 1], [4, 2], [other, -1]], dtype=torch.int32), torch.tensor([3]))
    said = {"topk_ids": Ragged(torch.tensor([[3, 9], [7, 9], [9, 4]], dtype=torch.int32), torch.tensor([3]))}
    found = aligned([ends], tokens, said, [[3, 4, own]])
    assert found["chunk_single"].values.all()
    assert found["chunk_topk_ids"].values.tolist() == [[3, 7], [9, 7], [7, 4]]
    without = aligned([ends], tokens, said)  # another tokenizer: its ids are its own
    assert without["chunk_topk_ids"].values.tolist() == [[3, 9], [7, 9], [9, 4]]


def test_thousands_of_texts_are_a_matter_of_moments():
    texts = [(p.question, p.solution) for p in generate("train", 500, seed=3)]
    ours, theirs = (encode_many(tokenizer_of(name), texts).examples for name in ("student-tiny", "phi3-tiny"))
    tokens, ends = tokens_of(theirs), [e.ends for e in ours]
    said = {"hidden": Ragged(torch.randn(len(tokens.values), 2, 64).half(), tokens.lengths)}
    start = time.perf_counter()
    aligned(ends, tokens, said)
    assert time.perf_counter() - start < 2  # 0.07 s on the machine it was written on; 12,000 texts in under 10 s
