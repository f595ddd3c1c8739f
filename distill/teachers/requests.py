"""What each teacher is asked for a run: which signals, at which layers and temperature. No model is touched here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.config.requirements import listening
from distill.config.run_config import RunConfig, teachers_of
from distill.teachers.signals import Request

Blocks = Mapping[str, Sequence[int]]  # teacher -> the blocks whose hidden states are wanted


def of_probe(config: RunConfig, teacher: str, layer: float, pooling: str) -> Request:
    """What `teacher` is asked about the probe texts, at `layer` (a fraction of the depth), with this `pooling`."""
    needs = {"pooled", "pooled_layers"}
    for objective in listening(config, teacher):
        if "pooled" in (wanted := objective.signals(len(teachers_of(objective, config)))):
            needs |= wanted
    return Request(frozenset(needs), layer, pooling)


def of_train(config: RunConfig, teacher: str, layer: float, pooling: str, blocks: Blocks) -> Request | None:
    """What `teacher` is asked about the training texts and their tokens; None where nobody wants any."""
    needs: set[str] = set()
    top_k, temperature = 0, 1.0
    for objective in listening(config, teacher):
        wanted = objective.signals(len(teachers_of(objective, config)))
        needs |= wanted
        if "topk" in wanted:
            top_k, temperature = objective.lists, getattr(objective, "temperature", 1.0)
    if not needs:
        return None
    looks = {"layer": layer, "pooling": pooling, "layers": tuple(blocks.get(teacher, ()))}
    return Request(frozenset(needs), top_k=top_k, temperature=temperature, **looks)
