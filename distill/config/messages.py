"""Says in one plain sentence what is wrong with a setting, and which right one is nearest.

It turns pydantic's errors into sentences.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

# Cuts while it writes: the whole of a huge value is never written out.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 4
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 200
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 30

_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "bool": "yes or no",
    "list": "a list",
    "model": "a group of settings",
    "dict": "a group of settings",
}


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most like `word`, whatever the case, or None where none is alike."""
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def instead(word: str, options: Iterable[str]) -> str:
    """What to offer in place of `word`: "did you mean 'tiny'?", or all there is: "choose one of 'a' or 'b'."."""
    options = list(options)
    found = nearest(word, options)
    return f"did you mean {found!r}?" if found else f"choose {one_of(options)}."


def one_of(options: Iterable[str]) -> str:
    """The options as a phrase: "one of 'a', 'b' or 'c'", or "'a'" alone."""
    quoted = [repr(option) for option in options]
    return f"one of {', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)


def listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; "" for none."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def fault(key: str, rest: str) -> PydanticCustomError:
    """An error a validator raises: `key` is the setting below the validated place ("" for the place itself)."""
    return PydanticCustomError("fault", "{key}{rest}", {"key": key, "rest": rest})


def unknown(key: str, settings: Iterable[str]) -> PydanticCustomError:
    """An error a validator raises for a key that is none of the `settings` of the validated place."""
    return PydanticCustomError("unknown", "{key} is not a setting", {"key": key, "settings": list(settings)})


def show(value: Any) -> str:
    """A value much as the user wrote it, cut where it is long."""
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else _BRIEF.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def place(location: Iterable[str | int]) -> str:
    """A pydantic location as a dotted setting: ("objectives", 1, "geometry", "weight") is objectives.geometry.weight.

    Inside `objectives` pydantic names the position and then the kind; the kind alone says it better.
    """
    parts = [str(part) for part in location]
    if parts[:1] == ["objectives"] and len(parts) > 2:
        del parts[1]
    return ".".join(parts)


def sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """The first thing wrong, as one sentence that names the setting. `root` is the model of all settings."""
    detail = error.errors(include_url=False)[0]
    where, context = place(detail["loc"]), detail.get("ctx", {})
    if detail["type"] == "fault":
        return _join(where, context["key"]) + context["rest"]
    if detail["type"] == "unknown":
        return f"{_join(where, context['key'])} is not a setting: {_other_key(where, root, **context)}"
    return _sentence(detail["type"], where, detail["input"], context, detail["msg"])


def _other_key(where: str, root: type[BaseModel], key: str, settings: list[str]) -> str:
    found = nearest(key, settings)
    if found:
        return f"did you mean {_join(where, found)}?"
    # Nothing alike here: a setting of that name elsewhere is what was meant (`steps` for `budget.steps`).
    elsewhere = next((path for path in paths(root) if path.rsplit(".", 1)[-1] == key), None)
    return f"did you mean {elsewhere}?" if elsewhere else f"choose {one_of(settings)}."


def paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting of `model` as a dotted path, groups before what they hold; what lies in lists is left out."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += paths(field.annotation, f"{prefix}{name}.")
    return found


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _sentence(kind: str, where: str, value: Any, context: dict[str, Any], message: str) -> str:
    if kind == "missing":
        return f"{where} is missing: add it to the settings."
    if kind == "union_tag_not_found":
        return f"{where} has no kind: give it one, such as 'kind: task'."
    if kind == "union_tag_invalid":
        return f"{where}.kind is {show(context['tag'])}: {instead(context['tag'], _quoted(context['expected_tags']))}"
    if value is None and kind.startswith("string"):
        return f"{where} is empty: give it a value."
    start = f"{where} is {show(value)}: "
    if kind == "literal_error":
        choices = _quoted(context["expected"])
        found = nearest(str(value), choices)
        if found and len(choices) > 1:
            return f"{where} is {show(value)}, not {one_of(choices)}: did you mean {found!r}?"
        return start + instead(str(value), choices)
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{start}it must be {words} {_number(context[key])}."
    if kind in ("string_too_short", "too_short"):
        return f"{where} is empty: give it a value."
    if kind == "string_too_long":
        return f"{start}it must be at most {context['max_length']} characters long."
    if kind == "string_pattern_mismatch":
        return f"{start}it must not hold line breaks, slashes or other control characters."
    if kind == "int_from_float":
        return start + "it must be a whole number."
    for prefix, words in _TYPES.items():
        if kind.startswith(prefix):
            return f"{start}it must be {words}."
    return start + message[0].lower() + message[1:] + "."


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)
