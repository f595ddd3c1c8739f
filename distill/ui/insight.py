"""Insight: whom the student is told to listen to, whom it comes to agree with, and what that did to it.

Each part is a picture, what it says in this run, and how to read it. The words are insight_text.py's, the pictures'
drawing is plots.py's; this module knows which numbers of a run go where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from distill.data.families import FAMILIES
from distill.events import Probe
from distill.runs import RunView
from distill.ui import insight_text as say
from distill.ui.colours import STUDENT, styles
from distill.ui.curves import column, step_range
from distill.ui.plots import Series, heatmap, heatmap_pair, line_chart, thin
from distill.ui.shell import Shell

_POINTS = 50  # of a curve that is one of many: they are all sent with every update
_HEADS = "Who did the work: the student or the heads?"
_LINE = "There is a line for each teacher, in its colour and dash pattern everywhere on this page."


def build(shell: Shell) -> None:
    """The tab."""
    shell.frame("insight-lead", gr.HTML(lead(None), elem_id="insight-lead"), lead, tab="insight")
    with gr.Column(elem_classes="insight", visible=False) as parts:
        _part(shell, "gate", gate)
        _part(shell, "families", families)
        _part(shell, "agreement", agreement)
        with gr.Column(elem_classes="insight-layers", min_width=0):
            # Any value is let through: after a restart of the server the browser still holds one of before, and
            # refusing it would stop the page's ticks. What is no teacher of the run is answered by `layers`.
            teacher = gr.Dropdown(
                [], label="Layers compared with teacher", allow_custom_value=True, elem_id="insight-teacher"
            )
            _part(shell, "layers", layers, [teacher])
        _part(shell, "width", width)
        _part(shell, "heads", heads)
    shell.frame("insight-parts", parts, shows, tab="insight")
    shell.frame("insight-teachers", teacher, choices, tab="insight", inputs=[teacher])


def _part(shell: Shell, name: str, draw, inputs: Sequence = ()) -> None:
    shell.frame(f"insight-{name}", gr.HTML(draw(None), elem_id=f"insight-{name}"), draw, tab="insight", inputs=inputs)


def shows(run: RunView | None) -> dict:
    """Whether there are pictures at all."""
    return gr.update(visible=not say.nothing_here(run))


def choices(run: RunView | None, teacher: str | None) -> dict:
    """The run's teachers to choose from; the first where the one chosen is none of them."""
    names = _teachers(run)
    if teacher in names or not names:
        return gr.update(choices=names)
    return gr.update(choices=names, value=names[0])


def lead(run: RunView | None) -> str:
    """The first lines of the tab."""
    nothing = say.nothing_here(run)
    if nothing:
        return f'<h2>What the student takes from its teachers</h2><p class="insight-none">{nothing}</p>'
    return f'<h2>What the student takes from its teachers</h2><p class="insight-summary">{say.summary(run)}</p>'


def gate(run: RunView | None) -> str:
    """The gate's weight for each teacher over the steps."""
    teachers = _teachers(run)
    by_teacher = styles(teachers)
    lines = [column(run, f"metric:gate/{name}", name, by_teacher[name], _POINTS) for name in teachers]
    share = 1 / len(teachers) if teachers else None
    most = max((float(y) for line in lines for y in line.ys if y == y), default=0.0)
    picture = line_chart(
        lines,
        title="Who is listened to",
        x_label="step",
        y_label="weight",
        x_range=step_range(run),
        y_range=(0.0, max(1.5 * share, most) if share else 1.0),
        percent=True,
        null_line=(share, f"all alike: 1/{len(teachers)}") if share else None,
        empty=f"The weight of each teacher at every step. {say.when(run)}",
        name="gate",
    )
    return _explained(
        picture,
        [say.gate(run.config.geometry, _last(run))] if _ready(run) else [],
        say.warnings(run, "gate_collapsed") if run else [],
        "The <dfn>gate</dfn> says how much each teacher counts for a problem; at every step the weights add up to "
        f"100%. {_LINE}",
        "If the gate preferred nobody, all lines would lie on the thin one, at equal shares.",
    )


