"""Every setting a visitor can change, in plain words: what it is called, what it means, when it matters.

Ranges, defaults and choices are not written here: binding.py takes them from config.py. A method's words stand beside
its settings, in its file in objectives/.
"""

from __future__ import annotations

from distill.config.settings import AUTOMATIC
from distill.objectives import METHODS
from distill.ui.configure.fields.field import Field, Objective
from distill.ui.configure.fields.methods import objective
from distill.ui.configure.fields.steps import BUDGET, PROBLEMS, STUDENT

__all__ = ["AUTOMATIC", "BUDGET", "FIELDS", "OBJECTIVES", "PROBLEMS", "STEPS", "STUDENT", "Field", "Objective"]

OBJECTIVES = tuple(map(objective, METHODS))
METHOD = tuple(field for one in OBJECTIVES for field in one.fields)
STEPS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "student": ("Student", STUDENT),
    "teachers": ("Teachers", ()),
    "problems": ("Problems", PROBLEMS),
    "method": ("Method", METHOD),
    "budget": ("Budget", BUDGET),
    "review": ("Review", ()),
}
FIELDS: dict[str, Field] = {field.key: field for _, fields in STEPS.values() for field in fields}
