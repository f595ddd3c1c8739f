"""Every setting a visitor can change, step by step.

Nothing of a setting is written here: words stand beside it in config/ and objectives/, and binding.py takes ranges,
defaults and choices from the same place.
"""

from __future__ import annotations

from distill.config.settings import AUTOMATIC
from distill.ui.configure.fields.field import Field, Objective
from distill.ui.configure.fields.steps import BUDGET, OBJECTIVES, PROBLEMS, STUDENT

__all__ = ["AUTOMATIC", "BUDGET", "FIELDS", "OBJECTIVES", "PROBLEMS", "STEPS", "STUDENT", "Field", "Objective"]

STEPS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "student": ("Student", STUDENT),
    "teachers": ("Teachers", ()),
    "problems": ("Problems", PROBLEMS),
    "method": ("Method", tuple(field for one in OBJECTIVES for field in one.fields)),
    "budget": ("Budget", BUDGET),
    "review": ("Review", ()),
}
FIELDS: dict[str, Field] = {field.key: field for _, fields in STEPS.values() for field in fields}
