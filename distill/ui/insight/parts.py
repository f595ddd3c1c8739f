"""What the parts of the Insight tab share: how a part is laid out, and which of a run's numbers and names it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from distill.config.requirements import heard
from distill.runs.events import Probe
from distill.runs.views import RunView
from distill.ui.charts.lines import Series, line_chart
from distill.ui.charts.palette import STUDENT, Style, styles
from distill.ui.charts.run_curves import step_range
from distill.ui.session import PageSession

POINTS = 50  # of a curve that is one of many: they are all sent with every update
LINE = "There is a line for each teacher, in its colour and dash pattern everywhere on this page."


def part(session: PageSession, name: str, draw: Any, inputs: Sequence = ()) -> None:
    """A live part of the tab; where `draw` returns "", it takes no room."""
    session.live(f"insight-{name}", gr.HTML(draw(None), elem_id=f"insight-{name}"), draw, tab="insight", inputs=inputs)


def explained(picture: str, said: Sequence[str], warned: Sequence[str], shows: str, nothing: str) -> str:
    """A picture, what it shows in this run, the run's warnings about it, and how to read it."""
    now = "".join(f"<p>{text}</p>" for text in said if text)
    now += "".join(f'<p class="insight-warning"><b>Warning:</b> {text}</p>' for text in warned)
    how = f'<div class="insight-how"><h4>How to read this</h4><p>{shows} {nothing}</p></div>'
    return f'<section class="insight-part">{picture}<div class="insight-said">{now}</div>{how}</section>'


def as_warning(text: str, advice: str) -> tuple[list[str], list[str]]:
    """(sentences, warnings): the text is a sentence, or with advice, where the run was warned, a warning."""
    return ([], [text + advice]) if advice else ([text], [])


def student_curve(run: RunView | None, called: str, values: Sequence[float | None], **picture: Any) -> str:
    """A curve of one value for each probe, in the student's colour; `picture`: arguments of `line_chart`."""
    probes = probes_of(run)
    return line_chart(
        [Series(called, [probe.step for probe in probes], values, STUDENT)],
        x_label="step",
        points=POINTS,
        x_range=step_range(run),
        markers=len(probes) <= POINTS,
        **picture,
    )


def ready(run: RunView | None) -> bool:
    """Whether the run uses teachers."""
    return run is not None and run.config is not None and bool(heard(run.config))


def gated(run: RunView | None) -> bool:
    """Whether the run trains on geometry, which has a gate."""
    return ready(run) and run.config.geometry is not None


def without_gate(run: RunView | None) -> bool:
    """Whether the run is known to have no such gate."""
    return run is not None and run.config is not None and run.config.geometry is None


def teachers(run: RunView | None, kind: str = "") -> dict[str, Style]:
    """{teacher: its style} of those that the run's methods use, or the method of one kind."""
    if not ready(run):
        return {}
    named = styles([teacher.name for teacher in run.config.teachers])
    names = [teacher.name for teacher in heard(run.config)]
    if kind:
        objective = run.config.objective(kind)
        names = [name for name in names if objective and (objective.teachers is None or name in objective.teachers)]
    return {name: named[name] for name in names}


def compared_teachers(run: RunView | None) -> dict[str, Style]:
    """{teacher: its style} of those that the probes compare the student with: geometry's, else all that are used."""
    return teachers(run, "geometry" if gated(run) else "")


def probes_of(run: RunView | None) -> list[Probe]:
    """The run's probes of its student so far."""
    return run.series(Probe) if ready(run) else []


def last(run: RunView | None) -> Probe | None:
    """The latest probe."""
    probes = probes_of(run)
    return probes[-1] if probes else None
