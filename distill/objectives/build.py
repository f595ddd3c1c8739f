"""From the list of objectives in a config to the objectives themselves. To add a kind: one file, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill.objectives.base import Objective
from distill.objectives.geometry import GeometryObjective
from distill.objectives.task import TaskObjective

if TYPE_CHECKING:
    from distill.methods import GeometryConfig, ObjectiveConfig, TaskConfig


@dataclass(frozen=True)
class Models:
    """What an objective must know of the models to be made: widths of hidden states, blocks, and the run's seed."""

    student_width: int
    student_layers: int
    teacher_widths: Mapping[str, int]
    seed: int = 0


def _task(config: TaskConfig, models: Models) -> Objective:
    return TaskObjective(weight=config.weight)


def _geometry(config: GeometryConfig, models: Models) -> Objective:
    return GeometryObjective(
        teacher_widths=models.teacher_widths,
        student_width=models.student_width,
        student_layers=models.student_layers,
        seed=models.seed,
        mode=config.mode,
        gate=config.gate.model_dump(include={"kind", "tau", "epsilon", "balance"}),
        similarity=config.similarity,
        pooling=config.pooling,
        layer=config.layer,
        weight=config.weight,
    )


CONSTRUCTORS: dict[str, Callable[..., Objective]] = {
    "task": _task,
    "geometry": _geometry,
}


def build_objectives(configs: Iterable[ObjectiveConfig], models: Models) -> list[Objective]:
    """The objectives in the order of the config."""
    return [CONSTRUCTORS[config.kind](config, models) for config in configs]


def signals_needed(configs: Iterable[ObjectiveConfig]) -> frozenset[str]:
    """What to ask teachers before these objectives can be made: the same as the objectives' own `needs`."""
    needs: set[str] = set()
    for config in configs:
        if config.kind == "geometry":
            needs |= {"pooled", "nll_per_byte"} if config.gate.kind in ("prior", "meta") else {"pooled"}
    return frozenset(needs)
