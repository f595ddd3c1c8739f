"""What a browser keeps of Configure besides the fields (preset, teachers, file), and the draft made from both.

It comes back from the browser, so all of it is validated. Pure: no components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.config import paths
from distill.ui.actions import UPLOAD, uploads
from distill.ui.configure.binding import FIRST, Draft, Values, draft_of, spec
from distill.ui.configure.fields import FIELDS
from distill.ui.configure.teachers import MOST

DraftState = dict[str, Any]  # "preset", "teachers", "upload", "file", "columns"

_LONGEST = 200  # characters of a name
_COLUMNS = 200  # columns of a file that are offered
_LISTS, _NUMBERS = ("choices", "several", "names"), ("whole", "number")
_KINDS = {"switch": bool, **dict.fromkeys(_LISTS, list), **dict.fromkeys(_NUMBERS, (int, float))}


def initial_state(preset: str = FIRST) -> DraftState:
    """The state right after a preset was chosen."""
    return {"preset": preset, "teachers": list(draft_of(preset).teachers), "upload": "", "file": "", "columns": []}


def validated(state: Any) -> DraftState:
    """The state that a browser sent, without anything that this page cannot have put there."""
    if not isinstance(state, dict) or state.get("preset") not in paths.preset_names():
        return initial_state()
    kept = initial_state(state["preset"])
    if isinstance(state.get("teachers"), list):
        kept["teachers"] = [teacher for item in state["teachers"][:MOST] if (teacher := _teacher(item))]
    upload = state.get("upload")
    if isinstance(upload, str) and UPLOAD.fullmatch(upload) and (uploads() / upload).is_file():
        columns = state.get("columns")
        kept |= {"upload": upload, "file": _text(state.get("file"))}
        kept["columns"] = [_text(name) for name in columns[:_COLUMNS]] if isinstance(columns, list) else []
    return kept


def to_draft(state: Any, name: Any, values: Sequence[Any]) -> Draft:
    """The draft from a browser's state; `values` in the order of FIELDS."""
    kept = validated(state)
    return Draft(
        preset=kept["preset"],
        values=dict(zip(FIELDS, values, strict=True)),
        teachers=tuple(kept["teachers"]),
        upload=kept["upload"],
        file=kept["file"],
        name=name if isinstance(name, str) else "",
    )


def restored_values(values: Any, preset: str) -> Values:
    """The values that a browser kept, and the preset's where it kept none that a component can hold."""
    kept = draft_of(preset).values
    if not isinstance(values, Mapping):
        return kept
    for key in FIELDS:
        kind = _KINDS.get(spec(key).kind, str)
        value = values.get(key)
        empty = value is None and spec(key).kind in ("whole", "number") and key in values
        if empty or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            if spec(key).kind in ("choice", "choices", "several"):
                value = _offered(key, value, kept[key])
            if spec(key).kind == "names":
                value = [_text(name) for name in value[:MOST] if _text(name)]
            kept[key] = value
    return kept


def _offered(key: str, value: Any, otherwise: Any) -> Any:
    options = FIELDS[key].words
    if isinstance(value, list):
        return [option for option in value if isinstance(option, str) and option in options]
    return value if value in options else otherwise


def _teacher(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict) or not all(_text(item.get(key)) for key in ("model", "name")):
        return None
    return {"model": _text(item["model"]), "name": _text(item["name"]), "revision": _text(item.get("revision")) or None}


def _text(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
