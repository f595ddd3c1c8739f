"""Write docs/config.md, every setting of a run, from the schema: `python -m scripts.config_docs`.

Types, ranges, defaults and words come from the pydantic models. A test (tests/test_readme.py) says when the file is out
of date.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distill.config.run_config import RunConfig
from distill.config.settings import Settings, dial_of, settings_in, unwrapped
from distill.objectives import KINDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "config.md"

INTRODUCTION = """\
<!-- Made by `python -m scripts.config_docs` from the settings themselves: change those, then run it again. -->

A config is a YAML file; what it leaves out has the default. `python -m distill show tiny` prints a preset with every
setting, and `--set budget.steps=60` changes one on the command line. A wrong key or value is answered with one sentence
that says which it is, where it is and what to do.

Ranges with a point (`0.0 to 1.0`) take fractions. *Automatic*: the default follows another setting."""

# (dotted path of the group, heading, what to know before reading the table); "" is the run itself.
GROUPS = (
    ("", "The run", "The top level of the file. `student` and `objectives` are required."),
    (
        "student",
        "A model",
        "The student and each teacher. A bare name stands for `{model: NAME}`. See [your own models](usage.md#models).",
    ),
    ("data", "data", "Where the problems come from and how many. See [your own data](usage.md#data)."),
    (
        "data.columns",
        "data.columns",
        "For sources `file` and `hub`: which column holds what. Where there is no column of the default name, the one\n"
        "that is likely it is read ([layouts](usage.md#data)). With `messages`, leave `question` and `solution` out.",
    ),
    ("lora", "lora", "What is trained in the student: low-rank additions to its layers (LoRA)."),
    ("budget", "budget", "How long and how hard to train. Give `steps` or `epochs`, not both."),
    (
        "evaluation",
        "evaluation",
        "How the student answers the held-out problems. `evaluation.problems` is another name for `data.held_out`.",
    ),
    ("probe", "probe", "What is measured while the student trains."),
)

# Where more is said of a setting at the top level than its help.
LINKS = {name: f"[{name}](#{name})" for name in ("data", "objectives", "lora", "budget", "evaluation", "probe")}
LINKS |= dict.fromkeys(("student", "teachers"), "[a model](#a-model)")
LINKS["data.columns"] = "[data.columns](#datacolumns)"


def page() -> str:
    """The whole of docs/config.md."""
    parts = ["# Every setting", INTRODUCTION]
    for path, heading, text in GROUPS:
        if path == "lora":  # the methods stand between the data and the training
            parts += _methods()
        parts += [f"## {heading}", text, _table(_group(path), path)]
    return "\n\n".join(parts) + "\n"


def _methods() -> list[str]:
    parts = [
        "## objectives",
        "A list of methods. Each has a `kind`, and a `weight` beside the others; a bare kind stands for\n"
        "`{kind: KIND}`. [methods.md](methods.md) says what each one does and when it is worth it.",
    ]
    for kind, method in KINDS.items():
        parts += [f"### {kind}", f"{method.title}. {method.help}", _table(method, f"objectives.{kind}")]
    return parts


def _group(path: str) -> type[Settings]:
    """The settings at a dotted path."""
    group: type[Settings] = RunConfig
    for name in filter(None, path.split(".")):
        group = settings_in(group.model_fields[name].annotation)
    return group


def _table(group: type[Settings], path: str, inside: str = "") -> str:
    rows = _rows(group, path, inside)
    return "\n".join(["| setting | values | default | meaning |", "|---|---|---|---|", *rows])


def _rows(group: type[Settings], path: str, inside: str = "") -> list[str]:
    rows = []
    for name, info in group.model_fields.items():
        at = f"{path}.{name}".lstrip(".")
        if path.startswith("objectives.") and name == "kind" and not inside:
            continue
        method = KINDS[at.split(".")[1]] if path.startswith("objectives.") else None
        label = info.title.format(noun=method.noun, short=method.short) if method else info.title
        link = f"See {LINKS[at]}." if at in LINKS else ""
        meaning, choices = " ".join(filter(None, [f"**{label}.**", info.description, link])), dial_of(info).words
        said = [f"`{key}`: {_bare(key, choices[key])}" for key in _choices(info) if key in choices]
        meaning += f" {'; '.join(said)}." if said else ""
        rows.append(f"| `{inside}{name}` | {_values(info)} | {_default(info)} | {_cell(meaning)} |")
        nested = settings_in(info.annotation) if name == "gate" else None
        rows += _rows(nested, at, f"{inside}{name}.") if nested else []
    return rows


def _bare(key: Any, said: str) -> str:
    """A choice's meaning without the choice itself, which the page's words begin with."""
    return said.removeprefix(f"{key}:").strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _choices(info: FieldInfo) -> tuple[Any, ...]:
    """The values it may have, or its list may hold, where they are few."""
    kind = unwrapped(info.annotation)[0][0]
    kind = unwrapped(get_args(kind)[0])[0][0] if get_origin(kind) is list else kind
    return get_args(kind) if get_origin(kind) is Literal else ()


def _values(info: FieldInfo) -> str:
    kinds, limits = unwrapped(info.annotation)
    limits = [*info.metadata, *limits]
    optional = "" if type(None) not in _members(info.annotation) else " or none"
    kind, choices = kinds[0], ", ".join(f"`{one}`" for one in _choices(info))
    low, high = ([one for one in limits if isinstance(one, ends)] for ends in ((Ge, Gt), (Le, Lt)))
    if get_origin(kind) is list:
        said = f"list of {choices}" if choices else "list"
    elif choices:
        said = choices
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        said = "group"
    elif kind is bool:
        said = "true, false"
    elif kind in (int, float):
        said = " to ".join(_bound(one, kind) for one in low + high) or "number"
    else:
        said = "text" + (" or list" if len(kinds) > 1 else "")
    return said + optional


def _bound(limit: Ge | Gt | Le | Lt, kind: type) -> str:
    """ "above 0.0", "4,096": whole numbers without a point, others with one."""
    value = next(getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name))
    return f"{'above ' if isinstance(limit, Gt) else 'below ' if isinstance(limit, Lt) else ''}{kind(value):,}"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default is PydanticUndefined:
        return "empty" if info.default_factory is list else "from `model`"
    if info.default is None:
        return "automatic" if info.validate_default else "none"
    if isinstance(info.default, BaseModel):
        return "as listed"
    if info.default in ("", []):
        return "empty"
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
