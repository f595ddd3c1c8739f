"""Insight: which teachers the student listens to, which it comes to agree with, and what that did to it.

Each part is a picture, what it shows in this run, and how to read it. What only some methods have is in gate.py and
methods.py: "" where a run has none of it.
"""

from __future__ import annotations

import gradio as gr

from distill.runs.views import RunView
from distill.ui.charts.heatmap import heatmap
from distill.ui.charts.lines import Series, line_chart
from distill.ui.charts.run_curves import step_range
from distill.ui.insight import gate, methods, text
from distill.ui.insight.parts import (
    POINTS,
    as_warning,
    compared_teachers,
    explained,
    gated,
    part,
    probes_of,
    student_curve,
)
from distill.ui.session import PageSession


def build(session: PageSession) -> None:
    """The tab."""
    session.live("insight-lead", gr.HTML(lead(None), elem_id="insight-lead"), lead, tab="insight")
    with gr.Column(elem_classes="insight", visible=False) as parts:
        part(session, "answers", methods.answers)
        part(session, "own", methods.own)
        part(session, "gate", gate.gate)
        part(session, "families", gate.families)
        for kind in methods.DISTANCES:
            part(session, kind.replace("_", "-"), methods.distances(kind))
        part(session, "agreement", agreement)
        with gr.Column(elem_classes="insight-layers", min_width=0):
            # Any value is allowed: after a restart of the server the browser may still hold an earlier one, and
            # refusing that would stop the page's ticks. `layers` answers a name that is no teacher of the run.
            teacher = gr.Dropdown(
                [], label="Layers compared with teacher", allow_custom_value=True, elem_id="insight-teacher"
            )
            part(session, "layers", layers, [teacher])
        part(session, "width", width)
        part(session, "heads", gate.heads)
    session.live("insight-parts", parts, shows, tab="insight")
    session.live("insight-teachers", teacher, choices, tab="insight", inputs=[teacher])


def shows(run: RunView | None) -> dict:
    """Whether there are pictures at all."""
    return gr.update(visible=not text.nothing_here(run))


def choices(run: RunView | None, teacher: str | None) -> dict:
    """The run's teachers to choose from; the first where the one chosen is none of them."""
    names = list(compared_teachers(run))
    if teacher in names or not names:
        return gr.update(choices=names)
    return gr.update(choices=names, value=names[0])


def lead(run: RunView | None) -> str:
    """The first lines of the tab."""
    nothing = text.nothing_here(run)
    if nothing:
        return f'<h2>What the student takes from its teachers</h2><p class="insight-none">{nothing}</p>'
    return f'<h2>What the student takes from its teachers</h2><p class="insight-summary">{text.summary(run)}</p>'


def agreement(run: RunView | None) -> str:
    """CKA with each teacher at each probe."""
    probes = probes_of(run)
    chance = probes[-1].null95 if probes else None
    picture = line_chart(
        [
            Series(name, [p.step for p in probes], [p.cka.get(name) for p in probes], style)
            for name, style in compared_teachers(run).items()
        ],
        title="Agreement with each teacher",
        x_label="step",
        y_label="CKA",
        points=POINTS,
        x_range=step_range(run),
        y_range=(0.0, 1.0),
        markers=len(probes) <= POINTS,
        null_line=None if chance is None else (chance, "chance level"),
        empty=f"The student's agreement with each teacher. {text.when(run)}",
        name="cka",
    )
    return explained(
        picture,
        text.agreement(probes),
        text.warnings(run, "no_headroom") if run else [],
        "<dfn>CKA</dfn> compares two models by which problems they find similar: 1 is full agreement, 0 is none. A "
        "student that has nothing in common with a teacher would stay below the <dfn>chance level</dfn> 95 times in "
        "100.",
        "If nothing were learned from the teachers, the lines would run level. Agreement is not skill: whether more "
        "problems are solved is under Compare.",
    )


def layers(run: RunView | None, teacher: str | None = None) -> str:
    """CKA of each layer of the student with each of one teacher's, before and now."""
    names = list(compared_teachers(run))
    chosen = teacher if teacher in names else (names[0] if names and not teacher else None)
    probes = [probe for probe in probes_of(run) if probe.layers and probe.layers.get(chosen)]
    before = probes[0].layers[chosen] if probes else None
    after = probes[-1].layers[chosen] if len(probes) > 1 else None
    if after and [len(row) for row in after] != [len(row) for row in before]:
        after = None  # another model of that name: not comparable
    unknown = f"{teacher!r} is no teacher of this run: choose one of {', '.join(names)}."
    picture = heatmap(
        before,
        after,
        rows=_layer_names(len(before)) if before else [],
        columns=_layer_names(len(before[0])) if before else [],
        title=f"Layer by layer: the student and {chosen or 'a teacher'}",
        low=0.0,
        high=1.0,
        row_label="student's layer",
        column_label=f"layer of {chosen or 'the teacher'}",
        captions=("before", f"at step {probes[-1].step:,}" if after else "after: when training ends"),
        empty=unknown if names and not chosen else _no_layers(run),
        name="layers",
    )
    fraction = run.config.geometry.layer if gated(run) else None
    return explained(
        picture,
        [text.layers(chosen, before, after, fraction)] if before else [],
        [],
        "Every layer of the student (rows, <i>in</i> is what goes in) against every layer of the teacher (columns), by "
        "CKA, on one scale.",
        "If nothing were learned, both maps would be the same.",
    )


def _no_layers(run: RunView | None) -> str:
    if probes_of(run) and (run.final or run.step):
        return "This run did not compare its layers: it was made by an earlier version, or ended too soon."
    return f"Every layer of the student against every layer of one teacher, before and after. {text.when(run)}"


def width(run: RunView | None) -> str:
    """The participation ratio at each probe."""
    probes = probes_of(run)
    ratios = [p.participation_ratio for p in probes]
    picture = student_curve(
        run,
        "student",
        ratios,
        title="Diversity of the student's representations",
        y_label="directions",
        y_range=(0.0, max([1.0, *(ratio or 0.0 for ratio in ratios)])),
        empty=f"How many directions the student's vectors use. {text.when(run)}",
        name="participation-ratio",
    )
    return explained(
        picture,
        *as_warning(text.width(probes), text.advice(run, "narrowed") if run else ""),
        "The <dfn>participation ratio</dfn> counts in how many independent directions the student's vectors for "
        "different problems differ: 1 would be all on one line.",
        "If nothing were learned, the line would run level. A steep fall means that it tells fewer things apart.",
    )


def _layer_names(count: int) -> list[str]:
    """Layer 0 is the embeddings: what goes into the first block."""
    return ["in", *(str(layer) for layer in range(1, count))]
