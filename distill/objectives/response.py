"""Response: cross-entropy on the teachers' own answers (sequence-level distillation, Kim & Rush 2016, 1606.07947).

The same loss as task.py, on texts that teachers wrote. Which answers are asked for, and which of them are learnt from,
is said here and done in teachers/ and data/response_selection.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from distill.config.messages import fault
from distill.config.method import Method, Names, teachers_setting
from distill.config.settings import above, either, setting
from distill.objectives.base import Models
from distill.objectives.task import ANSWER, TaskObjective

if TYPE_CHECKING:
    from distill.config.run_config import RunConfig

_KEPT = {
    "all": "all of them",
    "right": "those that are right",
    "shortest": "the shortest right one to a problem",
    "majority": "the shortest of those with the commonest result to a problem",
}


class ResponseConfig(Method):
    """Cross-entropy on the teachers' own answers to the training problems.

    `problems`: every teacher answers `each`, or they `share` them. `keep`: which answers become texts to learn from.
    `temperature` 0 takes the likeliest token each time; None is 0 for one sample and 0.8 for several. `prefill`: what
    each answer begins with, put into the teacher's mouth ("<think>\\n"); a part of what is learnt.
    """

    kind: Literal["response"] = "response"
    problems: Literal["each", "share"] = setting(
        "each",
        "Which teacher answers what",
        "With many teachers, sharing takes a fraction of the time.",
        {
            "each": "each: every teacher answers every problem",
            "share": "share: the problems are divided among them",
        },
    )
    keep: Literal["all", "right", "shortest", "majority"] = setting(
        "right",
        "Which answers to learn from",
        "An answer is right where it ends with the right result, however it got there.",
        {
            "all": "all: every finished answer",
            "right": "right: those that are right",
            "shortest": "shortest: of the right ones to a problem, the shortest",
            "majority": "majority: the shortest with the result that most answers have; needs no solutions",
        },
    )
    samples: int = setting(
        1,
        "Answers per problem (samples)",
        "How many each teacher gives. More take longer, and more problems get a right one.",
        ge=1,
        le=64,
    )
    temperature: Annotated[float, Field(ge=0, le=10)] | None = setting(
        None,
        "Variety of the teachers' answers (temperature)",
        "0: the likeliest token each time. If blank: 0 for one answer, 0.8 for several.",
        validate_default=True,
    )
    top_p: float = setting(
        1.0,
        "Likeliest tokens only (top-p)",
        "Tokens are drawn from the likeliest that make up this much of the probability. 1: from all.",
        when=either(above("temperature", 0), above("samples", 1)),
        rare=True,
        gt=0,
        le=1,
    )
    max_new_tokens: int = setting(
        256,
        "Longest answer of a teacher",
        "In its tokens. Longer answers are left out, and counted.",
        rare=True,
        ge=1,
        le=131_072,
    )
    prefill: str = setting(
        "",
        "How their answers begin (prefill)",
        "`<think>\\n` (`\\n`: a new line) makes them reason first; the student learns it too. If blank: none.",
        rare=True,
        max_length=200,
    )
    teachers: Names = teachers_setting(rare=True)

    title: ClassVar[str] = "The teachers' own answers"
    help: ClassVar[str] = (
        "The teachers answer the training problems, and the student learns to write what they wrote (sequence-level). "
        "Any teachers will do."
    )
    name: ClassVar[str] = "teachers' answers"
    noun: ClassVar[str] = "their answers"
    short: ClassVar[str] = "the teachers' answers"
    takes: ClassVar[str] = "it learns to write what they answered"
    teaches_ends: ClassVar[bool] = True

    @field_validator("prefill", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("temperature", mode="before")
    @classmethod
    def _follow_samples(cls, value: Any, info: Any) -> Any:
        return value if value is not None else (0.0 if info.data.get("samples", 1) == 1 else 0.8)

    @model_validator(mode="after")
    def _consistent(self) -> ResponseConfig:
        if self.samples > 1 and self.temperature == 0:
            raise fault(
                "temperature",
                f" is 0, but samples is {self.samples}, and all of them would be the same: raise it, to 0.8 say.",
            )
        return self

    def check(self, config: RunConfig) -> None:
        if self.keep in ("right", "shortest") and config.data.solved < config.data.train:
            raise fault(
                "objectives.response.keep",
                f" is {self.keep!r}, but data.labelled leaves problems whose answer is not known, by which nothing "
                "can be judged: use 'majority' or 'all'.",
            )

    @property
    def answers(self) -> ResponseConfig:
        return self

    def build(self, models: Models) -> ResponseObjective:
        return ResponseObjective(weight=self.weight)

    def describe(self) -> Iterable[str]:
        who = "every teacher" if self.problems == "each" else "one of the teachers"
        yield f"each problem answered {'once' if self.samples == 1 else f'{self.samples} times'} by {who}"
        yield f"kept {_KEPT[self.keep]}"
        yield f"temperature {self.temperature:g}" if self.temperature else "the likeliest token each time"
        if self.top_p < 1:
            yield f"top-p {self.top_p:g}"
        yield f"at most {self.max_new_tokens:,} tokens"
        if self.prefill.strip():
            yield f"each beginning with {self.prefill.strip()}"


class ResponseObjective(TaskObjective):
    """`TaskObjective` on the teachers' answers."""

    kind = "response"
    origin = ANSWER
