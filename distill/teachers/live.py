"""A teacher that stays loaded while the student trains, for methods that want all its logits or judge new texts.

It reads the student's tokens, so its tokenizer must be the student's (distill/runs/preflight.py sees to that), but in
its own chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill.data.encoding import IGNORED
from distill.models.lm_head import head_of, read_states, refreshed


class LiveTeacher:
    """`model` as the run's teacher `name`; never trained, no part of any checkpoint."""

    def __init__(self, name: str, model: PreTrainedModel):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self._head = head_of(model, f"The teacher {name!r}")

    @property
    def head(self):
        """Its head, over all its logits."""
        return refreshed(self._head, self.model)

    @torch.no_grad()
    def states(self, batch: Mapping[str, Any]) -> Tensor:
        """[m, E]: the states that predict the m labelled tokens of `batch`, row by row, in order.

        Where batch["prompts"] holds this teacher's own prompts (a tensor of ids a row), each row's completion is read
        after that; else the teacher reads the batch as it is.
        """
        prompts = batch.get("prompts", {}).get(self.name)
        ids_BL, mask_BL, labels_BL = batch["input_ids"], batch["attention_mask"], batch["labels"]
        if prompts is not None:
            ids_BL, mask_BL, labels_BL = _after(prompts, ids_BL, labels_BL)
        states_BLE, _ = read_states(self.model, input_ids=ids_BL, attention_mask=mask_BL, use_cache=False)
        return states_BLE[:, :-1][labels_BL[:, 1:] != IGNORED]


def _after(prompts: list[Tensor], ids_BL: Tensor, labels_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, mask, labels), each row being its prompt and the labelled tokens of that row, padded on the right."""
    completions = [ids[labels != IGNORED] for ids, labels in zip(ids_BL, labels_BL, strict=True)]
    width = max(len(prompt) + len(rest) for prompt, rest in zip(prompts, completions, strict=True))
    ids_out = ids_BL.new_zeros(len(prompts), width)
    mask_out, labels_out = torch.zeros_like(ids_out), torch.full_like(ids_out, IGNORED)
    for row, (prompt, rest) in enumerate(zip(prompts, completions, strict=True)):
        start, end = len(prompt), len(prompt) + len(rest)
        ids_out[row, :start], ids_out[row, start:end] = prompt, rest
        mask_out[row, :end], labels_out[row, start:end] = 1, rest
    return ids_out, mask_out, labels_out
