"""What a setting is on the page: its place in the config, its words, and when it matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.config.settings import Condition


@dataclass(frozen=True)
class Field:
    """A setting: `key` is its dotted path in the config, "objectives.KIND" the switch of an objective.

    `words`: what each choice means. `when`: whether this setting matters, by what the others hold. `only`: where it
    doesn't it must not be in the config at all. `rare`: it lies under "More dials". `group`: the heading it stands
    under. `widget`: "model" or "column" where a list with free text is meant, "teachers" where teachers are chosen.
    `setting`: the path in the config where the key is another, as two fields ask for the same in different words.
    """

    key: str
    label: str
    help: str
    words: Mapping[Any, str] = field(default_factory=dict)
    when: Condition | None = None
    only: bool = False
    rare: bool = False
    group: str = ""
    widget: str = ""
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
        return Field(self.key, self.title, self.help), *self.dials
