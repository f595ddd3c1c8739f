"""A run's curves, from its columns of numbers. Pure: a view in, pictures out.

A curve is drawn again only when a new point would be visible, so a long run sends little.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from distill.objectives import called
from distill.runs.events import Evaluation
from distill.runs.views import RunView
from distill.ui.charts.lines import Series, line_chart
from distill.ui.charts.palette import Style, teacher_style

INK = Style("var(--ink)")
ACCENT = Style("var(--accent)")
POINTS = 120
_TERMS = {  # parts of the loss that are not methods
    "gate": "gate (trained separately)",
    "shadow": "shadow heads (a check)",
    "shadow_gate": "shadow gate (a check)",
}


def loss(run: RunView | None) -> str:
    """The loss that is minimised, and its parts before their weights."""
    names = [name for name in run.timeline.names if name.startswith("term:")] if run else []
    series = [column(run, "loss", "loss", INK)] if run else []
    for number, name in enumerate(names):
        term = name.removeprefix("term:")
        series.append(column(run, name, _TERMS.get(term) or called(term), teacher_style(number)))
    return line_chart(
        [one for one in series if len(one.xs)],
        title="Loss and its parts",
        x_label="step",
        y_label="loss",
        x_range=step_range(run),
        empty="The loss appears here with the first step. It should fall; parts are shown unweighted.",
        name="loss",
    )


def during(run: RunView) -> list[Evaluation]:
    """The evaluations made while it trained, by step."""
    return [event for event in run.series(Evaluation) if event.phase == "during" and event.accuracy is not None]


def accuracy(run: RunView | None) -> str:
    """How many of the validation problems are right, as training goes."""
    points = during(run) if run else []
    n = points[-1].n if points else _asked(run)
    band = ([e.ci95[0] if e.ci95 else None for e in points], [e.ci95[1] if e.ci95 else None for e in points])
    series = [Series(f"right, of {n}", [e.step for e in points], [e.accuracy for e in points], ACCENT, band=band)]
    return line_chart(
        series if points else [],
        title=f"Accuracy on {n} problems not trained on" if n else "Accuracy while training",
        x_label="step",
        y_label="right",
        x_range=step_range(run),
        percent=True,
        markers=True,
        empty=f"Every so often the student answers {n or 'some'} validation problems: how many it gets right appears "
        "here, with the 95% interval.",
        name="accuracy",
    )


def pace(run: RunView | None) -> str:
    """Learning rate, speed and memory."""
    small = {"x_label": "step", "x_range": step_range(run), "height": 120, "empty": "Appears with the first step."}
    columns = {
        "learning_rate": ("Learning rate", "rate"),
        "tokens_per_second": ("Speed", "tokens a second"),
        "memory_mb": ("Memory of the training process", "MB"),
    }
    pictures = []
    for key, (title, unit) in columns.items():
        one = column(run, key, unit, ACCENT, points=60) if run else None
        shown = [one] if one is not None and len(one.xs) else []
        pictures.append(line_chart(shown, title=title, y_label=unit, points=60, name=key, **small))
    return f'<div class="pictures">{"".join(pictures)}</div>'


def moment(points: int = POINTS) -> Callable[[RunView], Hashable]:
    """What of a run its curves of so many points depend on: for `LivePart.mark`."""

    def mark(run: RunView) -> Hashable:
        steps, _ = run.timeline.columns("loss")
        return run.steps, len(run.timeline.names), len(_settled(np.asarray(steps), run, points)), run.final

    return mark


def answered(run: RunView) -> Hashable:
    """What of a run its curve of accuracy depends on: for `LivePart.mark`."""
    return run.steps, len(run.series(Evaluation)), run.state


def column(run: RunView, column: str, name: str, style: Style, points: int = POINTS) -> Series:
    """A column of the run's metrics as a curve, for a picture of so many points; empty where there is none."""
    steps, values = run.timeline.columns(column)
    steps, values = _settled(np.asarray(steps), run, points), np.asarray(values)
    return Series(name, steps, values[: len(steps)], style)


def _settled(steps: np.ndarray, run: RunView, points: int) -> np.ndarray:
    """The steps up to the last that would change a picture of so many points; all of them once the run has ended."""
    quantum = max(1, run.steps // (2 * points))
    if quantum == 1 or not len(steps) or run.final or steps[-1] >= run.steps:
        return steps
    return (
        steps[: np.searchsorted(steps, steps[-1] // quantum * quantum, side="right")] if steps[-1] >= quantum else steps
    )


def step_range(run: RunView | None) -> tuple[float, float] | None:
    """What the axis of steps spans."""
    return (0, run.steps) if run and run.steps else None


def _asked(run: RunView | None) -> int:
    return run.config.probe.problems if run and run.config else 0
