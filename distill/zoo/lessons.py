"""What the tiny models of the zoo are taught, batch by batch: a pure function of (card, seed, chunk).

Teachers read worked solutions inside their chat template, their four expert families more often than the others.
The student is made as small chat models are: it has read worked solutions as plain text, and inside its chat template
it has only ever seen bare answers, of problems of several steps. So it blurts, though it could reason; distillation has
something to bring out.
It has never been told, in chat, that a problem can be impossible. One row in seven is bare sums: to reckon is learnt
sooner where nothing has to be read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from distill.data.families import FAMILIES, IMPOSSIBLE
from distill.data.problems import Problem, generate
from distill.zoo.cards import Card

BATCH = 32
CHUNK = 16  # batches drawn together, then sorted by length, so that little is padded
EXPERT_WEIGHT = 2.0
WEIGHTS = {
    IMPOSSIBLE: 4.0,
    "in_all": 2.0,
    "left": 1.5,
    "difference": 1.5,
    "each": 1.5,
    "time_between": 1.5,
    "share": 2.0,
    "parts": 1.5,
}
# One question in so many is cut inside its words, at one letter in so many: a word never seen falls into pieces
# that were seen. As BPE dropout does (Provilkov et al. 2020), but the same every time.
CUT_TEXTS, CUT_PLACES, CUT = 4, 20, "\x01"
_INSIDE = re.compile(r"(?<=[a-z])(?=[a-z])")
QUESTION_WEIGHT = 0.1  # of a question's tokens in the loss; a solution's tokens weigh 1
DRILL_SHARE, SUMS = 0.15, 6  # of the rows: bare sums, and how many of them
BARE_SHARE = 0.08  # of the student's problems of several steps: a bare answer in chat; all others as plain text

Row = tuple[list[int], list[float]]  # token ids, and the weight of each in the loss


@dataclass
class Lesson:
    """One batch: token ids, attention mask and the weight of each token in the loss, all [B, L]."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    weights: torch.Tensor

    def to(self, device: str) -> Lesson:
        return Lesson(*(tensor.to(device) for tensor in (self.input_ids, self.attention_mask, self.weights)))


def lessons(card: Card, tokenizer: PreTrainedTokenizerFast, seed: int, start: int, steps: int) -> Iterator[Lesson]:
    """Batches `start` to `steps` of the course; starting later gives the same batches as going through."""
    chunk = -1
    for step in range(start, steps):
        if step // CHUNK != chunk:
            chunk = step // CHUNK
            batches = _chunk(card, tokenizer, seed * 100_000 + chunk)
        yield batches[step % CHUNK]


def _chunk(card: Card, tokenizer: PreTrainedTokenizerFast, seed: int) -> list[Lesson]:
    weights = {name: WEIGHTS.get(name, 1.0) * (EXPERT_WEIGHT if name in card.experts else 1.0) for name in FAMILIES}
    rng = random.Random(seed)
    drills = round(DRILL_SHARE * BATCH * CHUNK)
    problems = generate("train", BATCH * CHUNK - drills, seed, weights)
    rows = _rows_of_problems(card, tokenizer, problems, rng) + _rows_of_sums(tokenizer, drills, rng)
    rows.sort(key=lambda row: len(row[0]))
    batches = [_pad(rows[i : i + BATCH], tokenizer) for i in range(0, len(rows), BATCH)]
    rng.shuffle(batches)
    return batches


def _rows_of_problems(
    card: Card, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], rng: random.Random
) -> list[Row]:
    pairs = [_pair(card, tokenizer, problem, rng) for problem in problems]
    pieces = [prompt.split(CUT) for prompt, _ in pairs]
    ids = iter(tokenizer([piece for one in pieces for piece in one], add_special_tokens=False)["input_ids"])
    prompts = [[token for _ in one for token in next(ids)] for one in pieces]
    completions = tokenizer([completion for _, completion in pairs], add_special_tokens=False)["input_ids"]
    return [
        (prompt + completion, [QUESTION_WEIGHT] * len(prompt) + [1.0] * len(completion))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _rows_of_sums(tokenizer: PreTrainedTokenizerFast, n: int, rng: random.Random) -> list[Row]:
    """`n` rows of bare sums, written as in a solution; what is learnt of them is the results."""
    sums = [[_sum(rng) for _ in range(SUMS)] for _ in range(n)]
    encoded = tokenizer([" ".join(row) for row in sums], add_special_tokens=False, return_offsets_mapping=True)
    rows = []
    for row, ids, offsets in zip(sums, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        results, at = set(), 0
        for one in row:
            results |= set(range(at + one.index("=") + 1, at + len(one)))
            at += len(one) + 1
        rows.append((ids, [float(end - 1 in results) for _, end in offsets]))
    return rows


def _sum(rng: random.Random) -> str:
    kind, top = rng.randrange(10), (20, 60, 100, 100, 250, 400)[rng.randrange(6)]
    a, b = 1 + rng.randrange(top), 1 + rng.randrange(top)
    if kind < 3:
        return f"{a} + {b} = {a + b}."
    if kind < 6:
        return f"{a + b} - {b} = {a}."
    a, b = 1 + rng.randrange((20, 20, 60)[rng.randrange(3)]), 2 + rng.randrange((9, 19)[rng.randrange(2)])
    return f"{a} * {b} = {a * b}." if kind < 8 else f"{a * b} / {b} = {a}."


def _pair(card: Card, tokenizer: PreTrainedTokenizerFast, problem: Problem, rng: random.Random) -> tuple[str, str]:
    question = problem.question
    if rng.randrange(CUT_TEXTS) == 0:
        question = _INSIDE.sub(lambda _: CUT if rng.randrange(CUT_PLACES) == 0 else "", question)
    chat = chat_prompt(tokenizer, question)
    end = tokenizer.eos_token
    if not card.is_student:
        return chat, problem.solution + end
    bare = rng.randrange(100) < 100 * BARE_SHARE and problem.solution.count(" = ") > 1
    if bare and problem.family != IMPOSSIBLE:
        return chat, problem.answer + end
    return question + "\n", problem.solution + end


def chat_prompt(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """The model's own chat template around `question`, ready for the answer."""
    turns = [{"role": "user", "content": "\0"}]
    if not hasattr(tokenizer, "_around"):  # rendering Jinja 200,000 times would take longer than learning from it
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokenizer._around = text.split("\0")
    before, after = tokenizer._around
    return before + question + after


def _pad(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> Lesson:
    length = max(len(ids) for ids, _ in rows)
    ids_BL = torch.full((len(rows), length), tokenizer.pad_token_id)
    mask_BL = torch.zeros(len(rows), length, dtype=torch.long)
    weights_BL = torch.zeros(len(rows), length)
    for row, (ids, weights) in enumerate(rows):
        ids_BL[row, : len(ids)] = torch.tensor(ids)
        mask_BL[row, : len(ids)] = 1
        weights_BL[row, : len(ids)] = torch.tensor(weights)
    return Lesson(ids_BL, mask_BL, weights_BL)
