"""`--set a.b=value` carried out on settings that are still plain dicts and lists, before they are validated.

It knows no setting by name, except what a bare string stands for; whether a setting exists is for run_config.py to say.
"""

from __future__ import annotations

from typing import Any

from distill.config.errors import ConfigError
from distill.config.messages import instead
from distill.config.paths import parse_yaml

# What a bare string stands for where a group is allowed too: `gate: prior` is `gate: {kind: prior}`.
_BARE = {"gate": "kind", "objectives": "kind", "student": "model", "teachers": "model"}

_LONGEST = 10_000  # characters of a value: overrides come from strangers too

# Names a setting has besides its own.
_OTHER_NAMES = {"evaluation.problems": ["data", "held_out"]}


def split(override: str) -> tuple[list[str], Any]:
    """ "budget.steps=60" as (["budget", "steps"], 60): the value is YAML without aliases. Raises ConfigError."""
    if len(override) > _LONGEST:
        raise ConfigError(
            f"--set {override[:40]}... has {len(override):,} characters, more than {_LONGEST:,}: put them in a "
            "YAML file."
        )
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set {override} can't be read: write a setting and its value, such as --set budget.steps=60."
        )
    try:
        return keys, parse_yaml(text, aliases=False)
    except ValueError as error:
        raise ConfigError(f"--set {override} can't be read: the value is not valid YAML, {error}.") from error


def apply(settings: dict[str, Any], override: str) -> None:
    """Changes `settings` in place. Items of lists go by position, kind or name. Raises ConfigError."""
    put(settings, *split(override))


def put(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    """As `apply`, of an override that is split already."""
    keys = _OTHER_NAMES.get(".".join(keys), keys)
    node: Any = settings
    for depth, key in enumerate(keys):
        at = _index(node, key, ".".join(keys[:depth])) if isinstance(node, list) else key
        if depth == len(keys) - 1:
            node[at] = value
            return
        # What a bare string in a list stands for follows from the list's name, not from the position.
        named = keys[depth - 1] if isinstance(node, list) else key
        child = node[at] if isinstance(node, list) else node.get(at)
        if child is None:
            child = {}
        elif isinstance(child, str) and named in _BARE:
            child = {_BARE[named]: child}
        if not isinstance(child, (dict, list)):
            above = ".".join(keys[: depth + 1])
            raise ConfigError(f"{'.'.join(keys)} is not a setting: {above} is a single value with nothing below it.")
        # A copy, as a YAML anchor may make two places of a file one object.
        node[at] = child.copy()
        node = node[at]


def _index(items: list[Any], key: str, where: str) -> int:
    """The position `key` means in the list at `where`: a number, or the kind or name of an item."""
    labels = [_label(item) for item in items]
    if key in labels:
        return labels.index(key)
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    if not items:
        raise ConfigError(f"{where}.{key} is not there: {where} is an empty list.")
    if key.isdecimal():
        raise ConfigError(f"{where}.{key} is not there: {where} has {len(items)} items, counted from 0.")
    raise ConfigError(f"{where}.{key} is not there: {instead(key, labels)}")


def _label(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("kind") or item.get("name") or item.get("model") or "")
    return str(item)