def families(run: RunView | None) -> str:
    """The gate's weights by family of problems, as the student stands now."""
    table, teachers = say.by_family(_last(run)), _teachers(run)
    # Before the first look the map has its size already, so that nothing below it moves when the numbers come.
    known = list(run.config.data.families or FAMILIES) if teachers else []
    names = [name for name in known if not table or name in table] + [name for name in table if name not in known]
    values = [[table[family].get(teacher) for teacher in teachers] for family in names] if table else []
    most = max((value for row in values for value in row if value is not None), default=0.0)
    picture = heatmap(
        values or None,
        [say.family_title(family) for family in names],
        teachers,
        title="Who is listened to for what",
        low=0.0,
        high=next(high for high in (0.25, 0.5, 0.75, 1.0) if most <= high or high == 1.0),
        row_label="family of problems",
        column_label="teacher",
        empty=f"The weight of each teacher for each family of problems. {say.when(run)}",
        name="gate-by-family",
    )
    return _explained(
        picture,
        [say.families(_last(run))] if table else [],
        [],
        "A row is a family of problems, a column a teacher; the stronger the colour, the more that teacher counts for "
        "those problems. A row adds up to 1.",
        "If the gate couldn't tell families apart, every row would look the same.",
    )


def agreement(run: RunView | None) -> str:
    """CKA with each teacher at each look."""
    probes = _probes(run)
    by_teacher = styles(_teachers(run))
    chance = probes[-1].null95 if probes else None
    picture = line_chart(
        [Series(name, *_thin(probes, [p.cka.get(name) for p in probes]), style) for name, style in by_teacher.items()],
        title="Whom the student agrees with",
        x_label="step",
        y_label="CKA",
        x_range=step_range(run),
        y_range=(0.0, 1.0),
        markers=len(probes) <= _POINTS,
        null_line=None if chance is None else (chance, "chance stays below"),
        empty=f"The student's agreement with each teacher. {say.when(run)}",
        name="cka",
    )
    return _explained(
        picture,
        say.agreement(probes),
        say.warnings(run, "no_headroom") if run else [],
        "<dfn>CKA</dfn> compares two models by which problems they find alike: 1 is full agreement, 0 is none. The "
        "<dfn>null line</dfn> is what a student that has nothing in common with a teacher would stay below 95 times in "
        "100.",
        "If nothing were learned from the teachers, the lines would run level. Agreement is not skill: whether more "
        "problems are solved is under Compare.",
    )


def layers(run: RunView | None, teacher: str | None = None) -> str:
    """CKA of each layer of the student with each of one teacher's, before and now."""
    names = _teachers(run)
    chosen = teacher if teacher in names else (names[0] if names and not teacher else None)
    looks = [probe for probe in _probes(run) if probe.layers and probe.layers.get(chosen)]
    before = looks[0].layers[chosen] if looks else None
    after = looks[-1].layers[chosen] if len(looks) > 1 else None
    if after and [len(row) for row in after] != [len(row) for row in before]:
        after = None  # another model of that name: nothing to set beside
    unknown = f"{teacher!r} is no teacher of this run: choose one of {', '.join(names)}."
    picture = heatmap_pair(
        before,
        after,
        _layer_names(len(before)) if before else [],
        _layer_names(len(before[0])) if before else [],
        title=f"Layer by layer: the student and {chosen or 'a teacher'}",
        low=0.0,
        high=1.0,
        row_label="student's layer",
        column_label=f"layer of {chosen or 'the teacher'}",
        captions=("before", f"at step {looks[-1].step:,}" if after else "after: when training ends"),
        empty=unknown if names and not chosen else _no_layers(run),
        name="layers",
    )
    fraction = run.config.geometry.layer if _ready(run) else 0.0
    return _explained(
        picture,
        [say.layers(chosen, before, after, fraction)] if before else [],
        [],
        "Every layer of the student (rows, <i>in</i> is what goes in) against every layer of the teacher (columns), by "
        "CKA, on one scale.",
        "If nothing were learned, both maps would be the same.",
    )


def _no_layers(run: RunView | None) -> str:
    if _probes(run) and (run.final or run.step):
        return "This run did not compare its layers: it was made by an earlier version, or broke off too soon."
    return f"Every layer of the student against every layer of one teacher, before and after. {say.when(run)}"


