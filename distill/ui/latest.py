"""The latest run, as a page shows it: its state in a sentence and its numbers in a table. Pure: events in, text out."""

from __future__ import annotations

from distill.events import Metric, Stage
from distill.runs import RunView, list_runs
from distill.terminal import duration, summary

HOW_TO_START = "No run yet. Start one beside this page: `python -m distill run tiny` (about two minutes on two cores)."


def latest() -> RunView | None:
    """The newest run, or None."""
    return next(iter(list_runs()), None)


def sentence(run: RunView | None) -> str:
    """What the run is doing, with the time left where it is known."""
    if run is None:
        return HOW_TO_START
    head = f"**Run {run.id}** ({run.name}): {run.state}"
    if run.final:
        return f"{head}. {run.reason or ''}"
    if run.state == "training":
        metric = run.last(Metric)
        left = duration(metric.seconds_left) if metric and metric.seconds_left is not None else "an unknown time"
        return f"{head}, step {run.step} of {run.steps}, about {left} left."
    stage = run.last(Stage)
    return f"{head}: {stage.text}." if stage else f"{head}."


def numbers(run: RunView | None) -> str:
    """The report as preformatted text; before there is one, what will be here."""
    if run is not None and run.report:
        return summary(run.report)
    return "Accuracy before and after, agreement with each teacher, times and memory appear here when the run is done."
