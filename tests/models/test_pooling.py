"""Pooling: one vector a text, from the tokens that say what it is about (docs/methods.md, "1. CKA")."""

from __future__ import annotations

import math

import pytest
import torch
from feature_cases import normal
from torch import Tensor
from torch.autograd import gradcheck

from distill.losses.cka import cka
from distill.models.pooling import pool


def masked(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


def test_pool_means_over_the_mask():
    hidden = normal(2, 4, 3)
    mask = masked([0, 1, 1, 0], [1, 1, 1, 1])
    expected = torch.stack([hidden[0, 1:3].mean(0), hidden[1].mean(0)])
    torch.testing.assert_close(pool(hidden, mask, kind="mean"), expected)
    unit = hidden / hidden.square().mean(-1, keepdim=True).sqrt()
    expected = torch.stack([unit[0, 1:3].mean(0), unit[1].mean(0)])
    torch.testing.assert_close(pool(hidden, mask, kind="rms"), expected, atol=1e-5, rtol=0)


def test_an_attention_sink_hides_the_text_from_mean_pooling_but_not_from_rms():
    """One token of norm 1336, the others about 20, as in Qwen2.5: two models that agree about every other token."""
    n, length, width = 48, 12, 64
    texts = 20 / math.sqrt(width) * (0.6 * normal(n, 1, width) + normal(n, length, width, seed=1))
    rotation = torch.linalg.qr(normal(width, width, seed=2)).Q
    views = []
    for seed, hidden in ((3, texts), (4, texts @ rotation)):
        sink = normal(1, width, seed=seed)
        size = 1336 * (1 + 0.2 * normal(n, 1, seed=10 + seed))  # varies from text to text, with no meaning
        views.append(torch.cat([(sink / sink.norm() * size).unsqueeze(1), hidden], dim=1))
    everything = torch.ones(n, length + 1)
    assert cka(*(pool(view, everything, kind="mean") for view in views)) < 0.1
    assert cka(*(pool(view, everything, kind="rms") for view in views)) > 0.9


@pytest.mark.parametrize("kind", ["rms", "mean"])
def test_masked_tokens_have_no_influence_and_exactly_zero_gradient(kind):
    hidden = normal(2, 5, 3).requires_grad_()
    mask = masked([1, 1, 0, 0, 1], [0, 0, 1, 1, 1])
    pooled = pool(hidden, mask, kind=kind)
    pooled.square().sum().backward()
    assert torch.equal(hidden.grad[mask == 0], torch.zeros(4, 3, dtype=torch.float64))
    assert (hidden.grad[mask == 1] != 0).all()
    spoilt = hidden.detach().clone()
    spoilt[mask == 0] = math.nan
    torch.testing.assert_close(pool(spoilt, mask, kind=kind), pooled.detach())


@pytest.mark.parametrize("kind", ["rms", "mean"])
def test_pool_gradcheck(kind):
    mask = masked([1, 1, 0], [0, 1, 1])
    assert gradcheck(lambda h: pool(h, mask, kind=kind), (normal(2, 3, 4).requires_grad_(),))


@pytest.mark.parametrize("kind", ["rms", "mean"])
def test_padding_side_and_amount_change_nothing(kind):
    hidden = normal(1, 4, 3)
    padding = normal(1, 3, 3, seed=1)
    plain = pool(hidden, torch.ones(1, 4), kind=kind)
    left = pool(torch.cat([padding, hidden], 1), masked([0] * 3 + [1] * 4), kind=kind)
    right = pool(torch.cat([hidden, padding], 1), masked([1] * 4 + [0] * 3), kind=kind)
    torch.testing.assert_close(left, plain)
    torch.testing.assert_close(right, plain)


def test_rms_pooling_does_not_see_the_size_of_a_token():
    hidden, sizes = normal(3, 4, 8), 1 + 100 * normal(3, 4, 1, seed=1).abs()
    whole = torch.ones(3, 4)
    torch.testing.assert_close(pool(hidden * sizes, whole), pool(hidden, whole), atol=1e-5, rtol=0)


def test_an_empty_mask_pools_to_zero():
    hidden = normal(1, 3, 2).requires_grad_()
    pooled = pool(hidden, torch.zeros(1, 3))
    pooled.sum().backward()
    assert torch.equal(pooled, torch.zeros_like(pooled)) and torch.isfinite(hidden.grad).all()


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="rms"):
        pool(torch.ones(1, 2, 3), torch.ones(1, 2), kind="max")
