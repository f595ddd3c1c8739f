"""What several tabs put into their HTML: escaped text, a run's state and progress in words, tables, and clicks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from distill.runs.events import WAITING, Metric, Stage
from distill.runs.format import duration, stage_text
from distill.runs.views import RunView, has_adapter

if TYPE_CHECKING:  # pictures use this module without gradio
    import gradio as gr

NO_RUN = "No run yet: choose a card under Configure and press Start."

_STATES = {
    "queued": "waiting for its turn",
    "preparing": "preparing",
    "training": "training",
    "evaluating": "answering the problems again",
    "done": "done",
    "stopping": "saving, then stopping",
    "stopped": "stopped, its model is kept",
    "failed": "failed",
    "crashed": "crashed",
}


def state_words(run: RunView) -> str:
    """A run's state in words."""
    if run.state == "stopped" and not has_adapter(run.folder):
        return "stopped before there was a model"
    if run.state == "queued" and run.reason == WAITING:
        return run.reason
    return _STATES[run.state]


def left(seconds: float | None) -> str:
    """ "34 s left", or "" where that is not known."""
    return "" if seconds is None else f"{duration(seconds)} left"


def progress(run: RunView) -> tuple[float, str]:
    """How far the present stage is, 0 to 1, and what it is, with the time left where that is known."""
    if run.final:
        return (1.0 if run.state == "done" else run.step / max(run.steps, 1)), state_words(run)
    metric, stage = run.last(Metric), run.last(Stage)
    if run.state in ("training", "stopping") and metric is not None:
        parts = [f"{state_words(run)}, step {run.step:,} of {run.steps:,}", left(metric.seconds_left)]
        return run.step / max(run.steps, 1), " · ".join(part for part in parts if part)
    if stage is None or run.state == "queued":
        return 0.0, state_words(run)
    parts = [state_words(run) if run.state == "stopping" else "", stage_text(stage), left(stage.seconds_left)]
    return stage.done / max(stage.total, 1), " · ".join(part for part in parts if part)


def words(text: object) -> str:
    """Any text, escaped for HTML: whatever is not ours goes through here."""
    return escape(str(text), quote=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def table(head: Iterable[str], rows: Iterable[str], *, label: str = "", scroll: str = "", caption: str = "") -> str:
    """A table of `head` cells and ready `rows` (see `table_row`), all of it HTML; `label` is for screen readers.

    `scroll`: the class of a region around it that scrolls by itself where the table is too large. End tags that HTML
    does not require are left out, as a table is sent whole at every change.
    """
    top = "".join(f"<th scope=col>{cell}" for cell in head)
    named = f' aria-label="{label}"' if label else ""
    above = f"<caption>{caption}</caption>" if caption else ""
    made = f"<table{named}>{above}<thead><tr>{top}<tbody>{''.join(rows)}</table>"
    return f'<div class="{scroll}" tabindex="0" role="region"{named}>{made}</div>' if scroll else made


def table_row(heading: str, *cells: str) -> str:
    """A row of a `table`; its first cell is its heading."""
    return f"<tr><th scope=row>{heading}{''.join(f'<td>{cell}' for cell in cells)}"


# --- clicks ----------------------------------------------------------------------------------------------------------


def click_script(*events: str, then: str = "") -> str:
    """The script of a gr.HTML whose buttons have `data-event`: a click triggers that event with the button's data
    attributes; `then` is added to the script."""
    return (
        f"const events = {json.dumps(events)};"
        "element.addEventListener('click', (event) => {"
        "  const button = event.target.closest('button[data-event]');"
        "  if (button && events.includes(button.dataset.event)) trigger(button.dataset.event, {...button.dataset});"
        f"}});{then}"
    )


def clicked(event: gr.EventData, name: str) -> str:
    """A data attribute of the button that was clicked, "" where it has none; whatever a browser sends becomes text."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get(name, ""))[:200]
