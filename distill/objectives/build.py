"""From the list of objectives in a config to the objectives themselves. To add a kind: one file, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distill.objectives.base import Objective
from distill.objectives.cross_tokenizer import CrossTokenizerObjective
from distill.objectives.features import FeaturesObjective
from distill.objectives.geometry import GeometryObjective
from distill.objectives.gkd import GkdObjective
from distill.objectives.logits import LogitsObjective
from distill.objectives.task import ResponseObjective, TaskObjective

if TYPE_CHECKING:
    from distill.config.objectives import ObjectiveConfig
    from distill.teachers.live import LiveTeacher


@dataclass(frozen=True)
class Models:
    """What objectives must know of the models to be made.

    `teachers`: all, in the order of the config, and `teacher_widths` where they are known. `tokens`: how many of the
    student's logits stand for a token, None: all. `vocabulary` {teacher: tokens it has in common with
    the student}, of teachers with its tokenizer. `live`: those that stay loaded. `maps` {teacher: (student block, index
    into the teacher's stored blocks), ...}, for features. `projections`: what cross_tokenizer needs of each teacher.
    """

    student_width: int
    student_layers: int
    teachers: Sequence[str]
    teacher_widths: Mapping[str, int]
    seed: int = 0
    tokens: int | None = None
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, LiveTeacher] = field(default_factory=dict)
    maps: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    projections: Mapping[str, Any] = field(default_factory=dict)

    def names(self, config: ObjectiveConfig) -> list[str]:
        """The teachers that an objective listens to, in the order of the run's."""
        return [name for name in self.teachers if config.teachers is None or name in config.teachers]

    def common(self, names: Sequence[str]) -> int:
        """How many tokens all of these teachers have in common with the student."""
        return min(self.vocabulary[name] for name in names)


def _task(config: Any, models: Models) -> Objective:
    return TaskObjective(weight=config.weight)


def _response(config: Any, models: Models) -> Objective:
    return ResponseObjective(weight=config.weight)


def _geometry(config: Any, models: Models) -> Objective:
    return GeometryObjective(
        teacher_widths={name: models.teacher_widths[name] for name in models.names(config)},
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


def _logits(config: Any, models: Models) -> Objective:
    names = models.names(config)
    return LogitsObjective(
        teachers=names,
        divergence=config.divergence,
        beta=config.beta,
        scaling=config.scaling,
        temperature=config.temperature,
        source=config.source,
        gate=config.gate.model_dump(),
        weight=config.weight,
        vocabulary=models.common(names),
        live={name: models.live[name] for name in names} if config.source == "live" else None,
    )


def _features(config: Any, models: Models) -> Objective:
    names = models.names(config)
    return FeaturesObjective(
        teacher_widths={name: models.teacher_widths[name] for name in names},
        student_width=models.student_width,
        maps={name: models.maps[name] for name in names},
        loss=config.loss,
        gate=config.gate.model_dump(),
        weight=config.weight,
        seed=models.seed,
    )


def _gkd(config: Any, models: Models) -> Objective:
    names = models.names(config)
    return GkdObjective(
        live={name: models.live[name] for name in names},
        vocabulary=models.common(names),
        beta=config.beta,
        seq_kd=config.seq_kd,
        gate=config.gate.model_dump(),
        weight=config.weight,
    )


def _cross_tokenizer(config: Any, models: Models) -> Objective:
    names = models.names(config)
    return CrossTokenizerObjective(
        teachers=names,
        loss=config.loss,
        tau=config.tau,
        shared=config.shared,
        gate=config.gate.model_dump(),
        weight=config.weight,
        projections={name: models.projections[name] for name in names if name in models.projections},
        vocabulary=models.tokens,
    )


CONSTRUCTORS: dict[str, Callable[[Any, Models], Objective]] = {
    "task": _task,
    "response": _response,
    "logits": _logits,
    "features": _features,
    "geometry": _geometry,
    "gkd": _gkd,
    "cross_tokenizer": _cross_tokenizer,
}


def build_objectives(configs: Iterable[ObjectiveConfig], models: Models) -> list[Objective]:
    """The objectives in the order of the config."""
    return [CONSTRUCTORS[config.kind](config, models) for config in configs]
