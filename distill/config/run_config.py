"""What a run is asked to do: RunConfig, from a preset or a YAML file, with `--set` on top.

Everything wrong with the settings is a ConfigError of one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined

from distill.config import paths
from distill.config.errors import ConfigError
from distill.config.messages import fault, instead, sentence, show
from distill.config.method import Method
from distill.config.overrides import apply
from distill.config.settings import (
    BudgetConfig,
    ColumnsConfig,
    DataConfig,
    EvaluationConfig,
    LoraConfig,
    Name,
    ProbeConfig,
    Settings,
    Text,
    Tracker,
    setting,
)

__all__ = ["BudgetConfig", "ColumnsConfig", "ConfigError", "DataConfig", "LoraConfig", "ModelRef", "RunConfig"]
__all__ += ["load", "parse", "teachers_of", "to_yaml"]


_LORA, _CHANCE = "Adapter (LoRA: small additions to the student's layers)", "Seed and answers"

if TYPE_CHECKING:
    Objective = Method


class ModelRef(Settings):
    """A model: the name of a zoo model, a folder or a Hub id, and what the run calls it."""

    bare = "model"
    model: Text = setting(..., "Model", "A bundled model, a folder, or an id on the Hub.", widget="model")
    name: Name = setting(
        PydanticUndefined,
        "Name in this run",
        "What charts and tables call it.",
        default_factory=lambda data: _last_part(data.get("model", "")),
    )
    revision: Text | None = setting(
        None,
        "Version on the Hub",
        "A branch, tag or commit. If blank: the newest. Bundled models have none.",
        rare=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _unpacked(cls, data: Any) -> Any:
        """`gguf` was a setting: config.yaml of earlier runs has it, mostly empty."""
        if not isinstance(data, dict) or "gguf" not in data:
            return data
        if data["gguf"] is not None:
            raise fault("gguf", " is no longer a setting: only safetensors are read, so name a model that has them.")
        return {key: value for key, value in data.items() if key != "gguf"}


class RunConfig(Settings):
    """All a run is asked to do."""

    methods: ClassVar[dict[str, type[Method]]] = {}  # by kind, see `complete`

    name: Name = setting("run", "Name", "What the run is called in lists and on its model card.")
    description: str = setting("", "Description", "A sentence about the run.", max_length=500)
    seed: int = setting(0, "Seed", "The same number gives the same run again.", group=_CHANCE, ge=0, lt=2**32)
    student: ModelRef = setting(..., "Student", "The model that will learn.")
    teachers: list[ModelRef] = setting([], "Teachers", "A list of models, each with a name of its own.")
    data: DataConfig = setting(DataConfig(), "Data")
    objectives: list[Objective] = setting(  # the settings of the methods, see `complete`
        ..., "Methods", "A weighted list of methods, at most one of each kind."
    )
    lora: LoraConfig = setting(LoraConfig(), "Adapter", group=_LORA)
    budget: BudgetConfig = setting(BudgetConfig(), "Budget", group="Training")
    evaluation: EvaluationConfig = setting(EvaluationConfig(), "Evaluation", group=_CHANCE)
    probe: ProbeConfig = setting(ProbeConfig(), "Measurements", rare=True)
    report_to: list[Tracker] = setting(
        [],
        "Experiment trackers",
        "Also send the numbers to these programs. The app draws its curves without them.",
        {
            "trackio": "trackio: in files on this machine",
            "tensorboard": "tensorboard: in the run's folder",
            "wandb": "wandb: at Weights & Biases, or in files without an account",
        },
        rare=True,
    )

    @property
    def geometry(self) -> Method | None:
        """The settings of geometry, if it is among the objectives."""
        return self.objective("geometry")

    def objective(self, kind: str) -> Method | None:
        """The objective of this kind, of which there is one at most; None where there is none."""
        return next((one for one in self.objectives if one.kind == kind), None)

    @model_validator(mode="before")
    @classmethod
    def _problems_are_held_out(cls, data: Any) -> Any:
        """`evaluation.problems` is another name for `data.held_out`: the student is judged on exactly those."""
        evaluation = data.get("evaluation") if isinstance(data, dict) else None
        if not isinstance(evaluation, dict) or "problems" not in evaluation:
            return data
        problems, split = evaluation["problems"], data.get("data") or {}
        if isinstance(split, dict) and split.get("held_out", problems) != problems:
            given = f"data.held_out, which is {show(split['held_out'])}"
            raise fault(
                "evaluation.problems", f" is {show(problems)}, but it is another name for {given}: give one only."
            )
        rest = {key: value for key, value in evaluation.items() if key != "problems"}
        return {
            **data,
            "evaluation": rest,
            "data": {**split, "held_out": problems} if isinstance(split, dict) else split,
        }

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        """A bare name is a list of one; each is told once."""
        listed = [value] if isinstance(value, str) else value
        return list(dict.fromkeys(map(str, listed))) if isinstance(listed, list) else listed

    @field_validator("objectives", mode="before")
    @classmethod
    def _bare_kinds(cls, value: Any) -> Any:
        return (
            [{"kind": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value
        )

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        names = [teacher.name for teacher in self.teachers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise fault("teachers", f" holds two with the name {twice!r}: give one of them another name.")
        kinds = [objective.kind for objective in self.objectives]
        if not kinds:
            raise fault("objectives", " is empty: give at least one, such as 'kind: task'.")
        if len(set(kinds)) < len(kinds):
            raise fault("objectives", f" holds the same kind twice ({', '.join(kinds)}): keep one of each.")
        if not any(objective.weight for objective in self.objectives):
            raise fault("objectives", " all have weight 0, so nothing would be learned: give one a weight above 0.")
        for objective in self.objectives:
            self._check_teachers(objective, names)
        self._check_listed()
        for objective in self.objectives:
            objective.check(self)
        return self

    def _check_teachers(self, objective: Method, names: list[str]) -> None:
        kind = objective.kind
        if not names and objective.needs_teachers:
            raise fault(
                "teachers", f" is empty, but objectives.{kind} needs at least one: add a teacher or drop {kind}."
            )
        stranger = next((name for name in getattr(objective, "teachers", None) or [] if name not in names), None)
        if stranger is not None:
            raise fault(
                f"objectives.{kind}.teachers",
                f" names {show(stranger)}, which is not among the teachers: {instead(stranger, names)}",
            )

    def _check_listed(self) -> None:
        """A teacher lists its likeliest tokens once, for one objective: at its temperature, as many as it wants."""
        lists = [objective for objective in self.objectives if objective.lists]
        for teacher in self.teachers:
            heard = [o for o in lists if o.teachers is None or teacher.name in o.teachers]
            if len(heard) > 1:
                raise fault(
                    "objectives",
                    f" have both {heard[0].kind} and {heard[1].kind} read the likeliest tokens of {teacher.name!r}: "
                    f"name the teachers of one of them (objectives.{heard[0].kind}.teachers), or leave one out.",
                )


def complete(methods: Iterable[type[Method]]) -> None:
    """Tell RunConfig which methods there are; distill.objectives does, when anything of this package is imported."""
    union = Annotated[Union[tuple(methods)], Field(discriminator="kind")]  # noqa: UP007 - made of a list
    RunConfig.methods = {method.of_kind(): method for method in methods}
    RunConfig.model_rebuild(force=True, _types_namespace={"Objective": union})


def teachers_of(objective: Method, config: RunConfig) -> list[ModelRef]:
    """The teachers an objective listens to: those it names, all where it names none, none where it needs none."""
    if not objective.needs_teachers:
        return []
    return [teacher for teacher in config.teachers if objective.teachers is None or teacher.name in objective.teachers]


def load(preset_or_path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """The config a preset or a YAML file asks for, with `overrides` ("budget.steps=60") on top. Raises ConfigError."""
    settings = _read(str(preset_or_path))
    settings.pop("title", None)  # of a preset's card, and no setting
    for override in overrides:
        apply(settings, override)
    return parse(settings)


def parse(settings: dict[str, Any]) -> RunConfig:
    """The config that `settings` (a YAML file's content) ask for. Raises ConfigError with the first thing wrong."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(sentence(error, RunConfig)) from None


def to_yaml(config: RunConfig) -> str:
    """Every setting, defaults included, so that `load` gives the same config whatever the defaults become."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _read(source: str) -> dict[str, Any]:
    names = paths.preset_names()
    if source in names:
        return paths.read_preset(source)
    path = Path(source)
    if path.is_file():
        return {"name": path.stem, **paths.read_yaml(path)}
    if path.is_dir():
        raise ConfigError(f"{source} is a folder: give a preset or a YAML file.")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ConfigError(f"There is no file {source}: give a YAML file that exists, or a preset ({', '.join(names)}).")
    raise ConfigError(f"There is no preset {source!r}: {instead(source, names)}")


def _last_part(model: str) -> str:
    return model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or "model"
