"""What a setting is on the page: its place in the config, and the words and conditions that stand beside it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from distill.config.settings import Condition, Dial, Held, both, dial_of, settings_in


@dataclass(frozen=True, kw_only=True)
class Field(Dial):
    """A setting: `key` is its dotted path in the config, "objectives.KIND" the switch of an objective.

    `when` asks what all the others hold, by their keys. `setting`: the path in the config where the key is another, as
    two fields ask for the same in different words.
    """

    key: str
    label: str
    help: str
    setting: str = ""

    @property
    def path(self) -> str:
        """Its dotted path in the config."""
        return self.setting or self.key


@dataclass(frozen=True)
class Objective:
    """Something the student is trained on: `kind` as in the config, its switch, its weight and its own dials."""

    kind: str
    title: str
    help: str
    dials: tuple[Field, ...] = ()

    @property
    def key(self) -> str:
        return f"objectives.{self.kind}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The switch, and the dials."""
        return Field(key=self.key, label=self.title, help=self.help), *self.dials


def fields_of(key: str, info: FieldInfo, above: Dial | None = None, **called: str) -> Iterator[Field]:
    """The field of the setting `key`, or those of a group of settings; `called`: words that labels leave open."""
    own, above = dial_of(info), above or Dial()
    conditions = [*filter(None, [above.when, own.when and _beside(key.rpartition(".")[0], own.when)])]
    dial = Dial(
        own.words,
        both(*conditions) if conditions else None,
        own.only or above.only,
        own.rare or above.rare,
        own.group or above.group,
        own.widget or above.widget,
    )
    group = settings_in(info.annotation)
    if group is None:
        label = (info.title or key).format(**called)
        yield Field(key=key, label=label, help=info.description or "", **vars(dial))
    for name, inner in group.model_fields.items() if group else ():
        yield from fields_of(f"{key}.{name}", inner, dial, **called)


def _beside(group: str, when: Condition) -> Condition:
    """The condition, of all fields, where it names the settings beside its own."""

    def condition(held: Held) -> bool:
        return when(lambda name: held(f"{group}.{name}"))

    return condition
