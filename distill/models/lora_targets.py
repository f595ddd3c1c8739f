"""Which layers of a language model an adapter is put on: its linear layers, wherever its architecture keeps them.

Only the part that reads and writes text is looked at, so a vision tower gets no adapter, though its layers often have
the same names; nor do the embeddings, the head, and what routes tokens to experts. Experts kept as one stack of
matrices (all of transformers' since version 5) are no linear layers: peft adapts such a stack as a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from distill.config.errors import ConfigError

ALL_LINEAR = "all-linear"
_ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})  # parts of a name, none of a feed-forward layer's
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# What peft puts no adapter on: the fused kernels of these read its weights past the layer.
_FUSED = dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"), ("out_proj",))
_NAMED_AT_MOST = 12  # layers that an error names


@dataclass(frozen=True)
class Targets:
    """Full names within the model: `modules` are linear layers, `parameters` stacks of experts' matrices [E, m, n]."""

    modules: list[str]
    parameters: list[str]


def targets_of(model: PreTrainedModel, wanted: str | Sequence[str], name: str = "the student") -> Targets:
    """The layers that `wanted` means: "all-linear", or names such as q_proj or mlp.down_proj, each the end of some.

    Raises ConfigError, one sentence, where nothing is found, or a name is no layer's: it lists those that are.
    """
    modules, parameters = _linear(model), _experts(model)
    if wanted == ALL_LINEAR:
        if not modules:
            raise ConfigError(
                f"{name} ({type(model).__name__}) has no linear layers where its text is read, so lora.targets "
                f"'{ALL_LINEAR}' finds none: choose another student."
            )
        fused = _FUSED.get(model.config.model_type, ())
        return Targets([layer for layer in modules if not _is_any(layer, fused)], parameters)
    others = [_name_of(model, part) for part in (model.get_input_embeddings(), model.get_output_embeddings())]
    known = [*modules, *others]
    for target in wanted:
        if not any(_ends(layer, target) for layer in (*known, *parameters)):
            raise ConfigError(
                f"lora.targets: {name} has no layer named {target!r}: choose among {_listed((*modules, *parameters))}, "
                f"or leave it at '{ALL_LINEAR}'."
            )
    return Targets(*([layer for layer in all_ if _is_any(layer, wanted)] for all_ in (known, parameters)))


def _linear(model: PreTrainedModel) -> list[str]:
    """The linear layers of the language model, those of four and eight bits too; GPT-2's are transformers' Conv1D."""
    inside = _name_of(model, model.get_decoder())
    head = _name_of(model, model.get_output_embeddings())
    return [
        layer
        for layer, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and layer.startswith(f"{inside}.")
        and layer != head
        and not _ROUTERS & set(layer.split("."))
    ]


def _experts(model: PreTrainedModel) -> list[str]:
    inside = _name_of(model, model.get_decoder())
    return [
        f"{owner}.{parameter}"
        for owner, module in model.named_modules()
        if owner.startswith(f"{inside}.") and not isinstance(module, _CONVOLUTIONS)
        for parameter, value in module.named_parameters(recurse=False)
        if value.ndim == 3
    ]


def _name_of(model: PreTrainedModel, part: nn.Module | None) -> str:
    return next((name for name, module in model.named_modules() if module is part), "")


def _ends(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


def _is_any(layer: str, wanted: Iterable[str]) -> bool:
    return any(_ends(layer, target) for target in wanted)


def _listed(layers: Iterable[str]) -> str:
    """The last part of each name, once, as "q_proj, k_proj and v_proj"."""
    names = list(dict.fromkeys(layer.rsplit(".", 1)[-1] for layer in layers))
    if len(names) > _NAMED_AT_MOST:
        return ", ".join(names[:_NAMED_AT_MOST]) + " and others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
