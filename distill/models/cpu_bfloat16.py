"""What a model in bfloat16 on a CPU needs, to be as fast as the CPU's products of bfloat16 promise.

With torch 2.13 and AMX a pass over many tokens is several times as fast as in float32, but for two things: fused
attention is six times slower backward, and a token at a time is half as fast. Both are done in float32 here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "sdpa_in_float32"


def is_narrow(weight: Tensor) -> bool:
    """Whether this is bfloat16 on a CPU."""
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu"


def attend_in_float32(model: PreTrainedModel) -> None:
    """From now on `model` widens queries, keys and values for its attention, if that is torch's fused one."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """The narrow weights of `model` are float32 inside; after, they are again what they were, to the bit."""
    narrow = [weight for weight in model.parameters() if is_narrow(weight)]
    for weight in narrow:
        weight.data = weight.data.float()
    try:
        yield
    finally:
        for weight in narrow:
            weight.data = weight.data.bfloat16()


def _attend(module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs):
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        attended, weights = sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), attention_mask, **kwargs
        )
    return attended.to(query.dtype), weights


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
