"""Tokens drawn at random, and yet the same whenever they are drawn again: temperature, top-p, and draws of one's own.

Every row has its own random numbers, one a token, made of the seed, the row's prompt and how often that prompt came
before in the same call. So what a prompt is answered with does not depend on its neighbours in a batch, on the size of
batches or on the order of the prompts, as far as the logits don't (padding may change their last digit, and a draw
that falls on the border of two tokens, or a token on that of `top_p`, then goes the other way). Torch's own random
state is neither read nor changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LogitsProcessor

from distill.config.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: from softmax(logits / temperature), of which the likeliest that make up `top_p` are left.

    As in Holtzman et al. 2019 (1904.09751), section 3.1: the fewest likeliest tokens whose probabilities sum to at
    least `top_p`. `seed`: another one, other answers. Greedy is no sampling: say None where a Sampling is asked for.
    """

    temperature: float
    top_p: float = 1.0
    seed: int | str = field(kw_only=True)

    def __post_init__(self):
        if not (self.temperature > 0 and 0 < self.top_p <= 1):
            raise ValueError(f"There is no drawing at temperature {self.temperature} and top_p {self.top_p}.")


def copies(prompts: Sequence[Sequence[int]]) -> list[int]:
    """How many prompts before each are the same: what tells the draws for one prompt from those for its copies."""
    seen: dict[tuple[int, ...], int] = {}
    found = []
    for prompt in map(tuple, prompts):
        found.append(seen.get(prompt, 0))
        seen[prompt] = found[-1] + 1
    return found


class Draw(LogitsProcessor):
    """Draws the next token of each row and leaves it as the only one possible, so that a greedy search takes it.

    `prompts` are the rows' own tokens (no padding), `copies` which of the same prompts each is, `width` the length of
    the padded prompts. One uniform number a token, inverted through the cumulative distribution: exact sampling.
    """

    def __init__(
        self, sampling: Sampling, prompts: Sequence[Sequence[int]], copies: Sequence[int], width: int, most: int
    ):
        self.sampling, self.width = sampling, width
        self.uniform_BT = torch.stack(
            [_uniform(sampling.seed, *row, most) for row in zip(prompts, copies, strict=True)]
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores [B, V] -> [B, V]: 0 at the token drawn, minus infinity elsewhere."""
        check_finite(scores)
        uniform_B1 = self.uniform_BT[:, input_ids.shape[1] - self.width, None].to(scores.device)
        drawn_B1 = pick(scores, uniform_B1, self.sampling.temperature, self.sampling.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn_B1, 0.0)


class Finite(LogitsProcessor):
    """Changes nothing, and raises UserError where logits are not numbers: else a damaged model just says nonsense."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        check_finite(scores)
        return scores


class Within(LogitsProcessor):
    """Rules out all but the first `vocabulary` logits: the others stand for no token, or for none that is shared."""

    def __init__(self, vocabulary: int):
        self.vocabulary = vocabulary

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.index_fill(1, torch.arange(self.vocabulary, scores.shape[1], device=scores.device), -torch.inf)


def check_finite(scores: Tensor) -> None:
    """Raise UserError unless every row's highest logit is a number (others may be minus infinity: ruled out)."""
    if not torch.isfinite(scores.amax(-1)).all():
        raise UserError("Its logits are not finite (NaN or infinity): its weights are damaged, or it needs float32.")


def pick(scores_BV: Tensor, uniform_B1: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """int64 [B, 1]: the token where the cumulative distribution passes `uniform_B1` (float64, in [0, 1)).

    In the vocabulary's order where nothing is left out, in that of likelihood where `top_p` < 1 (ties: by number).
    """
    # Sums of a hundred thousand tiny numbers: 64 bits, where the device has them.
    precise = torch.float32 if scores_BV.device.type == "mps" else torch.float64
    probability_BV, order_BV = (scores_BV.float() / temperature).softmax(-1), None
    if top_p < 1:
        probability_BV, order_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    total_BV = probability_BV.cumsum(-1, dtype=precise)
    mass_B1 = total_BV[:, -1:]
    if top_p < 1:
        kept_B1 = (total_BV - probability_BV < top_p).sum(-1, keepdim=True)  # those before which less has been summed
        mass_B1 = total_BV.gather(1, kept_B1.clamp_min(1) - 1)
    last_B1 = (total_BV < mass_B1).sum(-1, keepdim=True)  # rounding must not lead beyond what can be drawn
    place_B1 = torch.searchsorted(total_BV, uniform_B1.to(precise) * mass_B1, right=True).minimum(last_B1)
    return place_B1 if order_BV is None else order_BV.gather(1, place_B1)


def _uniform(seed: int | str, prompt: Sequence[int], copy: int, most: int) -> Tensor:
    """float64 [most]: one row's random numbers."""
    digest = hashlib.sha256(f"{seed}:{copy}:{','.join(map(str, prompt))}".encode()).digest()
    own = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
    return torch.rand(most, generator=own, dtype=torch.float64)
