"""Insight, of runs that train on geometry: whom the student is told to listen to, and who did the work.

The words are insight_gate_text.py's, the pictures' drawing is plots.py's; this module knows which numbers go where.
"""

from __future__ import annotations

from distill.data.families import FAMILIES
from distill.runs.store import RunView
from distill.ui.charts.plots import heatmap, line_chart
from distill.ui.charts.run_curves import column, step_range
from distill.ui.insight import gate_text as say
from distill.ui.insight.parts import (
    LINE,
    POINTS,
    explained,
    gated,
    graver,
    last,
    looked_at,
    of_the_student,
    probes,
    without_gate,
)
from distill.ui.insight.text import advice, warnings, when

_HEADS = "Who did the work: the student or the heads?"


def gate(run: RunView | None) -> str:
    """The gate's weight for each teacher over the steps."""
    if without_gate(run):
        return ""
    by_teacher = looked_at(run)
    lines = [column(run, f"metric:gate/{name}", name, style, POINTS) for name, style in by_teacher.items()]
    share = 1 / len(by_teacher) if by_teacher else None
    most = max((float(y) for line in lines for y in line.ys if y == y), default=0.0)
    picture = line_chart(
        lines,
        title="Who is listened to",
        x_label="step",
        y_label="weight",
        x_range=step_range(run),
        y_range=(0.0, max(1.5 * share, most) if share else 1.0),
        percent=True,
        null_line=(share, f"all alike: 1/{len(by_teacher)}") if share else None,
        empty=f"The weight of each teacher at every step. {when(run)}",
        name="gate",
    )
    return explained(
        picture,
        [say.gate(run.config.geometry, last(run))] if gated(run) else [],
        warnings(run, "gate_collapsed") if run else [],
        "The <dfn>gate</dfn> says how much each teacher counts for a problem; at every step the weights add up to "
        f"100%. {LINE}",
        "If the gate preferred nobody, all lines would lie on the thin one, at equal shares.",
    )


def families(run: RunView | None) -> str:
    """The gate's weights by family of problems, as the student stands now."""
    if without_gate(run):
        return ""
    table, columns = say.by_family(last(run)), list(looked_at(run))
    # Before the first look the map has its size already, so that nothing below it moves when the numbers come.
    known = list(run.config.data.families or FAMILIES) if columns else []
    names = [name for name in known if not table or name in table] + [name for name in table if name not in known]
    values = [[table[family].get(teacher) for teacher in columns] for family in names] if table else []
    most = max((value for row in values for value in row if value is not None), default=0.0)
    picture = heatmap(
        values or None,
        [say.family_title(family) for family in names],
        columns,
        title="Who is listened to for what",
        low=0.0,
        high=next(high for high in (0.25, 0.5, 0.75, 1.0) if most <= high or high == 1.0),
        row_label="family of problems",
        column_label="teacher",
        empty=f"The weight of each teacher for each family of problems. {when(run)}",
        name="gate-by-family",
    )
    return explained(
        picture,
        [say.families(last(run))] if table else [],
        [],
        "A row is a family of problems, a column a teacher; the stronger the colour, the more that teacher counts for "
        "those problems. A row adds up to 1.",
        "If the gate couldn't tell families apart, every row would look the same.",
    )


def heads(run: RunView | None) -> str:
    """The projection heads' share in the fall of the geometry loss: in deku mode a curve, else why there is none."""
    if without_gate(run):
        return ""
    if gated(run) and run.config.geometry.mode != "deku":
        why = f'<div class="insight-said"><p>{say.no_heads(run.config.geometry)}</p></div>'
        return f'<section class="insight-part"><h3>{_HEADS}</h3>{why}</section>'
    looks = probes(run)
    shares = [p.haf for p in looks]
    picture = of_the_student(
        run,
        "the heads' share",
        shares,
        title=_HEADS,
        y_label="share of the fall",
        percent=True,
        empty=f"The heads' share in the fall of the geometry loss, from the second look on. {when(run)}",
        name="haf",
    )
    return explained(
        picture,
        *graver(say.heads(looks), advice(run, "heads_absorb") if run else ""),
        "<dfn>Heads</dfn> are trained maps between the teachers and the student, and the <dfn>head-attributable "
        "fraction</dfn> is how much of the fall of the loss they reach alone, beside a copy of the student that learns "
        "nothing.",
        "At 100% the student need not have learned anything from the teachers; at 0% all of the fall is its own.",
    )
