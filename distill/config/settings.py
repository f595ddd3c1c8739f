"""Groups of settings that stand alone: the data, the adapter, the budget, the evaluation and the diagnostics.

What one group must know of another is checked in run_config.py.
"""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from distill.config.messages import fault, show, unknown

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Size = Annotated[int, Field(ge=1, le=4096)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Location = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^/\\\x00-\x1f]+$")]
Tracker = Literal["trackio", "tensorboard", "wandb"]
TRACKERS = get_args(Tracker)


AUTOMATIC = "auto"  # a choice that follows another setting

Held = Callable[[str], Any]  # what the setting beside this one, of that name, holds
Condition = Callable[[Held], bool]


@dataclass(frozen=True)
class Dial:
    """How a setting is shown on the page, beside its label and help (pydantic's `title` and `description`).

    `words`: what each choice means. `when`: whether it matters, by what the settings beside it hold. `only`: where it
    doesn't it must not be in the config at all. `rare`: it is folded away. `group`: the heading it stands under.
    `widget`: "model" or "column" where a list with free text is meant, "teachers" where teachers are chosen. What is
    said of a group of settings goes for all of them.
    """

    words: Mapping[Any, str] = field(default_factory=dict)
    when: Condition | None = None
    only: bool = False
    rare: bool = False
    group: str = ""
    widget: str = ""


def setting(
    default: Any,
    label: str = "",
    help: str = "",
    words: Mapping[Any, str] | None = None,
    *,
    when: Condition | None = None,
    only: bool = False,
    rare: bool = False,
    group: str = "",
    widget: str = "",
    **more: Any,
) -> Any:
    """A field with its words beside it; `more` is pydantic's (ge, le, validate_default, ...)."""
    found = Field(default, title=label or None, description=help or None, **more)
    found.metadata.append(Dial(words or {}, when, only, rare, group, widget))
    return found


def dial_of(info: FieldInfo) -> Dial:
    """How a setting is shown, as `setting` was told."""
    return next((item for item in info.metadata if isinstance(item, Dial)), Dial())


def unwrapped(annotation: Any) -> tuple[list[Any], list[Any]]:
    """The types of `Annotated[X, ...] | None` without None, and what limits them."""
    if get_origin(annotation) is Annotated:
        kinds, limits = unwrapped(get_args(annotation)[0])
        found = [part for one in get_args(annotation)[1:] for part in (getattr(one, "metadata", None) or [one])]
        return kinds, [*limits, *found]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [unwrapped(part) for part in get_args(annotation) if part is not type(None)]
        return [kind for kinds, _ in parts for kind in kinds], [limit for _, limits in parts for limit in limits]
    return [annotation], []


def settings_in(annotation: Any) -> type[Settings] | None:
    """The group of settings that a field of this type holds; None where it is a single setting."""
    return next((one for one in unwrapped(annotation)[0] if isinstance(one, type) and issubclass(one, Settings)), None)


def among(name: str, *values: Any) -> Condition:
    """Where the setting of this name holds one of these."""
    return lambda held: held(name) in values


def above(name: str, low: float) -> Condition:
    """Where the setting of this name is a number above `low`."""
    return lambda held: isinstance(held(name), (int, float)) and held(name) > low


def either(*conditions: Condition) -> Condition:
    """Where one of these holds."""
    return lambda held: any(condition(held) for condition in conditions)


def both(*conditions: Condition) -> Condition:
    """Where all of these hold."""
    return lambda held: all(condition(held) for condition in conditions)


