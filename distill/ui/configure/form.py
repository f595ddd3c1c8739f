"""The fields of Configure as Gradio components, built from configure/fields: shown, hidden and marked by value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import gradio as gr

from distill.config import paths
from distill.ui.configure.binding import Values, relevant, spec
from distill.ui.configure.fields import FIELDS, Field, Objective

_FEW = 4  # choices that are shown all at once


class Form:
    """Every field's component, in the order of FIELDS once all steps are built.

    `values`: what they show at first. `groups`: the columns with a heading, and the fields in each. `folds`: the
    accordions of rare fields, and the fields in each.
    """

    def __init__(self, values: Values):
        self.values = values
        self.widgets: dict[str, Any] = {}
        self.groups: list[tuple[gr.Column, Sequence[Field]]] = []
        self.folds: list[tuple[gr.Accordion, Sequence[Field]]] = []

    def add(self, fields: Sequence[Field]) -> None:
        """Build fields here: those of a group under its heading, rare ones folded away."""
        for heading, members in groupby([field for field in fields if not field.rare], key=lambda field: field.group):
            self._group(list(members), heading)
        rare = [field for field in fields if field.rare]
        if rare:
            with gr.Accordion("More settings", open=False, elem_classes="fold") as fold:
                self._group(rare)
            self.folds.append((fold, rare))

    def add_objective(self, objective: Objective) -> None:
        """The switch of an objective, and its other fields where it is on."""
        switch, *dials = objective.fields
        with gr.Column(elem_classes="aim"):
            self._group([switch])
            on = self.values[switch.key]
            with gr.Column(visible=on, elem_classes="aim-dials") as column:
                self.add(dials)
            self.groups.append((column, dials))

    def _group(self, members: Sequence[Field], heading: str = "") -> None:
        with gr.Column(visible=any(relevant(f, self.values) for f in members), elem_classes="group") as column:
            if heading:
                gr.HTML(f"<h3>{heading}</h3>")
            with gr.Column(elem_classes="dials"):
                for field in members:
                    self.widgets[field.key] = widget(field, self.values)
        self.groups.append((column, members))

    @property
    def all(self) -> list[Any]:
        """The components in the order of FIELDS."""
        return [self.widgets[key] for key in FIELDS]

    @property
    def shown(self) -> list[Any]:
        """What `show` gives updates for."""
        return [*[column for column, _ in self.groups], *[fold for fold, _ in self.folds], *self.all]

    def show(self, values: Values, faults: Mapping[str, str], teachers: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Updates for `shown`: relevant fields are visible, faulty ones are marked and unfolded; `teachers`: names to
        choose from."""
        shown = {key for key, field in FIELDS.items() if relevant(field, values) or key in faults}
        groups = [gr.update(visible=any(f.key in shown for f in members)) for _, members in self.groups]
        folds = [
            gr.update(open=True) if any(f.key in faults for f in members) else gr.skip() for _, members in self.folds
        ]
        marked = [_marked(field, values, faults.get(field.key), teachers) for field in FIELDS.values()]
        return [*groups, *folds, *marked]

    @staticmethod
    def filled(values: Values, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Updates for `all` with these values; `columns`: of the visitor's file."""
        more = {"choices": ["", *columns]}
        return [
            gr.update(value=values[key], **(more if field.widget == "column" else {})) for key, field in FIELDS.items()
        ]


def widget(field: Field, values: Values) -> Any:
    """The component of a field."""
    what, value = spec(field.key), values[field.key]
    common: dict[str, Any] = {
        "label": field.label,
        "info": info(field),
        "value": value,
        "elem_id": f"field-{field.key.replace('.', '-').replace('_', '-')}",
        "elem_classes": _classes(field),
        "visible": relevant(field, values),
        "interactive": True,
    }
    if field.widget == "teachers":
        return gr.Dropdown([], multiselect=True, allow_custom_value=True, **common)
    if field.widget:
        choices = paths.zoo_names() if field.widget == "model" else []
        return gr.Dropdown(choices, allow_custom_value=True, **common)
    if what.kind == "switch":
        return gr.Checkbox(**common)
    if what.kind in ("choices", "several"):
        return gr.CheckboxGroup([(text, option) for option, text in field.words.items()], **common)
    if what.kind == "choice":
        options = [(text, option) for option, text in field.words.items()]
        return gr.Radio(options, **common) if len(options) <= _FEW else gr.Dropdown(options, **common)
    if what.kind in ("whole", "number"):
        return gr.Number(step=_step(what.kind, what.default), **common)
    return gr.Textbox(max_lines=1, **common)


def info(field: Field) -> str | None:
    """What stands under a field's label: its meaning, and its range."""
    return " ".join(part for part in (field.help, spec(field.key).range) if part) or None


def _marked(field: Field, values: Values, fault: str | None, teachers: Sequence[str]) -> dict[str, Any]:
    visible = relevant(field, values) or bool(fault)  # a fault must be visible even where the field is not relevant
    more = {"choices": list(teachers)} if field.widget == "teachers" else {}
    return gr.update(info=fault or info(field), elem_classes=_classes(field, bool(fault)), visible=visible, **more)


def _classes(field: Field, amiss: bool = False) -> list[str]:
    wide = spec(field.key).kind in ("choice", "choices", "several", "names", "switch")
    return ["field", *(["wide"] if wide else []), *(["amiss"] if amiss else [])]


def _step(kind: str, default: float | None) -> float:
    """How far the arrow keys move a number: about a tenth of its default."""
    return 1 if kind == "whole" else 10.0 ** math.floor(math.log10((default or 0.1) / 2))
