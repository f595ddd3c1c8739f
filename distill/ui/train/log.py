"""A run's log: its events as lines with levels, newest last; searched and filtered here, so that little is sent.

The level "every step" has a line for each step, "program output" the end of what the worker printed (stdout.log).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from distill.runs.events import Error, Evaluation, Event, Metric, Sample, Stage, Status, Warning
from distill.runs.format import rate
from distill.runs.views import RunView, tail
from distill.ui.actions import published
from distill.ui.html import words

LEVELS = ("what happened", "every step", "warnings and errors", "program output")  # as the page's dropdown names them
SHOWN = 60  # lines sent
_SEARCHED = 5_000  # of the newest step lines
_LONGEST = 240  # characters of a line


class Line(NamedTuple):
    """`t`: Unix time in seconds, None where unknown."""

    t: float | None
    level: str
    text: str


def lines(run: RunView, level: str = LEVELS[0], search: str | None = "") -> list[Line]:
    """The newest `SHOWN` lines of a level that hold `search` (in any case)."""
    wanted = (search or "").lower()
    found = [line for line in _of_level(run, level) if wanted in line.text.lower()]
    return found[-SHOWN:]


def _of_level(run: RunView, level: str) -> list[Line]:
    if level == LEVELS[3]:
        return [Line(None, "program", text) for text in tail(run.folder)]
    kinds = (Status, Stage, Evaluation, Sample, Warning, Error)
    if level == LEVELS[2]:
        kinds = (Warning, Error)
    events = chain.from_iterable(run.series(kind) for kind in kinds)
    if level == LEVELS[1]:
        events = chain(events, run.series(Metric)[-_SEARCHED:])
    return list(_unrepeated(line(event) for event in sorted(events, key=lambda event: event.t)))


def _unrepeated(every: Iterator[Line]) -> Iterator[Line]:
    """Of a stage's many events, the first and the last."""
    last = None
    for one in every:
        if last is not None and not (one.level == last.level == "stage" and one.text == last.text):
            yield last
        last = one
    if last is not None:
        yield last


def line(event: Event) -> Line:
    """An event as a line."""
    match event:
        case Status():
            level, text = "state", event.state + (f": {event.reason}" if event.reason else "")
            if event.resumed_from is not None:
                text += f" (resumes from step {event.resumed_from:,})"
        case Stage():
            level, text = "stage", event.text
        case Evaluation():
            split = event.split.replace("_", "-")
            level, text = "accuracy", f"step {event.step:,}, {event.phase}, {split} problems: {rate(vars(event))}"
        case Sample():
            verdict = "right" if event.right else "wrong"
            level, text = "answer", f"step {event.step:,}, {event.problem}: {verdict}: {event.text}"
        case Metric():
            level, text = "step", _step(event)
        case _:
            level, text = event.kind, event.text
    text = published(text) if level in ("state", "stage", "warning", "error") else text
    return Line(event.t, level, text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _step(event: Metric) -> str:
    parts = [f"step {event.step:,} of {event.steps:,}"]
    parts += [] if event.loss is None else [f"loss {event.loss:.4f}"]
    parts += [f"{name} {value:.4f}" for name, value in event.terms.items() if value is not None]
    parts += [] if event.tokens_per_second is None else [f"{event.tokens_per_second:,.0f} tokens/s"]
    return ", ".join(parts)


def html(run: RunView | None, level: str = LEVELS[0], search: str | None = "") -> str:
    """The log as HTML; everything in it is escaped."""
    if run is None:
        return '<ul class="log" id="log" tabindex="0" aria-label="Log"><li>What a run does is written here.</li></ul>'
    shown = lines(run, level, search)
    items = "".join(
        f'<li data-level="{one.level}">{_time(one.t)}<span class="level">{one.level}</span> {words(one.text)}</li>'
        for one in shown
    )
    nothing = f"<li>No line of this kind{' holds that text' if search else ' yet'}.</li>"
    return f'<ul class="log" id="log" tabindex="0" aria-label="Log">{items or nothing}</ul>'


def _time(t: float | None) -> str:
    return "" if t is None else f"<time>{time.strftime('%H:%M:%S', time.localtime(t))}</time>"
