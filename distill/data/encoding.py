"""From a question and its solution to what one model reads: its own tokens, labels and masks.

The rules (docs/methods.md, "4. Across tokenizers"): prompt and completion are tokenised jointly and the border is found
by character offsets; the answer ends with the model's own end-of-turn token; padding is known by the attention mask
alone, never by an id, for in some models (SmolLM2) pad and end are one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from distill.losses import IGNORED
from distill.models.chat_template import end_token, special_ids, template_of
from distill.models.conversation import shortened


@dataclass(frozen=True)
class Example:
    """One text as one model reads it; all lists have the length L of the sequence.

    `labels` is -100 on the prompt. `content` is 1 on tokens of the question and of the completion that count for
    pooling: no template, no special token, and not the first of them, which models use as an attention sink
    (docs/methods.md, "1. CKA"). `completion_start` is the position of the first labelled token, L if there is none.
    `completion_bytes` counts the UTF-8 bytes of the completion that the labels cover, the end token none. `truncated`:
    max_length cut it. `ends` says where in the solution each labelled token ends: the running maximum of characters, -1
    for the end token, -2 for what `max_length` cut in the middle of a character (bytes of an emoji).
    """

    input_ids: list[int]
    labels: list[int]
    content: list[int]
    completion_start: int
    completion_bytes: int
    truncated: bool = False
    ends: list[int] = field(default_factory=list)

    @property
    def labelled(self) -> int:
        """How many tokens have a label."""
        return len(self.input_ids) - self.completion_start


@dataclass(frozen=True)
class Encoded:
    """The examples of a list of texts: `kept` their rows in it, how many were `truncated`, how many `dropped`."""

    examples: list[Example]
    kept: list[int]
    truncated: int
    dropped: int


def encode(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    solution: str,
    max_length: int | None = None,
    end: bool = True,
    system: str | None = None,
) -> Example:
    """One example. Where `max_length` leaves nothing of the completion it has no label (`labelled == 0`)."""
    return encode_many(tokenizer, [(question, solution)], max_length, end, system, keep_unlabelled=True).examples[0]


def encode_many(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[tuple[str, str]],
    max_length: int | None = None,
    end: bool = True,
    system: str | None = None,
    max_characters: int | None = None,
    keep_unlabelled: bool = False,
    drop_long: bool = False,
) -> Encoded:
    """Examples of (question, solution) texts, tokenised in one call.

    `max_length` counts tokens, the end token included. What it cuts loses its end token too, for a cut answer has not
    ended. An example with no label left teaches nothing and would be 0/0 in a mean over its tokens: it is dropped and
    counted unless `keep_unlabelled`. With `drop_long` nothing is cut: what is longer than `max_length` is dropped and
    counted too. `max_characters` cuts question and solution together, alike for every tokenizer.
    Raises UserError if the tokenizer is not fast, or has no end token while `end`.
    """
    template, special = template_of(tokenizer, system), np.array(sorted(special_ids(tokenizer)))
    closing = end_token(tokenizer) if end else None
    shown = [cut(*text, max_characters) for text in texts]
    solutions = [solution for _, solution in shown]
    placed = [template.place(*text) for text in shown]
    whole = [prompt + solution for (prompt, *_), solution in zip(placed, solutions, strict=True)]
    tokens = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True) if whole else {"input_ids": []}
    examples = []
    for row, ids in enumerate(tokens["input_ids"]):
        ended = closing if solutions[row] == texts[row][1] else None  # cut by characters: it has not ended either
        offsets = np.array(tokens["offset_mapping"][row], dtype=np.int64).reshape(-1, 2)
        examples.append(_example(ids, offsets, placed[row], solutions[row], special, ended, max_length))
    kept = [
        row
        for row, example in enumerate(examples)
        if (example.labelled or keep_unlabelled) and not (drop_long and example.truncated)
    ]
    return Encoded(
        examples=[examples[row] for row in kept],
        kept=kept,
        truncated=0 if drop_long else sum(example.truncated for example in examples),
        dropped=len(examples) - len(kept),
    )


def cut(question: str, solution: str, max_characters: int | None) -> tuple[str, str]:
    """Question and solution with at most `max_characters` characters in all, cut at the end.

    Of a conversation the turns before the last question go first.
    """
    if max_characters is None:
        return question, solution
    question = shortened(question, max_characters)
    return question, solution[: max(0, max_characters - len(question))]


def collate(examples: Sequence[Example], pad_id: int | None, side: str = "right") -> dict[str, torch.Tensor]:
    """Pad to the longest: int64 `input_ids`, `attention_mask`, `labels`, `content_mask`, all [B, L].

    `pad_id` only fills the gaps (None: 0); nothing may be read from it, padding is where `attention_mask` is 0.
    """
    width = max(len(example.input_ids) for example in examples)
    fillers = {"input_ids": pad_id or 0, "attention_mask": 0, "labels": IGNORED, "content_mask": 0}
    batch = {name: np.full((len(examples), width), filler) for name, filler in fillers.items()}
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        at = slice(0, length) if side == "right" else slice(width - length, width)
        batch["input_ids"][row, at] = example.input_ids
        batch["attention_mask"][row, at] = 1
        batch["labels"][row, at] = example.labels
        batch["content_mask"][row, at] = example.content
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _example(
    ids: list[int],
    offsets: np.ndarray,
    placed: tuple[str, int, int],
    solution: str,
    special: np.ndarray,
    closing: int | None,
    max_length: int | None,
) -> Example:
    """Labels and masks of one tokenised text; `offsets` [L, 2] are its tokens' characters [start, end)."""
    prompt, question_start, question_end = placed
    border, stop = len(prompt), len(prompt) + len(solution)
    starts, ends = offsets[:, 0], offsets[:, 1]
    # A token that straddles the border holds completion text, which must be predicted: it belongs to the completion.
    in_completion = ends > border
    start = int(in_completion.argmax()) if in_completion.any() else len(ids)
    in_question = (starts < question_end) & (ends > question_start)
    content = (in_question | ((starts < stop) & in_completion)) & ~np.isin(ids, special)
    if content.sum() > 1:
        content[content.argmax()] = False
    ids, content = list(ids), content.astype(int).tolist()
    if closing is not None:
        ids, content = [*ids, closing], [*content, 0]
    truncated = max_length is not None and len(ids) > max_length
    if truncated:
        ids, content = ids[:max_length], content[:max_length]
        start = min(start, len(ids))
    reached = int(ends[: len(ids)].max(initial=0)) - border if truncated else len(solution)
    return Example(
        input_ids=ids,
        labels=[IGNORED] * start + ids[start:],
        content=content,
        completion_start=start,
        completion_bytes=len(solution[: max(0, reached)].encode("utf-8", "replace")),
        truncated=truncated,
        ends=_ends(offsets, start, len(ids), border, solution),
    )


def _ends(offsets: np.ndarray, start: int, length: int, border: int, solution: str) -> list[int]:
    """`Example.ends` of the tokens [start, length) of a text with these `offsets`; the one after them is the end."""
    reached = np.maximum.accumulate(offsets[:, 1]) - border
    following = np.append(offsets[1:, 0] - border, len(solution))[: len(offsets)]
    for token in np.flatnonzero((following > reached) & (reached > 0)):
        # Where a normaliser joins an e and its accent, the offsets end before the accent: it is the token's all the
        # same. Blanks between tokens are nobody's: some tokenizers leave them out.
        if not any(map(str.isspace, solution[reached[token] : following[token]])):
            reached[reached == reached[token]] = following[token]
    ends = reached[start:length]
    if len(ends) and length < len(offsets) and offsets[length, 0] - border < ends[-1]:
        ends = np.where(ends == ends[-1], -2, ends)
    return [*ends.tolist(), *[-1] * (length - max(start, len(offsets)))]
