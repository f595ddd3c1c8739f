"""Attention in float32 for models that compute in bfloat16 on a CPU.

torch's fused attention for CPUs takes six times as long backward in bfloat16 as in float32 (torch 2.13): it would eat
up what AMX gains elsewhere. It knows nothing of models but how transformers lets attention be chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "sdpa_in_float32"


def attend_in_float32(model: PreTrainedModel) -> None:
    """From now on `model` widens queries, keys and values for its attention, if that is torch's fused one."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)


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
