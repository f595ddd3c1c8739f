"""Between what a visitor fills in and a run's settings: what kind each field is, its range, its value.

Ranges and defaults are the settings' own (config/), so nothing is decided twice. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from distill.config import run_config as configs
from distill.config.run_config import DataConfig, RunConfig
from distill.config.settings import MADE_HERE, Name, settings_in, unwrapped
from distill.objectives import KINDS
from distill.ui.actions import uploads
from distill.ui.configure.fields import AUTOMATIC, FIELDS, OBJECTIVES, Field

FIRST = "tiny"  # the preset that is chosen when the page opens

PREFILL, BREAK = "objectives.response.prefill", "\\n"  # a field of one line: a line break is typed as \n

Values = dict[str, Any]  # field -> what its component holds


@dataclass(frozen=True)
class Spec:
    """What config.py says of a setting. `kind`: switch, choice, choices, names, whole, number or text; `low` and `high`
    are inside the range unless `above` or `below`. `follows`: left out, it depends on other settings."""

    kind: str
    options: tuple[Any, ...] = ()
    default: Any = None
    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    follows: bool = False

    @property
    def range(self) -> str:
        """ "From 1 to 1,024.", or "" where there is none; a number that may be left out is 0 then."""
        if self.low is None or self.high is None:
            return ""
        start, to = "Above" if self.above else "From", "to below" if self.below else "to"
        unset = " (0: not set)" if self.kind == "whole" and self.default is None else ""
        return f"{start} {self.low:,g} {to} {self.high:,}{unset}."


@dataclass(frozen=True)
class Draft:
    """What a visitor has filled in. `upload`: the name of the file in the folder of uploads, `file`: as they call it.

    `teachers`: {"model", "name", "revision"} each. `name`: what they typed, "" for the automatic one.
    """

    preset: str = FIRST
    values: Values = field(default_factory=dict)
    teachers: tuple[dict[str, Any], ...] = ()
    upload: str = ""
    file: str = ""
    name: str = ""


# --- what config.py says of a setting --------------------------------------------------------------------------------


@cache
def spec(key: str) -> Spec:
    """Kind, choices, default and range of the setting at a dotted path. Raises KeyError where there is none."""
    path = FIELDS[key].path if key in FIELDS else key
    owner, name = _owner(path)
    if not name:
        return Spec("switch")
    info = owner.model_fields[name]
    types_, metadata = unwrapped(info.annotation)
    default = None if info.default is PydanticUndefined else info.default
    bounds = {}
    for item in (*info.metadata, *metadata):
        bounds |= {end: getattr(item, end) for end in ("ge", "gt", "le", "lt") if hasattr(item, end)}
    follows = bool(info.validate_default)
    if default is None and types_[0] is int and not follows:
        bounds["ge"] = 0  # a browser's number is never empty: 0 stands for none
    options = get_args(types_[0]) if get_origin(types_[0]) is Literal else ()
    if options:
        return Spec("choice", options, default, follows=follows)
    if get_origin(types_[0]) is list and get_origin(get_args(types_[0])[0]) is Literal:
        return Spec("several", get_args(get_args(types_[0])[0]), default)
    if path == "data.families":
        named = DataConfig(source="reasoning_gym").families if key != path else default
        return Spec("choices", tuple(FIELDS[key].words), named)
    return Spec(
        {int: "whole", float: "number", bool: "switch", list[Name]: "names"}.get(types_[0], "text"),
        default=default,
        low=bounds.get("ge", bounds.get("gt")),
        high=bounds.get("le", bounds.get("lt")),
        above="gt" in bounds,
        below="lt" in bounds,
        follows=follows,
    )


def _owner(key: str) -> tuple[type[BaseModel], str]:
    """The group of settings a dotted path lies in, and its name there ("" for an objective's switch)."""
    owner: type[BaseModel] = RunConfig
    parts = key.split(".")
    if parts[0] == "objectives":
        owner, parts = KINDS[parts[1]], parts[2:]
    for part in parts[:-1]:
        owner = settings_in(owner.model_fields[part].annotation)
    return owner, parts[-1] if parts else ""


def relevant(dial: Field, values: Values) -> bool:
    """Whether a field matters with these values; where it doesn't it is not shown."""
    kind = dial.key.split(".")[1] if dial.key.startswith("objectives.") else None
    if kind and dial.key.count(".") > 1 and not values.get(f"objectives.{kind}"):
        return False
    return dial.when is None or dial.when(values.get)


# --- from a config to values, and back -------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def preset(name: str) -> RunConfig:
    """A preset's config."""
    return configs.load(name)


def draft_of(name: str) -> Draft:
    """A preset as a visitor finds it filled in."""
    config = preset(name)
    teachers = tuple(teacher.model_dump() for teacher in config.teachers)
    return Draft(preset=name, values=values_of(config), teachers=teachers)


def values_of(config: RunConfig) -> Values:
    """What every field shows for a config; an objective that it leaves out shows its defaults, switched off."""
    dump = config.model_dump(mode="json")
    chosen = {objective.kind: objective for objective in config.objectives}
    values: Values = {}
    for objective in OBJECTIVES:
        model = chosen.get(objective.kind) or KINDS[objective.kind]()
        values[objective.key] = objective.kind in chosen
        for dial in objective.fields[1:]:
            value = get(model.model_dump(mode="json"), dial.key.split(".")[2:])
            if spec(dial.key).follows and value == _followed(model, dial.key.rsplit(".", 1)[-1]):
                value = AUTOMATIC if AUTOMATIC in dial.words else None
            values[dial.key] = _shown(dial, value)
    for dial in FIELDS.values():
        value = get(dump, dial.path.split("."))
        if dial.path == "data.families" and not relevant(dial, {"data.source": config.data.source}):
            value = None  # those of the other source
        values.setdefault(dial.key, _shown(dial, spec(dial.key).default if value is None else value))
    return {key: values[key] for key in FIELDS}


def settings(draft: Draft) -> dict[str, Any]:
    """The settings a draft asks for, as a YAML file would hold them: not yet checked."""
    base = preset(draft.preset)
    asked = base.model_dump(mode="json")
    asked["teachers"] = [dict(teacher) for teacher in draft.teachers]
    if asked["student"]["model"] != draft.values["student.model"]:
        del asked["student"]["name"]  # it is called by its model, not by the one before
    asked["objectives"] = [_objective(kind, draft.values) for kind in _kinds(base, draft.values)]
    plain = [dial for dial in FIELDS.values() if not dial.key.startswith("objectives.")]
    kept = [dial for dial in plain if relevant(dial, draft.values) or not dial.only]
    for dial in sorted(plain, key=lambda dial: dial in kept):  # what is taken out goes first: another may ask for it
        put(asked, dial.path.split("."), _asked(dial, draft.values[dial.key]), dial in kept)
    data = asked["data"]
    if data["source"] in MADE_HERE:  # what only other sources have must not be there at all
        data.pop("columns", None)
    data["path"] = file_of(draft) if data["source"] == "file" else None
    asked["name"] = draft.name.strip() or draft.preset
    return asked


def file_of(draft: Draft) -> str | None:
    """The file of problems: the visitor's, else the one that the preset comes with; None where there is neither."""
    return str(uploads() / draft.upload) if draft.upload else preset(draft.preset).data.path


def _kinds(base: RunConfig, values: Values) -> list[str]:
    """The objectives that are switched on: those of the preset in its order, then others in ours."""
    kinds = list(dict.fromkeys([objective.kind for objective in base.objectives] + [o.kind for o in OBJECTIVES]))
    return [kind for kind in kinds if values.get(f"objectives.{kind}")]


def _objective(kind: str, values: Values) -> dict[str, Any]:
    asked: dict[str, Any] = {"kind": kind}
    for dial in FIELDS.values():
        parts = dial.key.split(".")
        if parts[:2] == ["objectives", kind] and len(parts) > 2:
            put(asked, parts[2:], _asked(dial, values[dial.key]))
    return asked


def _followed(objective: BaseModel, name: str) -> Any:
    """What an objective makes of a setting that is left out, the others being what they are."""
    kept = objective.model_dump(mode="json", exclude={name})
    try:
        return getattr(type(objective).model_validate(kept), name)
    except ValidationError:  # it can't be left out beside the others
        return None


def _shown(dial: Field, value: Any) -> Any:
    """A setting's value as its component holds it."""
    kind = spec(dial.key).kind
    if dial.key == PREFILL:
        return (value or "").replace("\n", BREAK)
    if kind == "several":
        return list(value or [])
    if kind in ("choices", "names"):
        return list(value or spec(dial.key).options)
    if kind == "whole" and value is None:
        return 0
    if kind in ("choice", "text"):
        return ", ".join(value) if isinstance(value, list) else value if value is not None else ""
    return value


def _asked(dial: Field, value: Any) -> Any:
    """A component's value as the setting."""
    kind = spec(dial.key).kind
    if kind == "several":
        return [option for option in spec(dial.key).options if option in (value or [])]
    if kind == "choices":
        chosen = [option for option in spec(dial.key).options if option in (value or [])]
        return [] if len(chosen) == len(spec(dial.key).options) and dial.path == dial.key else chosen
    if kind == "names":
        return [name.strip() for name in value or [] if isinstance(name, str) and name.strip()] or None
    if kind == "whole" and value == 0 and spec(dial.key).default is None:
        return None
    if kind in ("whole", "number"):
        return int(value) if kind == "whole" and isinstance(value, float) and value.is_integer() else value
    if dial.key == PREFILL:  # blanks at its end count
        return value.replace(BREAK, "\n") if isinstance(value, str) else value
    text = value.strip() if isinstance(value, str) else value
    if dial.key == "lora.targets" and text and text != "all-linear":
        return [name.strip() for name in text.split(",") if name.strip()]
    if text in ("", AUTOMATIC):
        return None
    return text


def get(settings: Any, parts: list[str]) -> Any:
    """What nested settings hold at a path, None where there is nothing."""
    for part in parts:
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def put(settings: dict[str, Any], parts: list[str], value: Any, keep: bool = True) -> None:
    """Set a value in place, or, unless `keep`, take what is there out."""
    for part in parts[:-1]:
        if not isinstance(settings.get(part), dict):
            settings[part] = {}
        settings = settings[part]
    if keep:
        settings[parts[-1]] = value
    else:
        settings.pop(parts[-1], None)
