"""What each teacher is asked for a run: which signals, at which layers and temperature. No model is touched here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.config import RunConfig, teachers_of
from distill.demands import listening
from distill.methods import CrossTokenizerConfig, FeaturesConfig, GeometryConfig, LogitsConfig, ObjectiveConfig
from distill.teachers.signals import Request

Blocks = Mapping[str, Sequence[int]]  # teacher -> the blocks whose hidden states are wanted
_TEXTS = frozenset({"pooled", "nll_per_byte", "pooled_layers"})  # one value a text, or a few


@dataclass(frozen=True)
class Asked:
    """Of one teacher: a request about the training texts, one about their tokens, one about the probe texts."""

    texts: Request | None
    tokens: Request | None
    probe: Request


def asked_of(config: RunConfig, teacher: str, layer: float, pooling: str, blocks: Blocks) -> Asked:
    """What `teacher` is asked. `layer` (a fraction of the depth) and `pooling` are the geometry's or the probe's."""
    needs: set[str] = set()
    top_k, temperature = 0, 1.0
    probe = {"pooled", "pooled_layers"}
    for objective in listening(config, teacher):
        wanted = signals_of(objective, len(teachers_of(objective, config)))
        needs |= wanted
        if "topk" in wanted:
            top_k, temperature = objective.top_k, getattr(objective, "temperature", 1.0)
        if isinstance(objective, GeometryConfig):
            probe |= wanted
    texts, tokens = needs & _TEXTS, needs - _TEXTS
    return Asked(
        texts=Request(frozenset(texts), layer, pooling) if texts else None,
        tokens=Request(
            frozenset(tokens), top_k=top_k, temperature=temperature, layers=tuple(sorted(set(blocks.get(teacher, ()))))
        )
        if tokens
        else None,
        probe=Request(frozenset(probe), layer, pooling),
    )


def signals_of(objective: ObjectiveConfig, teachers: int) -> frozenset[str]:
    """What an objective that listens to so many teachers wants to know from each of them."""
    needs: set[str] = set()
    match objective:
        case GeometryConfig():
            needs = {"pooled", "nll_per_byte"} if objective.gate.kind in ("prior", "meta") else {"pooled"}
        case LogitsConfig(source="stored"):
            needs = {"tokens", "topk"}
        case FeaturesConfig():
            needs = {"tokens", "hidden"}
        case CrossTokenizerConfig(loss="alm"):
            needs = {"tokens", "token_logprobs"} | ({"topk"} if objective.shared else set())
        case CrossTokenizerConfig():
            needs = {"tokens", "topk"}
    if isinstance(objective, LogitsConfig | FeaturesConfig | CrossTokenizerConfig) and teachers > 1:
        needs |= {"nll_per_byte"} if objective.gate.kind == "prior" else set()
    return frozenset(needs)
