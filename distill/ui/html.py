"""What the page says, in words: pure functions from views and events to sentences. No HTML but what `words` escapes."""

from __future__ import annotations

from html import escape

from distill.runs.events import WAITING, Metric, Stage
from distill.runs.format import duration
from distill.runs.store import RunView
from distill.runs.views import has_adapter

NO_RUN = "No run yet: choose a card under Configure and press Start."

_STATES = {
    "queued": "waiting for its turn",
    "preparing": "preparing",
    "training": "training",
    "evaluating": "answering the problems once more",
    "done": "done",
    "stopping": "saving, then stopping",
    "stopped": "stopped, its model is kept",
    "failed": "failed",
    "crashed": "broke off",
}


def state_words(run: RunView) -> str:
    """A run's state as people say it."""
    if run.state == "stopped" and not has_adapter(run.folder):
        return "stopped; it had no model yet"
    if run.state == "queued" and run.reason == WAITING:
        return run.reason
    return _STATES[run.state]


def left(seconds: float | None) -> str:
    """ "34 s left", or "" where nobody knows."""
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
    parts = [state_words(run) if run.state == "stopping" else "", stage.text, left(stage.seconds_left)]
    return stage.done / max(stage.total, 1), " · ".join(part for part in parts if part)


def words(text: object) -> str:
    """Any text, inert: what goes into HTML that is not ours goes through here."""
    return escape(str(text), quote=True)