def _of_the_student(run: RunView | None, called: str, values: Sequence[float | None], **picture: Any) -> str:
    """A curve of one value a look, in the student's colour; `picture` is `line_chart`'s."""
    probes = _probes(run)
    return line_chart(
        [Series(called, *_thin(probes, values), STUDENT)],
        x_label="step",
        x_range=step_range(run),
        markers=len(probes) <= _POINTS,
        **picture,
    )


def width(run: RunView | None) -> str:
    """The participation ratio at each look."""
    probes = _probes(run)
    ratios = [p.participation_ratio for p in probes]
    picture = _of_the_student(
        run,
        "student",
        ratios,
        title="How broad the student's view is",
        y_label="directions",
        y_range=(0.0, max([1.0, *(ratio or 0.0 for ratio in ratios)])),
        empty=f"How many directions the student's vectors use. {say.when(run)}",
        name="participation-ratio",
    )
    return _explained(
        picture,
        *_graver(say.width(probes), say.advice(run, "narrowed") if run else ""),
        "The <dfn>participation ratio</dfn> counts in how many independent directions the student's vectors for "
        "different problems differ: 1 would be all on one line.",
        "If nothing were learned, the line would run level. A steep fall means that it tells fewer things apart.",
    )


def heads(run: RunView | None) -> str:
    """The projection heads' share in the fall of the geometry loss: in deku mode a curve, else why there is none."""
    if _ready(run) and run.config.geometry.mode != "deku":
        why = f'<div class="insight-said"><p>{say.no_heads(run.config.geometry)}</p></div>'
        return f'<section class="insight-part"><h3>{_HEADS}</h3>{why}</section>'
    probes = _probes(run)
    shares = [p.haf for p in probes]
    picture = _of_the_student(
        run,
        "the heads' share",
        shares,
        title=_HEADS,
        y_label="share of the fall",
        percent=True,
        empty=f"The heads' share in the fall of the geometry loss, from the second look on. {say.when(run)}",
        name="haf",
    )
    return _explained(
        picture,
        *_graver(say.heads(probes), say.advice(run, "heads_absorb") if run else ""),
        "<dfn>Heads</dfn> are trained maps between the teachers and the student, and the <dfn>head-attributable "
        "fraction</dfn> is how much of the fall of the loss they reach alone, beside a copy of the student that learns "
        "nothing.",
        "At 100% the student need not have learned anything from the teachers; at 0% all of the fall is its own.",
    )


def _explained(picture: str, said: Sequence[str], warned: Sequence[str], shows_: str, nothing: str) -> str:
    """A picture, what it says in this run, the run's warnings about it, and how to read it."""
    now = "".join(f"<p>{text}</p>" for text in said if text)
    now += "".join(f'<p class="insight-warning"><b>Warning:</b> {text}</p>' for text in warned)
    how = f'<div class="insight-how"><h4>How to read this</h4><p>{shows_} {nothing}</p></div>'
    return f'<section class="insight-part">{picture}<div class="insight-said">{now}</div>{how}</section>'


def _graver(text: str, advice: str) -> tuple[list[str], list[str]]:
    """(what is said, what is warned of): the same text, with the advice where the run was warned."""
    return ([], [text + advice]) if advice else ([text], [])


def _thin(probes: Sequence[Probe], values: Sequence[float | None]) -> tuple:
    return thin([p.step for p in probes], values, _POINTS)


def _ready(run: RunView | None) -> bool:
    return run is not None and run.config is not None and run.config.geometry is not None


def _teachers(run: RunView | None) -> list[str]:
    return [teacher.name for teacher in run.config.teachers] if _ready(run) else []


def _probes(run: RunView | None) -> list[Probe]:
    return run.series(Probe) if _ready(run) else []


def _last(run: RunView | None) -> Probe | None:
    probes = _probes(run)
    return probes[-1] if probes else None


def _layer_names(count: int) -> list[str]:
    """Layer 0 is the embeddings: what goes into the first block."""
    return ["in", *(str(layer) for layer in range(1, count))]
