"""Drawing: the distribution it should be, the same answer whatever stands beside it, nothing else's chance touched."""

import copy

import pytest
import torch

from distill.config.errors import UserError
from distill.data.problems import generate
from distill.models.chat_template import end_token, template_of
from distill.models.generation import Manner, Sitting, generate_batch, generate_ids
from distill.models.sampling import Sampling, pick

NEW = 8  # tokens
LOGITS = torch.tensor([0.5, -1.0, 2.0, float("-inf"), 1.0, 0.5])


@pytest.fixture(scope="module")
def student(tiny):
    """An untrained model: nearly every token is as likely, so no two samples are alike by accident."""
    return tiny("student-tiny")


@pytest.fixture(scope="module")
def prompts(student):
    template = template_of(student[1])
    return [template.render(problem.question[: 20 + 15 * k]) for k, problem in enumerate(generate("held_out", 6))]


def shares(temperature, top_p, n=20_000):
    """How much of the unit interval leads to each token."""
    uniform_N1 = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    tokens = pick(LOGITS.expand(n, -1), uniform_N1, temperature, top_p)
    return torch.bincount(tokens[:, 0], minlength=len(LOGITS)) / n


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_every_token_has_its_share_of_the_interval(temperature):
    torch.testing.assert_close(shares(temperature, 1.0), (LOGITS / temperature).softmax(0), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("top_p", "left"),
    [
        (0.01, [2]),  # one at least
        (0.7, [2, 4]),  # 0.54 alone is too little
        (0.8, [2, 4, 0]),  # of two as likely the first is enough
        (0.9, [2, 4, 0, 5]),
        (0.999, [2, 4, 0, 5, 1]),
    ],
)
def test_top_p_leaves_the_fewest_likeliest_that_make_it_up(top_p, left):
    probabilities = LOGITS.softmax(0)
    expected = torch.zeros(len(LOGITS))
    expected[left] = probabilities[left] / probabilities[left].sum()
    torch.testing.assert_close(shares(1.0, top_p), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("top_p", [1.0, 0.9999999])
def test_what_is_ruled_out_is_never_drawn_however_the_draw_falls(top_p):
    logits = torch.tensor([[1.0, 2.0, float("-inf"), float("-inf")]]).expand(2, -1)
    assert pick(logits, torch.tensor([[0.0], [1.0]], dtype=torch.float64), 1.0, top_p).max() <= 1


def test_a_sample_is_the_same_whatever_stands_beside_it(student, prompts):
    sampling = Sampling(1.0, 0.95, seed=3)
    # In 64 bits: in 32 padding changes the last digit of logits, and what makes up 0.95 may end at such a digit.
    student = copy.deepcopy(student[0]).double(), student[1]
    whole = generate_batch(*student, prompts, NEW, manner=Manner(sampling))
    assert len({completion.tokens for completion in whole}) == len(prompts)
    for batch_size in (1, 4):
        assert generate_batch(*student, prompts, NEW, batch_size, Manner(sampling)) == whole
    assert generate_batch(*student, prompts[::-1], NEW, manner=Manner(sampling)) == whole[::-1]
    assert generate_batch(*student, prompts[2:3], NEW, manner=Manner(sampling)) == whole[2:3]


def test_copies_of_a_prompt_and_other_seeds_are_answered_differently(student, prompts):
    same = [
        completion.tokens
        for completion in generate_batch(*student, prompts[:1] * 3, NEW, manner=Manner(Sampling(1, seed=3)))
    ]
    assert len(set(same)) == 3
    other = generate_batch(*student, prompts[:1], NEW, manner=Manner(Sampling(1, seed=4)))[0].tokens
    assert other not in same


def test_the_global_random_state_is_neither_read_nor_changed(student, prompts):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = generate_batch(*student, prompts[:2], NEW, manner=Manner(Sampling(1, seed=0)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert generate_batch(*student, prompts[:2], NEW, manner=Manner(Sampling(1, seed=0))) == first


def test_at_a_low_temperature_or_top_p_it_is_greedy(student, prompts):
    greedy = generate_batch(*student, prompts, NEW)
    assert generate_batch(*student, prompts, NEW, manner=Manner(Sampling(1e-6, seed=0))) == greedy
    assert generate_batch(*student, prompts, NEW, manner=Manner(Sampling(1.0, 1e-9, seed=0))) == greedy
    assert generate_batch(*student, prompts, NEW, manner=Manner(finite=True)) == greedy


@pytest.mark.parametrize("manner", [Manner(Sampling(1, seed=0)), Manner(finite=True)])
def test_logits_that_are_no_numbers_are_one_sentence(student, prompts, manner):
    model, tokenizer = copy.deepcopy(student)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="logits are not finite"):
        generate_batch(model, tokenizer, prompts, NEW, manner=manner)


@pytest.mark.parametrize(("temperature", "top_p"), [(0, 1), (-1, 1), (1, 0), (1, 1.1), (float("nan"), 1)])
def test_there_is_no_drawing_at_such_settings(temperature, top_p):
    with pytest.raises(ValueError, match="no drawing"):
        Sampling(temperature, top_p, seed=0)


# --- tokens in, tokens out -------------------------------------------------------------------------------------------


def test_tokens_alone_are_the_same_answers_and_end_with_their_end(student, prompts):
    model, tokenizer = student
    rows = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    sampling = Sampling(1.0, seed=5)
    expected = [c.tokens for c in generate_batch(model, tokenizer, prompts, NEW, manner=Manner(sampling))]
    ends = [end_token(tokenizer)]
    assert [tuple(row) for row in generate_ids(model, rows, ends, NEW, sampling)] == expected
    ends = [expected[0][2], *ends]
    found = generate_ids(model, rows, ends, NEW, sampling)
    first = expected[0].index(ends[0])
    assert tuple(found[0]) == expected[0][: first + 1]
    assert all(row[-1] in ends or len(row) == NEW for row in found)
    assert generate_ids(model, [], ends, NEW) == []


def test_logits_beyond_the_vocabulary_are_never_drawn(student, prompts):
    model, tokenizer = student
    rows = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    for sampling in (Sampling(1.0, seed=5), Sampling(1.0, 0.9, seed=5), None):
        found = [token for row in generate_ids(model, rows, [], NEW, sampling, vocabulary=40) for token in row]
        assert len(found) == NEW * len(rows) and max(found) < 40


# --- special tokens and ends -----------------------------------------------------------------------------------------


def always(student, tokens):
    """A model that writes `tokens` one after another whatever it reads, and then an end of turn for ever."""
    model, tokenizer = copy.deepcopy(student)
    end = end_token(tokenizer)

    class Says(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.weight, self.said = head.weight, 0

        def forward(self, states_BLD):
            logits = states_BLD.new_zeros(*states_BLD.shape[:2], len(self.weight))
            logits[..., tokens[self.said] if self.said < len(tokens) else end] = 1
            self.said += 1
            return logits

    model.lm_head = Says(model.lm_head)
    return model, tokenizer


def test_special_tokens_that_are_text_stay_whole_where_asked(student, prompts):
    model, tokenizer = copy.deepcopy(student)
    added = ["<think>", "</think>", "<|pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": added[:2], "pad_token": added[2]})
    model.resize_token_embeddings(len(tokenizer))
    trace, answer = tokenizer.encode("3 * 24"), tokenizer.encode("#### 72")
    opens, closes, pad = tokenizer.convert_tokens_to_ids(added)
    says = [opens, *trace, closes, pad, *answer]
    kept = generate_batch(*always((model, tokenizer), says), prompts[:2], 40, manner=Manner(keep_special=True))
    assert [completion.text for completion in kept] == ["<think>3 * 24</think>#### 72"] * 2
    assert all(completion.finished and completion.tokens == tuple(says) for completion in kept)
    plain = generate_batch(*always((model, tokenizer), says), prompts[:1], 40)
    assert plain[0].text == "3 * 24#### 72"


def test_where_no_end_is_known_the_limit_ends_an_answer(student, prompts):
    model, tokenizer = copy.deepcopy(student)
    model.generation_config.eos_token_id = None
    completions = generate_batch(
        model, tokenizer, prompts, NEW, manner=Manner(ends=[]), sitting=Sitting(lambda *now: None)
    )
    assert all(len(completion.tokens) == NEW and not completion.finished for completion in completions)
