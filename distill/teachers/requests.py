"""What each teacher is asked for a run: which signals, at which layers and temperature. No model is touched here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.config.objectives import (
    CrossTokenizerConfig,
    FeaturesConfig,
    GeometryConfig,
    LogitsConfig,
    ObjectiveConfig,
)
from distill.config.requirements import listening
from distill.config.run_config import RunConfig, teachers_of
from distill.teachers.signals import Request

Blocks = Mapping[str, Sequence[int]]  # teacher -> the blocks whose hidden states are wanted


def of_probe(config: RunConfig, teacher: str, layer: float, pooling: str) -> Request:
    """What `teacher` is asked about the probe texts, at `layer` (a fraction of the depth), with this `pooling`."""
    needs = {"pooled", "pooled_layers"}
    for objective in listening(config, teacher):
        if isinstance(objective, GeometryConfig):
            needs |= signals_of(objective, len(teachers_of(objective, config)))
    return Request(frozenset(needs), layer, pooling)


def of_train(config: RunConfig, teacher: str, layer: float, pooling: str, blocks: Blocks) -> Request | None:
    """What `teacher` is asked about the training texts and their tokens; None where nobody wants any."""
    needs: set[str] = set()
    top_k, temperature = 0, 1.0
    for objective in listening(config, teacher):
        wanted = signals_of(objective, len(teachers_of(objective, config)))
        needs |= wanted
        if "topk" in wanted:
            top_k, temperature = objective.top_k, getattr(objective, "temperature", 1.0)
    if not needs:
        return None
    looks = {"layer": layer, "pooling": pooling, "layers": tuple(blocks.get(teacher, ()))}
    return Request(frozenset(needs), top_k=top_k, temperature=temperature, **looks)


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
