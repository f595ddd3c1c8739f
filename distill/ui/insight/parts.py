"""What the parts of the Insight tab share: how a part is laid out, and which of a run's numbers and names it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from distill.config.requirements import heard
from distill.runs.events import Probe
from distill.runs.store import RunView
from distill.ui.charts.lines import Series, line_chart, thin
from distill.ui.charts.palette import STUDENT, Style, styles
from distill.ui.charts.run_curves import step_range
from distill.ui.session import PageSession

POINTS = 50  # of a curve that is one of many: they are all sent with every update
LINE = "There is a line for each teacher, in its colour and dash pattern everywhere on this page."


def part(session: PageSession, name: str, draw: Any, inputs: Sequence = ()) -> None:
    """A part of the tab: what `draw` makes of the run that is shown; where that is nothing, it takes no room."""
    session.live(f"insight-{name}", gr.HTML(draw(None), elem_id=f"insight-{name}"), draw, tab="insight", inputs=inputs)


def explained(picture: str, said: Sequence[str], warned: Sequence[str], shows: str, nothing: str) -> str:
    """A picture, what it says in this run, the run's warnings about it, and how to read it."""
    now = "".join(f"<p>{text}</p>" for text in said if text)
    now += "".join(f'<p class="insight-warning"><b>Warning:</b> {text}</p>' for text in warned)
    how = f'<div class="insight-how"><h4>How to read this</h4><p>{shows} {nothing}</p></div>'
    return f'<section class="insight-part">{picture}<div class="insight-said">{now}</div>{how}</section>'


def graver(text: str, advice: str) -> tuple[list[str], list[str]]:
    """(what is said, what is warned of): the same text, with the advice where the run was warned."""
    return ([], [text + advice]) if advice else ([text], [])


def of_the_student(run: RunView | None, called: str, values: Sequence[float | None], **picture: Any) -> str:
    """A curve of one value a look, in the student's colour; `picture` is `line_chart`'s."""
    looks = probes(run)
    return line_chart(
        [Series(called, *thinned(looks, values), STUDENT)],
        x_label="step",
        x_range=step_range(run),
        markers=len(looks) <= POINTS,
        **picture,
    )


def thinned(looks: Sequence[Probe], values: Sequence[float | None]) -> tuple:
    """The steps of the looks and a value of each, as a picture takes them."""
    return thin([look.step for look in looks], values, POINTS)


def ready(run: RunView | None) -> bool:
    """Whether the run is one whose teachers are heard."""
    return run is not None and run.config is not None and bool(heard(run.config))


def gated(run: RunView | None) -> bool:
    """Whether the run trains on geometry, which has a gate that is looked at."""
    return ready(run) and run.config.geometry is not None


def without_gate(run: RunView | None) -> bool:
    """Whether the run is known to have no such gate."""
    return run is not None and run.config is not None and run.config.geometry is None


def teachers(run: RunView | None, kind: str = "") -> dict[str, Style]:
    """{teacher: how it is drawn} of those who are heard, by the method of a kind if one is given."""
    if not ready(run):
        return {}
    named = styles([teacher.name for teacher in run.config.teachers])
    names = [teacher.name for teacher in heard(run.config)]
    if kind:
        objective = run.config.objective(kind)
        names = [name for name in names if objective and (objective.teachers is None or name in objective.teachers)]
    return {name: named[name] for name in names}


def looked_at(run: RunView | None) -> dict[str, Style]:
    """{teacher: how it is drawn} of those whom the looks compare the student with: geometry's, else all who are
    heard."""
    return teachers(run, "geometry" if gated(run) else "")


def probes(run: RunView | None) -> list[Probe]:
    """The looks at the student so far."""
    return run.series(Probe) if ready(run) else []


def last(run: RunView | None) -> Probe | None:
    """The latest look."""
    looks = probes(run)
    return looks[-1] if looks else None
