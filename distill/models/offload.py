"""Where the layers of a model go that is larger than the GPU: the first stay there, the rest wait in main memory.

Only whole layers move, and accelerate brings each to the GPU when its turn comes. What is read directly (embeddings,
head) always stays. This module knows nothing of files, or of what a model is for.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

_SHARE = 0.8  # of the free GPU memory for weights: the rest is for what is computed with them


def free_bytes(device: torch.device | str) -> int | None:
    """Bytes of weights that fit on this GPU now; None where it is none, and there is nowhere else to put them."""
    if torch.device(device).type != "cuda":
        return None
    free = torch.cuda.mem_get_info(device)[0]
    # What torch keeps for later is free too.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + unused))


def spread(
    config: PreTrainedConfig, dtype: torch.dtype, room: int, device: torch.device | str
) -> dict[str, str | torch.device] | None:
    """transformers' device_map that keeps at most `room` bytes of weights on `device`, None where all of them fit.

    The rest goes to main memory, or, where `device` is the CPU itself, stays on disk.
    """
    with torch.device("meta"):  # shapes only
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    whole = _bytes(model)
    if whole <= room:
        return None
    depth = config.get_text_config().num_hidden_layers
    path, layers = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth)
    sizes = [_bytes(layer) for layer in layers]
    left = room - (whole - sum(sizes)) - max(sizes)  # one that is brought in needs its room too
    places: dict[str, str | torch.device] = dict.fromkeys(_beside(model, path), device)
    for number, size in enumerate(sizes):
        left -= size
        places[f"{path}.{number}"] = device if left >= 0 else _elsewhere(device)
    return places


def _elsewhere(device: torch.device | str) -> str:
    return "disk" if torch.device(device).type == "cpu" else "cpu"


def _beside(model: nn.Module, path: str) -> list[str]:
    """The names of the modules that hold all but what is in `path`, none of them within another."""
    found, prefix = [], ""
    for part in path.split("."):
        inside = model.get_submodule(prefix) if prefix else model
        found += [f"{prefix}.{name}" if prefix else name for name, _ in inside.named_children() if name != part]
        prefix = f"{prefix}.{part}" if prefix else part
    return found


def _bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
