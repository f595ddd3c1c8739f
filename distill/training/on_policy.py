"""Texts by the student itself, step by step: whether this step learns from them, and if so, having it write them.

The whole step's prompts are answered together, whatever it is accumulated from: one generation with a cache instead of
several. No gradient passes through it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.losses import IGNORED
from distill.models import distributed
from distill.models.generation import generate_ids
from distill.models.sampling import Sampling, copies
from distill.objectives.base import Batch


@dataclass
class OnPolicy:
    """With probability `lmbda` a step reads the student's own answers, at most `max_new_tokens` tokens long.

    `temperature` is of the sampling. `ends`: every token that ends an answer, of the student's and of the teachers'.
    `vocabulary`: how many tokens the student and its teachers have in common (None: all); it writes no others, which
    they could not read.
    Whether it does depends on `seed` and the step alone, so it is the same on every process and after a resume; and
    what a prompt is answered with is what it would be if one process answered all prompts of the step.
    """

    tokenizer: PreTrainedTokenizerBase
    ends: Sequence[int]
    lmbda: float = 0.5
    temperature: float = 0.9
    max_new_tokens: int = 256
    seed: int = 0
    vocabulary: int | None = None

    def is_own(self, step: int) -> bool:
        """Whether `step` (from 0) learns from the student's answers."""
        return random.Random(f"{self.seed}:{step}").random() < self.lmbda

    def answer(self, student: PreTrainedModel, batches: Sequence[dict[str, Any]], step: int) -> dict[str, float]:
        """Set batch["own"] in each of a step's micro-batches, if this is a step for it; metrics of it."""
        if not self.is_own(step):
            return {"gkd/own": 0.0}
        prompts = [prompt for batch in batches for prompt in prompts_of(batch)]
        sampling = Sampling(self.temperature, seed=f"{self.seed}:{step}")
        numbers = _numbers([len(batch["input_ids"]) for batch in batches], prompts)
        written = generate_ids(student, prompts, self.ends, self.max_new_tokens, sampling, self.vocabulary, numbers)
        start = 0
        for batch in batches:
            rows = slice(start, start + len(batch["input_ids"]))
            batch["own"] = self._batch(batch, prompts[rows], written[rows])
            start = rows.stop
        unfinished = sum(answer[-1] not in self.ends for answer in written) / len(written)
        return {"gkd/own": 1.0, "gkd/unfinished": unfinished}

    def _batch(self, batch: Batch, prompts: list[list[int]], answers: list[list[int]]) -> dict[str, Any]:
        width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids_BL = batch["input_ids"].new_zeros(len(prompts), width)
        mask_BL, labels_BL = torch.zeros_like(ids_BL), torch.full_like(ids_BL, IGNORED)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            whole = torch.tensor(prompt + answer)
            ids_BL[row, : len(whole)], mask_BL[row, : len(whole)] = whole, 1
            labels_BL[row, len(prompt) : len(whole)] = whole[len(prompt) :]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        own = {"input_ids": ids_BL, "attention_mask": mask_BL, "labels": labels_BL}
        own["completion_bytes"] = torch.tensor([len(text.encode("utf-8", "replace")) for text in texts])
        if "prompts" in batch:
            own["prompts"] = batch["prompts"]
        return own


def _numbers(sizes: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
    """Which copy of the same prompt in the whole step each of this process's is.

    Micro-batches (of `sizes` texts) are dealt to the processes in turn, as cards are.
    """
    place = [(part, distributed.rank(), row) for part, size in enumerate(sizes) for row in range(size)]
    everywhere = sorted(
        found for each in distributed.everyones(list(zip(place, map(tuple, prompts), strict=True))) for found in each
    )
    counted = dict(zip([at for at, _ in everywhere], copies([prompt for _, prompt in everywhere]), strict=True))
    return [counted[at] for at in place]


def prompts_of(batch: Batch) -> list[list[int]]:
    """The tokens before the first labelled one, of each row, without padding."""
    rows = zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    return [_prompt(ids, mask, labels) for ids, mask, labels in rows]


def _prompt(ids_L: Tensor, mask_L: Tensor, labels_L: Tensor) -> list[int]:
    before_L = (labels_L != IGNORED).cumsum(0) == 0
    return ids_L[before_L & (mask_L == 1)].tolist()
