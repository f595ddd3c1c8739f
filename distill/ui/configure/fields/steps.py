"""What the steps ask for, and in which order; words and conditions stand beside the settings (config/, objectives/)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from distill.config.method import Listening, Method
from distill.config.run_config import RunConfig
from distill.config.settings import among
from distill.data.families import FAMILIES
from distill.objectives import METHODS
from distill.ui.configure.fields.field import Field, Objective, fields_of

GYM = "data.families.reasoning_gym"  # the field of its data sets, which are the families there
_GYM = {
    "gsm_symbolic": "School word problems in the manner of GSM8K",
    "basic_arithmetic": "Sums with several signs and brackets",
    "chain_sum": "Long sums",
    "decimal_chain_sum": "Sums of decimal numbers",
    "products": "Products of large numbers",
    "fraction_simplification": "Fractions to simplify",
    "gcd": "Greatest common divisors",
    "lcm": "Least common multiples",
    "simple_equations": "Equations with one unknown",
    "simple_geometry": "Angles of polygons",
    "number_sequence": "Sequences to continue",
    "leg_counting": "Legs of many animals",
    "letter_counting": "Letters in a text",
}
_ELSEWHERE = {"name", "description", "teachers", "objectives", "student.name", "data.path"}  # asked for in other ways
_RUN = [field for name, info in RunConfig.model_fields.items() for field in fields_of(name, info)]


def _of(*paths: str) -> Iterator[Field]:
    """The fields at these paths and below, in this order; what has a path of its own is not among its group's."""

    def nearest(key: str) -> str:
        return max((path for path in paths if f"{key}.".startswith(f"{path}.")), key=len, default="")

    return (field for path in paths for field in _RUN if field.key not in _ELSEWHERE and nearest(field.key) == path)


def _student() -> Iterator[Field]:
    info = RunConfig.model_fields["student"]
    for field in _of("student"):
        yield replace(field, label=info.title, help=info.description) if field.key == "student.model" else field


def _problems() -> Iterator[Field]:
    for field in _of("data.source", "data.families", "data"):
        if field.key != "data.families":
            yield field
            continue
        titles = {name: family.title for name, family in FAMILIES.items()}
        yield replace(field, words=titles, when=among("data.source", "problems"))
        yield replace(
            field,
            key=GYM,
            label="Data sets of Reasoning Gym",
            help="As many problems of each. Only the first has worked solutions; the others have only answers.",
            words=_GYM,
            when=among("data.source", "reasoning_gym"),
            setting="data.families",
        )


def _objective(method: type[Method]) -> Objective:
    """The switch, the weight and the fields of a method; what many methods have in common comes last."""
    infos = dict(method.model_fields)
    common = [name for name in infos if name in Listening.model_fields and name not in Method.model_fields]
    ordered = sorted(infos.items(), key=lambda item: item[0] in common)
    key = f"objectives.{method.of_kind()}"
    called = {"noun": method.noun, "short": method.short}
    dials = [field for name, info in ordered if name != "kind" for field in fields_of(f"{key}.{name}", info, **called)]
    return Objective(method.of_kind(), method.title, method.help, tuple(dials))


STUDENT, PROBLEMS = tuple(_student()), tuple(_problems())
OBJECTIVES = tuple(map(_objective, METHODS))
BUDGET = tuple(
    _of(
        *("budget", "lora", "seed", "budget.save_every", "budget.threads", "budget.teacher_batch_size"),
        *("evaluation", "probe", "report_to"),
    )
)
