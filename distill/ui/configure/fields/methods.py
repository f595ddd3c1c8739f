"""The fields of a method: its settings, with the words that stand beside them in its file (objectives/)."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from distill.config.method import Listening, Method
from distill.config.settings import Condition, Held, dial_of, settings_in
from distill.ui.configure.fields.field import Field, Objective


def objective(method: type[Method]) -> Objective:
    """The switch, the weight and the fields of a method; what many methods have in common comes last."""
    infos = dict(method.model_fields)
    common = [name for name in infos if name in Listening.model_fields and name not in Method.model_fields]
    ordered = sorted(infos.items(), key=lambda item: item[0] in common)
    key = f"objectives.{method.of_kind()}"
    fields = [field for name, info in ordered if name != "kind" for field in _fields(method, key, name, info)]
    return Objective(method.of_kind(), method.title, method.help, tuple(fields))


def _fields(method: type[Method], prefix: str, name: str, info: FieldInfo, rare: bool = False) -> Iterator[Field]:
    """The field of a setting, or those of a group of settings."""
    group = settings_in(info.annotation)
    if group is None:
        dial, label = dial_of(info), (info.title or name).format(noun=method.noun, short=method.short)
        when = _beside(prefix, dial.when) if dial.when else None
        yield Field(
            f"{prefix}.{name}",
            label,
            info.description or "",
            dial.words,
            when=when,
            rare=dial.rare or rare,
            widget=dial.widget,
        )
        return
    for inner, told in group.model_fields.items():
        yield from _fields(method, f"{prefix}.{name}", inner, told, rare or name in method.rare)


def _beside(prefix: str, when: Condition) -> Condition:
    """The condition, of all fields, where it names the settings beside its own."""

    def condition(held: Held) -> bool:
        return when(lambda name: held(f"{prefix}.{name}"))

    return condition
