"""Every setting a visitor can change, in plain words: what it is called, what it means, when it matters.

Ranges, defaults and choices are not written here: binding.py takes them from config.py. A new objective is one entry in
OBJECTIVES. Nothing here knows of components.
"""

from __future__ import annotations

from distill.config.objectives import KINDS
from distill.ui.configure.fields.answers import GKD, RESPONSE, TASK
from distill.ui.configure.fields.field import AUTOMATIC, Field, Objective
from distill.ui.configure.fields.geometry import GEOMETRY
from distill.ui.configure.fields.signals import CROSS_TOKENIZER, FEATURES, LOGITS
from distill.ui.configure.fields.steps import BUDGET, PROBLEMS, STUDENT

__all__ = ["AUTOMATIC", "BUDGET", "FIELDS", "OBJECTIVES", "PROBLEMS", "STEPS", "STUDENT", "Field", "Objective"]

_ALL = {one.kind: one for one in (TASK, RESPONSE, LOGITS, FEATURES, GEOMETRY, GKD, CROSS_TOKENIZER)}
OBJECTIVES = tuple(_ALL[kind] for kind in KINDS)
METHOD = tuple(field for objective in OBJECTIVES for field in objective.fields)
STEPS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "student": ("Student", STUDENT),
    "teachers": ("Teachers", ()),
    "problems": ("Problems", PROBLEMS),
    "method": ("Method", METHOD),
    "budget": ("Budget", BUDGET),
    "review": ("Review", ()),
}
FIELDS: dict[str, Field] = {field.key: field for _, fields in STEPS.values() for field in fields}
