"""From a causal language model to the states that its head reads, and the head: logits are then made where wanted.

A model's forward pass makes logits for every token of every text, 600 kB each at 151,936 tokens, of which a loss needs
few. Here the head is handed one position only, and what it would have read of all the others is returned instead.
Works for every transformers model whose head is one linear layer, whatever it scales before or after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distill.config.errors import UserError
from distill.losses.head import Head
from distill.models.cpu_bfloat16 import is_narrow

_TRIED = 8  # tokens on which a head is verified
_NEAR = 1e-2  # how near logits of sixteen bits can be expected to be, as a fraction of the largest


def read_states(model: nn.Module, **inputs: Any) -> tuple[Tensor, Any]:
    """(states [B, L, D] that the head reads, the model's output with logits of the first position only).

    `inputs` are the model's own: input_ids, attention_mask, output_hidden_states, use_cache.
    """
    with _one_position(_head_module(model)) as seen:
        output = model(**inputs)
    return seen[0], output


@torch.no_grad()
def head_of(model: nn.Module, name: str = "the model") -> Head:
    """The head of `model`, verified on a few tokens. Raises UserError, naming the model, if it is no such head."""
    head = Head(*_parameters(model))
    if is_narrow(head.weight_VD):  # its products are made in float32: it is widened once, not for each of them
        head = replace(head, weight_VD=head.weight_VD.float())
    # Each alone, since only the first position's logits are there; several, since padding's states may all be zero.
    ids_B1 = torch.linspace(0, head.vocabulary - 1, _TRIED, device=head.weight_VD.device).long()[:, None]
    with torch.random.fork_rng():  # a model in training mode draws dropout, which a resumed run would not
        states_B1D, output = read_states(model, input_ids=ids_B1, use_cache=False)
    finite_B = output.logits[:, 0].isfinite().all(1)
    if not finite_B.any():  # a damaged model: whoever reads its numbers says so
        return head
    states_BD, expected_BV = states_B1D[finite_B, 0], output.logits[finite_B, 0].float()
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    if softcap:  # taken from the config: small logits alone would not tell
        head = replace(head, softcap=softcap)
    else:
        plain_BV = head.logits(states_BD)
        # Over all tokens together: a single logit of sixteen bits would give it to two digits.
        scale = float((expected_BV * plain_BV).sum() / plain_BV.square().sum().clamp_min(1e-30))
        head = replace(head, scale=1.0 if abs(scale - 1) < _NEAR else round(scale, 6))
    found_BV = head.logits(states_BD).float()
    if not torch.allclose(found_BV, expected_BV, rtol=_NEAR, atol=_NEAR * float(expected_BV.abs().max())):
        raise UserError(f"{name} makes its logits in a way that this program doesn't know: choose another model.")
    return head


def refreshed(head: Head, model: nn.Module) -> Head:
    """`head` with the weights that `model` has now: it may have been moved since. One that was widened stays so."""
    weight_VD, bias_V = _parameters(model)
    if is_narrow(weight_VD):
        return head
    return replace(head, weight_VD=weight_VD, bias_V=bias_V)


def device_of(model: nn.Module) -> torch.device:
    """Where its inputs go, also where some of its layers wait elsewhere."""
    return model.get_input_embeddings().weight.device


def check_vocabulary(highest: int, model: nn.Module, whose: str = "Its") -> None:
    """Raise UserError where the `highest` token that a tokenizer made is none that the model's weights know."""
    rows = model.get_input_embeddings().num_embeddings
    if highest >= rows:
        raise UserError(
            f"{whose} tokenizer knows token {highest} and its weights {rows}: they are not from the same model, so "
            "copy both again."
        )


def trains_head(model: nn.Module) -> bool:
    """Whether the head is trained, by an adapter say: what is trained of it would get no gradient from `Head`."""
    return any(parameter.requires_grad for parameter in model.get_output_embeddings().parameters())


def _head_module(model: nn.Module) -> nn.Linear:
    module = model.get_output_embeddings()
    if not hasattr(module, "weight"):
        raise UserError(f"{type(model).__name__} has no linear head: choose another model.")
    if not module.weight.is_floating_point():
        raise UserError(
            f"This {type(model).__name__} keeps the layer that makes its logits in few bits, which can't be read piece "
            "by piece: choose a checkpoint that keeps that layer whole."
        )
    return module


def _parameters(model: nn.Module) -> tuple[Tensor, Tensor | None]:
    module = _head_module(model)
    return module.weight.detach(), None if module.bias is None else module.bias.detach()


@contextmanager
def _one_position(head: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(args[0])
        # Contiguous, or torch makes it a product of batches, and reads (in sixteen bits copies) the head for each text.
        return (args[0][:, :1].contiguous(), *args[1:])

    hook = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()
