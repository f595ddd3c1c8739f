"""A student too large for one GPU: its frozen blocks are spread over the processes (FSDP2) and joined as they are read.

Only those: what is trained (the adapter, gates, heads) is whole on every process, so it is saved and loaded as ever,
and its gradients are averaged once a step. The embeddings and the head stay whole too: the losses read the head's
weights directly, at any moment. All processes must read the student equally often.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from distill.config.errors import ConfigError
from distill.models import distributed


def spread(student: PeftModel, device: str, name: str) -> None:
    """Spread the blocks of `student` (in main memory, not quantised) over the processes' devices, in place.

    Raises ConfigError, with the model's `name`, where its blocks aren't known.
    """
    base = student.get_base_model()
    kinds = set(base._no_split_modules or ())
    blocks = [module for module in base.modules() if type(module).__name__ in kinds]
    frozen = {p for block in blocks for p in block.parameters() if not p.requires_grad}
    if not frozen:
        raise ConfigError(f"The blocks of {name!r} aren't known, so it can't be spread: launch without --use_fsdp.")
    if any(not p.is_floating_point() for p in frozen):
        raise ConfigError("A quantised student can't be spread over GPUs: remove lora.quantize, or --use_fsdp.")
    _move(base, frozen, device)
    mesh = init_device_mesh(torch.device(device).type, (distributed.size(),))
    for block in blocks:
        whole = {p for p in block.parameters() if p.requires_grad}
        fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    whole = {p for p in base.parameters() if not isinstance(p, DTensor)}
    fully_shard(base, mesh=mesh, ignored_params=whole)  # has no weights of its own: it makes the blocks keep step
    base._is_fsdp_managed_module = True  # by which transformers' generate knows that processes must keep step


def _move(model: nn.Module, left: set[nn.Parameter], device: str) -> None:
    """Move everything to `device` but the parameters `left`, which `fully_shard` moves a block at a time."""
    for parameter in model.parameters():
        if parameter not in left:
            parameter.data = parameter.data.to(device)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
