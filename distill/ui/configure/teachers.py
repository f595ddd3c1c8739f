"""The list of teachers as rows with number, colour, width, tokenizer and size; and the functions that change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.config.run_config import ConfigError, ModelRef
from distill.models.metadata import ModelFacts, describe_model, same_tokenizer
from distill.ui.charts.palette import teacher_style
from distill.ui.configure.validation import check_model
from distill.ui.html import words

MOST = 36  # teachers: as many as there are styles to tell them apart

Teachers = list[dict[str, Any]]

# After a click the same button of the same teacher keeps the focus, wherever its row is now; after a removal the next
# row's button gets it. A button that is disabled by then hands it to its neighbour.
KEEP_FOCUS = """
let last = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-event]');
  if (!button) return;
  const next = button.closest('li').nextElementSibling ?? button.closest('li').previousElementSibling;
  last = { act: button.dataset.act, name: button.dataset.name, next: next?.dataset.name };
}, true);
watch('value', () => {
  if (!last) return;
  const row = (name) => [...element.querySelectorAll('li')].find((item) => item.dataset.name === name);
  const at = row(last.name) ?? row(last.next);
  const button = at?.querySelector(`[data-act="${last.act}"]:not(:disabled)`);
  (button ?? at?.querySelector('button:not(:disabled)'))?.focus();
  last = null;
});
"""


def add(teachers: Sequence[dict[str, Any]], model: str, public: bool) -> Teachers:
    """The list with one more. Raises ConfigError where the model cannot be used or is in it already."""
    model = model.strip()
    if not model:
        raise ConfigError("There is nothing to add yet: pick a bundled model or enter a Hub id.")
    if len(model) > 200:
        raise ConfigError("That is too long for a model's name: give one of at most 200 characters.")
    if any(teacher["model"] == model for teacher in teachers):
        raise ConfigError(f"{model} is already a teacher: add another.")
    if len(teachers) >= MOST:
        raise ConfigError(f"There are {MOST} teachers already, the most allowed: remove one first.")
    check_model(model, public)
    name = ModelRef(model=model).name
    if any(teacher["name"] == name for teacher in teachers):  # two of one name from different organisations
        name = model.replace("/", "-").replace("\\", "-").strip("-")[-80:]
    return [*teachers, {"model": model, "name": name, "revision": None}]


def act(teachers: Sequence[dict[str, Any]], what: str, name: str) -> Teachers:
    """The list after "up", "down" or "remove" of the teacher called `name`; unchanged where that is not possible."""
    found = list(teachers)
    at = next((index for index, teacher in enumerate(found) if teacher["name"] == name), None)
    if at is None:
        return found
    if what == "remove":
        del found[at]
    to = at + {"up": -1, "down": 1}.get(what, 0)
    if what in ("up", "down") and 0 <= to < len(found):
        found[at], found[to] = found[to], found[at]
    return found


def rows_html(teachers: Sequence[dict[str, Any]], fault: str = "", student: str = "") -> str:
    """The list as HTML, with what is wrong with it."""
    wrong = f'<p class="wrong">{words(fault)}</p>' if fault else ""
    said = f'<p class="count" role="status">{_count(teachers)}</p>'
    items = "".join(_row(teacher, index, len(teachers), student) for index, teacher in enumerate(teachers))
    return f'{said}<ol class="teachers">{items}</ol><div aria-live="polite">{wrong}</div>'


def _count(teachers: Sequence[dict[str, Any]]) -> str:
    if not teachers:
        return "No teacher: the student learns from the worked solutions alone."
    names = ", ".join(words(teacher["name"]) for teacher in teachers)
    return f'{len(teachers)} {"teacher" if len(teachers) == 1 else "teachers"}<span class="unseen">: {names}</span>'


def _row(teacher: dict[str, Any], index: int, total: int, student: str) -> str:
    name, style = words(teacher["name"]), teacher_style(index)
    line = (
        f'<svg class="swatch" width="34" height="10" aria-hidden="true"><line x1="2" y1="5" x2="32" y2="5" '
        f'stroke="{style.colour}" stroke-width="4" stroke-dasharray="{style.dash}"></line></svg>'
    )
    buttons = "".join(
        f'<button type="button" data-event="change_row" data-act="{what}" data-name="{name}" aria-label="{label}" '
        f'title="{label}"{" disabled" if off else ""}>{sign}</button>'
        for what, sign, label, off in (
            ("up", "↑", f"Move {name} up", index == 0),
            ("down", "↓", f"Move {name} down", index == total - 1),
            ("remove", "✕", f"Remove {name}", False),
        )
    )
    return (
        f'<li data-name="{name}"><span class="number">{index + 1}</span>{line}<div class="who"><b>{name}</b>'
        f'<span class="facts">{words(_facts(teacher, student))}</span></div><div class="does">{buttons}</div></li>'
    )


def _facts(teacher: dict[str, Any], student: str) -> str:
    try:
        known = facts_line(describe_model(ModelRef(**teacher)))
    except ConfigError as error:
        return str(error)
    return f"{known} · the student's tokenizer" if _shares_tokenizer(student, teacher) else known


def _shares_tokenizer(student: str, teacher: dict[str, Any]) -> bool:
    try:
        return bool(student) and same_tokenizer(student, ModelRef(**teacher)) is True
    except ConfigError:  # a fault of the student is shown where it is chosen
        return False


def facts_line(facts: ModelFacts) -> str:
    """Width, tokenizer and size, as far as they are known."""
    parts = [f"width {facts.width:,}" if facts.width else "", tokenizer(facts), size(facts.parameters)]
    known = " · ".join(part for part in parts if part)
    if facts.fetched:
        return known
    return f"{known} · fetched from the Hub when the run begins" if known else "not fetched yet: its size isn't known"


def tokenizer(facts: ModelFacts) -> str:
    """ "qwen-bpe, 512 tokens", or "" where it isn't known."""
    tokens = f"{facts.vocabulary:,} tokens" if facts.vocabulary else ""
    return ", ".join(part for part in (facts.tokenizer or "", tokens) if part)


def size(parameters: int | None) -> str:
    """ "0.85 million parameters", or "" where it isn't known."""
    if parameters is None:
        return ""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if parameters >= 0.1 * unit:
            return f"{parameters / unit:.3g} {name} parameters"
    return f"{parameters:,} parameters"