class Settings(BaseModel):
    """A group of settings: unknown keys refused, frozen, and a bare string taken for the setting `bare` names."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    bare: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, str) and cls.bare:
            return {cls.bare: data}
        if not isinstance(data, dict):
            return data
        for key, value in data.items():
            if key not in cls.model_fields:
                raise unknown(str(key), cls.model_fields)
            if isinstance(value, bool) and cls.model_fields[key].annotation is not bool:  # it would be read as 1
                raise fault(str(key), f" is {show(value)}: it must be a number or text, not yes or no.")
        return data


_UNLESS_MESSAGES = among("messages", None, "")


class ColumnsConfig(Settings):
    """Which column of a file or data set holds what.

    Without `answer`, the answer is what the solution concludes with ("#### 62"); without `family`, all are one family.
    Where there is no column "question" or "solution", and no other is named, the one that is likely it is read, and
    said. `messages`, a conversation (a list of {role, content}), stands for both: each of the assistant's turns is a
    solution, all that was said before it the question.
    """

    question: Text = setting("question", "Question", "What the student is asked.", when=_UNLESS_MESSAGES)
    solution: Text = setting(
        "solution", "Worked solution", "What it learns to write. It should end with the answer.", when=_UNLESS_MESSAGES
    )
    answer: Text | None = setting(
        None, "Answer", "To grade by. If blank: what the solution ends with, such as #### 62."
    )
    family: Text | None = setting(None, "Kind of problem", "Accuracy is shown for each. If blank: all are one kind.")
    messages: Text | None = setting(
        None, "Conversation", "A list of messages, in place of question and solution. Otherwise blank."
    )

    @model_validator(mode="after")
    def _distinct(self) -> ColumnsConfig:
        for name in ("question", "solution") if self.messages else ():
            if getattr(self, name) != name:
                raise fault(name, " is set, but messages names a conversation that holds it: give one of the two.")
        if self.question == self.solution:
            raise fault(
                "solution", f" is {self.solution!r}, the column of the questions: name the one of the solutions."
            )
        if self.answer == self.solution:
            raise fault(
                "answer", " names the column of the solutions: leave it out, and answers are read from their ends."
            )
        return self


MADE_HERE = ("problems", "reasoning_gym")  # sources that read no file and no Hub, and never run out

# The settings that only some sources have.
_SOURCES = {"path": ("file",), "dataset": ("hub",), "subset": ("hub",), "split": ("hub",), "columns": ("file", "hub")}


_HUB, _HOW_MANY = among("source", "hub"), "Number of problems"


class DataConfig(Settings):
    """The problems, and how many of each split.

    `source`: generated `problems`, `reasoning_gym` (whose data sets are the families), a `file` (JSONL, CSV or Parquet
    at `path`), or a data set of the `hub` (`dataset` is its id, or a folder; `subset` its configuration). No families
    means all of them, of reasoning-gym gsm_symbolic. All but generated problems fall into splits by their questions;
    `new_phrasing` is of generated problems only. `labelled`: at most so many of the training problems come with a
    solution (None: all of them); of the others the question alone is known, and what reads solutions reads what the
    teachers write.
    """

    source: Literal["problems", "reasoning_gym", "file", "hub"] = setting(
        "problems",
        "Source of the problems",
        "The student is trained on some of these and evaluated on others.",
        {
            "problems": "Generated word problems",
            "reasoning_gym": "Generated by Reasoning Gym",
            "file": "Your own file",
            "hub": "A data set from the Hub",
        },
    )
    path: Location | None = setting(
        None, "File", "JSONL, CSV or Parquet; at most 20 MB and 100,000 rows. For source `file`."
    )
    dataset: Location | None = setting(
        None, "Data set", "Its id on the Hub, such as openai/gsm8k.", when=_HUB, only=True
    )
    subset: Text | None = setting(
        None, "Configuration", "Only if the data set has several, such as main.", when=_HUB, only=True
    )
    split: Text | None = setting(
        None,
        "Split",
        "Which of its splits to read, such as train. It is divided further here.",
        when=_HUB,
        only=True,
        validate_default=True,
    )
    columns: ColumnsConfig | None = setting(
        None,
        "Columns",
        when=among("source", "file", "hub"),
        only=True,
        group="Columns",
        widget="column",
        validate_default=True,
    )
    train: Count = setting(1280, "Training problems", "Problems the student is trained on.", group=_HOW_MANY)
    labelled: Count | None = setting(
        None,
        "Training problems with a solution",
        "The others have only a question, and the teachers write their solutions. Not set: all have one.",
        group=_HOW_MANY,
    )
    held_out: Count = setting(240, "Held-out problems", "Never trained on; asked before and after.", group=_HOW_MANY)
    new_phrasing: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        120,
        "Problems in new wordings",
        "Worded in ways that never occur in training.",
        when=among("source", "problems"),
        group=_HOW_MANY,
    )
    validation: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        192, "Validation problems", "Not trained on either: for the accuracy curve, and for a meta gate.", rare=True
    )
    keep: Literal["all", "right", "shortest", "majority"] = setting(
        "all",
        "Solutions of one question",
        "Which are learnt where a table has several. By right ones is meant: those that end with the answer.",
        {
            "all": "all: every one",
            "right": "right: those that are right",
            "shortest": "shortest: the shortest right one",
            "majority": "majority: the shortest with the result that most of them have",
        },
        when=among("source", "file", "hub"),
        rare=True,
    )
    families: list[Text] = setting(
        [], "Kinds of problems", "The same number of each.", only=True, validate_default=True
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = setting(
        0, "Data seed", "Another number draws other problems.", rare=True
    )

    @property
    def solved(self) -> int:
        """The training problems that come with a solution."""
        return self.train if self.labelled is None else min(self.labelled, self.train)

    @field_validator("families")
    @classmethod
    def _of_the_gym(cls, value: list[str], info: Any) -> list[str]:
        return value or (["gsm_symbolic"] if info.data.get("source") == "reasoning_gym" else [])

    @field_validator("split", "columns", mode="before")
    @classmethod
    def _follow_source(cls, value: Any, info: Any) -> Any:
        source = info.data.get("source")
        if value is not None or source not in _SOURCES[info.field_name]:
            return value
        return "train" if info.field_name == "split" else {}

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        for name, sources in _SOURCES.items():
            if getattr(self, name) is not None and self.source not in sources:
                raise fault(
                    name,
                    f" is set, but data.source is {self.source!r}, which has no use for it: set data.source to "
                    f"{' or '.join(map(repr, sources))}, or remove it.",
                )
        if self.source == "file" and self.path is None:
            raise fault("path", " is missing, but data.source is 'file': give a JSONL, CSV or Parquet file.")
        if self.source == "hub" and self.dataset is None:
            raise fault("dataset", " is missing, but data.source is 'hub': give a data set's id, such as openai/gsm8k.")
        if self.keep in ("right", "shortest") and not (self.columns and self.columns.answer):
            raise fault(
                "keep",
                f" is {self.keep!r}, but no column holds answers to judge by: set data.columns.answer, or 'majority'.",
            )
        if self.columns and self.families and not self.columns.family:
            raise fault(
                "families", " names families, but data.columns.family names no column that says them: set it too."
            )
        return self


class LoraConfig(Settings):
    """What is trained in the student: low-rank updates of its linear layers."""

    r: int = setting(16, "LoRA rank", "A higher rank can learn more, and takes more memory.", ge=1, le=1024)
    alpha: int = setting(32, "LoRA alpha", "The adapter is scaled by alpha divided by rank.", ge=1, le=65536)
    dropout: float = setting(0.0, "LoRA dropout", "A fraction left out at random, against overfitting.", ge=0, lt=1)
    targets: str | list[str] = setting(
        "all-linear", "Layers to train", "all-linear, or names such as q_proj, v_proj.", rare=True
    )
    quantize: Literal["4bit", "8bit"] | None = setting(
        None,
        "Quantize the student",
        "Fits a large student into less memory (QLoRA). Fast on an NVIDIA GPU, slow on a CPU.",
        {"": "no", "8bit": "8bit: about half the memory", "4bit": "4bit: about a quarter"},
    )

    @field_validator("targets", mode="plain")
    @classmethod
    def _targets(cls, value: Any) -> str | list[str]:
        names = isinstance(value, list) and value and all(isinstance(name, str) and name for name in value)
        if not names and value != "all-linear":
            raise fault(
                "", f" is {show(value)}: it must be 'all-linear' or a list of layer names such as [q_proj, v_proj]."
            )
        return value


class BudgetConfig(Settings):
    """How long and hard to train. `warmup`: a fraction of the steps; `max_length`: tokens; `threads` 0: every core.

    So many `steps` (100), or `epochs` over the texts there turn out to be, each as many whole steps as they make, and
    the adapter kept at the end of each; `steps` is None then. `gradient_checkpointing`: the backward pass computes each
    layer again rather than all that it needs being kept.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] | None = setting(
        None, "Epochs", "Passes over all texts, instead of a number of steps. The adapter is saved after each."
    )
    steps: Count | None = setting(
        100, "Steps", "How often the student is updated.", when=among("epochs", None, "", 0), only=True
    )
    batch_size: Size = setting(64, "Batch size", "Problems read at a time.")
    accumulation: int = setting(
        1, "Gradient accumulation", "Batches per step, for large steps in little memory.", ge=1, le=1024
    )
    gradient_checkpointing: bool = setting(
        False,
        "Gradient checkpointing",
        "Training takes much less memory and about 40% longer, as it computes twice what it does not keep.",
    )
    learning_rate: float = setting(
        2e-3, "Learning rate", "How far each step goes. If too high, it forgets.", gt=0, le=1
    )
    max_length: int = setting(
        256, "Longest text read", "In tokens. Longer texts are left out, and counted.", rare=True, ge=16, le=131_072
    )
    warmup: float = setting(
        0.05, "Warm-up", "The fraction of the steps in which the learning rate rises.", rare=True, ge=0, le=1
    )
    schedule: Literal["cosine", "linear", "constant"] = setting(
        "cosine",
        "Learning rate schedule",
        "How the learning rate changes after the warm-up.",
        {
            "cosine": "cosine: falls slowly, then fast, then slowly",
            "linear": "linear: falls evenly",
            "constant": "constant: stays the same",
        },
        rare=True,
    )
    weight_decay: float = setting(0.0, "Weight decay", "Pulls the trained weights towards 0.", rare=True, ge=0, le=1)
    max_grad_norm: float = setting(
        1.0,
        "Gradient clipping",
        "Larger gradients are scaled down to this norm. 0: never.",
        rare=True,
        ge=0,
        le=1_000_000,
    )
    save_every: Count = setting(25, "Steps between checkpoints", "Interrupted runs resume from the latest.", rare=True)
    threads: int = setting(0, "Threads", "CPU cores to use. 0: all of them.", rare=True, ge=0, le=1024)
    teacher_batch_size: Size = setting(
        64, "Teacher batch size", "Texts a teacher reads at once. Fewer take less memory.", rare=True
    )

    @model_validator(mode="before")
    @classmethod
    def _epochs_instead(cls, data: Any) -> Any:
        given = isinstance(data, dict) and data.get("epochs") is not None
        return {"steps": None, **data} if given else data

    @field_validator("steps")
    @classmethod
    def _one_of_the_two(cls, steps: int | None, info: Any) -> int | None:
        epochs = info.data.get("epochs")
        if steps is None and epochs is None:
            raise fault("", " is empty: it must be a whole number, or give budget.epochs in its place.")
        if steps is not None and epochs is not None:
            raise fault("", f" is {steps}, but budget.epochs is {epochs}: give one of the two, and null for the other.")
        return steps

    def total(self, texts: int) -> int:
        """The optimiser steps in all, where there are so many texts to learn from."""
        return self.steps if self.epochs is None else self.epochs * (texts // (self.batch_size * self.accumulation))


class EvaluationConfig(Settings):
    """How the student answers the held-out problems; how many there are is `data.held_out`."""

    max_new_tokens: int = setting(
        64, "Longest answer", "In tokens. If too short, right answers are cut off.", ge=1, le=8192
    )
    batch_size: Size = setting(
        256, "Evaluation batch size", "Problems answered at once. Fewer take less memory.", rare=True
    )
    teachers: int = setting(
        0,
        "Problems for the teachers",
        "How many of the held-out problems the teachers answer too, to see how far there was to go.",
        ge=0,
        le=100_000,
    )


class ProbeConfig(Settings):
    """The diagnostics during training: `texts` cut at `characters`, looked at `every` so many steps.

    At every second look the student answers `samples` example problems and `problems` of the validation split.
    """

    every: Count = setting(25, "Measure every N steps", "How often agreement is measured and samples are taken.")
    texts: int = setting(128, "Texts per measurement", "More make the agreement curves steadier.", ge=4, le=4096)
    characters: int = setting(400, "Characters per text", "Longer texts are cut off there.", ge=16, le=100_000)
    samples: int = setting(3, "Sample problems", "Answered at every second measurement, for you to read.", ge=0, le=16)
    problems: int = setting(
        48, "Validation problems per measurement", "Answered at every second measurement, for the curve.", ge=0, le=512
    )


def missing_trackers(names: Sequence[str]) -> str:
    """What is wrong with reporting to these, one sentence that begins with the setting; "" where all are there."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"report_to names {absent[0]!r}, which is not installed here: pip install {absent[0]}, or leave it out."
