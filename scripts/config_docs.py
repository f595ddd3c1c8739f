"""Write docs/config.md, every setting of a run, from the schema: `python -m scripts.config_docs`.

Types, ranges and defaults come from the pydantic models, labels and help from where the page has them (`words`). A test
(tests/test_readme.py) says when the file is out of date.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from distill.config.run_config import RunConfig
from distill.config.settings import Settings, settings_in, unwrapped
from distill.objectives import KINDS
from distill.ui.configure.fields import FIELDS

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
        "For sources `file` and `hub`: which column holds what. If there is no column `solution` but one named\n"
        "`teacher_solution`, that one is read. With `messages`, leave `question` and `solution` out.",
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

# Labels and help where the page has no field, or asks in another way.
OTHERS = {
    "name": ("Name", "What the run is called in lists and on its model card."),
    "description": ("Description", "A sentence about the run."),
    "student": ("Student", "The model that will learn: see [a model](#a-model)."),
    "teachers": ("Teachers", "A list of models, each with a name of its own: see [a model](#a-model)."),
    "data": ("Data", "See [data](#data)."),
    "objectives": ("Methods", "A weighted list of methods, at most one of each kind: see [objectives](#objectives)."),
    "lora": ("Adapter", "See [lora](#lora)."),
    "budget": ("Budget", "See [budget](#budget)."),
    "evaluation": ("Evaluation", "See [evaluation](#evaluation)."),
    "probe": ("Measurements", "See [probe](#probe)."),
    "student.model": ("Model", "A zoo model, a folder, or an id on the Hub."),
    "student.name": ("Name in this run", "What charts and tables call it."),
    "data.path": ("File", "JSONL, CSV or Parquet; at most 20 MB and 100,000 rows. For source `file`."),
    "data.columns": ("Columns", "See [data.columns](#datacolumns)."),
    # On the page an empty number is 0, and "this page" is the page.
    "budget.epochs": ("Times over all texts (epochs)", "The adapter is kept after each. None: as many steps as given."),
    "report_to": ("Trackers that get the numbers too", "Programs that keep and draw the curves of many runs."),
}
GATE = "Gate", "How much each teacher counts for each text. A bare kind stands for `{kind: KIND}`."


class Words(NamedTuple):
    """What a setting is called, what it means, and what each of its choices means."""

    label: str
    help: str
    choices: dict[Any, str]


def words(path: str) -> Words:
    """The words of the setting at a dotted path. Raises KeyError where nobody has written any.

    The one place to change when the words move beside the settings.
    """
    choices = dict(FIELDS[path].words) if path in FIELDS else {}
    if path in OTHERS:
        return Words(*OTHERS[path], choices)
    if path.startswith("objectives.") and path.endswith(".gate"):
        return Words(*GATE, choices)
    return Words(FIELDS[path].label, FIELDS[path].help, choices)


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
        label, text, choices = words(at)
        meaning = f"**{_cell(label)}.** {_cell(text)}"
        said = [f"`{key}`: {_cell(_bare(key, choices[key]))}" for key in _choices(info) if key in choices]
        meaning += f" {'; '.join(said)}." if said else ""
        rows.append(f"| `{inside}{name}` | {_values(info)} | {_default(info)} | {meaning} |")
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
