"""Insight, for runs that train on geometry: which teachers the student listens to, and whether it or the heads learnt.

Each part is a picture and sentences from the run's probes, as HTML in which every name is inert; numbers are as
measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.data.families import FAMILIES
from distill.objectives.geometry import GeometryConfig
from distill.runs.events import Probe
from distill.runs.format import percent
from distill.runs.views import RunView
from distill.ui.charts.heatmap import heatmap
from distill.ui.charts.lines import line_chart
from distill.ui.charts.run_curves import column, step_range
from distill.ui.html import words
from distill.ui.insight.parts import (
    LINE,
    POINTS,
    as_warning,
    compared_teachers,
    explained,
    gated,
    last,
    probes_of,
    student_curve,
    without_gate,
)
from distill.ui.insight.text import advice, bold, finite, warnings, when

_HEADS = "Who did the work: the student or the heads?"
_GATES = {
    "uniform": "This run's gate is <i>uniform</i>: every teacher weighs the same, on purpose.",
    "prior": "This run's gate is a <i>prior</i>: a teacher weighs more for a text whose solution it finds likely. It "
    "doesn't change as the student learns, so the lines move only with the problems that a step happens to contain.",
    "learned": "This run's gate is <i>learned</i> from the geometry loss itself, as on the Deku model card. Such a "
    "gate tends towards the teacher that is easiest to imitate, which need not be the best one.",
    "meta": "This run's gate is <i>meta</i>-learned: a teacher gains weight where following it helps the student with "
    "worked solutions it isn't trained on.",
}


# --- parts of the tab ------------------------------------------------------------------------------------------------


def gate(run: RunView | None) -> str:
    """The gate's weight for each teacher over the steps."""
    if without_gate(run):
        return ""
    by_teacher = compared_teachers(run)
    lines = [column(run, f"metric:gate/{name}", name, style, POINTS) for name, style in by_teacher.items()]
    share = 1 / len(by_teacher) if by_teacher else None
    most = max((float(y) for line in lines for y in line.ys if y == y), default=0.0)
    picture = line_chart(
        lines,
        title="Teacher weights",
        x_label="step",
        y_label="weight",
        x_range=step_range(run),
        y_range=(0.0, max(1.5 * share, most) if share else 1.0),
        percent=True,
        null_line=(share, f"equal weights: 1/{len(by_teacher)}") if share else None,
        empty=f"The weight of each teacher at every step. {when(run)}",
        name="gate",
    )
    return explained(
        picture,
        [_gate_sentence(run.config.geometry, last(run))] if gated(run) else [],
        warnings(run, "gate_collapsed") if run else [],
        "The <dfn>gate</dfn> says how much each teacher counts for a problem; at every step the weights add up to "
        f"100%. {LINE}",
        "If the gate had no preference, all lines would lie on the thin one, at equal shares.",
    )


def families(run: RunView | None) -> str:
    """The gate's weights by family of problems, as the student stands now."""
    if without_gate(run):
        return ""
    table, columns = _by_family(last(run)), list(compared_teachers(run))
    # Before the first look the map has its size already, so that nothing below it moves when the numbers come.
    known = list(run.config.data.families or FAMILIES) if columns else []
    names = [name for name in known if not table or name in table] + [name for name in table if name not in known]
    values = [[table[family].get(teacher) for teacher in columns] for family in names] if table else []
    most = max((value for row in values for value in row if value is not None), default=0.0)
    picture = heatmap(
        values or None,
        rows=[_family_title(family) for family in names],
        columns=columns,
        title="Teacher weights by kind of problem",
        low=0.0,
        high=next(high for high in (0.25, 0.5, 0.75, 1.0) if most <= high or high == 1.0),
        row_label="family of problems",
        column_label="teacher",
        empty=f"The weight of each teacher for each family of problems. {when(run)}",
        name="gate-by-family",
        every_row=True,  # a kind of problem has no neighbours by which one could tell its name
    )
    return explained(
        picture,
        [_families_sentence(last(run))] if table else [],
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
        why = f'<div class="insight-said"><p>{_no_heads_sentence(run.config.geometry)}</p></div>'
        return f'<section class="insight-part"><h3>{_HEADS}</h3>{why}</section>'
    probes = probes_of(run)
    shares = [p.haf for p in probes]
    picture = student_curve(
        run,
        "the heads' share",
        shares,
        title=_HEADS,
        y_label="share of the fall",
        percent=True,
        empty=f"The heads' share in the fall of the geometry loss, from the second measurement on. {when(run)}",
        name="haf",
    )
    return explained(
        picture,
        *as_warning(_heads_sentence(probes), advice(run, "heads_absorb") if run else ""),
        "<dfn>Heads</dfn> are trained maps between the teachers and the student, and the <dfn>head-attributable "
        "fraction</dfn> is how much of the fall of the loss they reach alone, beside a copy of the student that learns "
        "nothing.",
        "At 100% the student need not have learned anything from the teachers; at 0% all of the fall is its own.",
    )


# --- sentences -------------------------------------------------------------------------------------------------------


def _gate_sentence(geometry: GeometryConfig, probe: Probe | None) -> str:
    """Which teachers weigh most and least, by the latest probe."""
    kind = _GATES[geometry.gate.kind]
    mean = finite(probe.gate["mean"]) if probe and probe.gate else {}
    if len(mean) < 2 or geometry.gate.kind == "uniform":
        return kind
    top, low = max(mean, key=mean.get), min(mean, key=mean.get)
    entropy = probe.gate.get("entropy")
    spread = ""
    if isinstance(entropy, (int, float)):
        spread = f" For one text it listens to the equivalent of {math.exp(entropy):.1f} of {len(mean)} teachers."
    return (
        f"On {probe.n} texts that it isn't trained on, the student listens most to {bold(top)} ({percent(mean[top])}) "
        f"and least to {bold(low)} ({percent(mean[low])}).{spread} {kind}"
    )


def _families_sentence(probe: Probe | None) -> str:
    """Which family has the clearest favourite, by the latest probe."""
    table = {family: weights for family, weights in _by_family(probe).items() if weights}
    best = [(max(weights.values()), family, max(weights, key=weights.get)) for family, weights in table.items()]
    if not best:
        return ""
    weight, family, teacher = max(best)
    spread = max(weight for weight, _, _ in best) - min(weight for weight, _, _ in best)
    if spread < 0.005:
        return "Every family of problems has the same weights here."
    favourites = {teacher for _, _, teacher in best}
    many = (
        f"{len(favourites)} teachers are the favourite of some family"
        if len(favourites) > 1
        else f"{bold(teacher)} is the favourite of every family"
    )
    return (
        f"The clearest favourite: for <i>{words(_family_title(family))}</i> it listens to {bold(teacher)} "
        f"({percent(weight)}). {many}."
    )


def _by_family(probe: Probe | None) -> dict[str, dict[str, float]]:
    """{family: {teacher: weight}} of a probe; {} where there is none."""
    found = probe.gate.get("by_family") if probe and probe.gate else None
    return {family: finite(weights) for family, weights in found.items()} if isinstance(found, dict) else {}


def _family_title(name: str) -> str:
    """A family's title; its name where the family is of the user's own data."""
    return FAMILIES[name].title.partition(":")[0] if name in FAMILIES else name


def _heads_sentence(probes: Sequence[Probe]) -> str:
    """How much of the loss's fall the projection heads take, in `deku` mode."""
    if not probes:
        return ""
    first, last = probes[0], probes[-1]
    if last.haf is None:
        return "The geometry loss has hardly fallen yet (by less than .001), so there is nothing to attribute."
    fell = f" ({first.loss:.3f} → {last.loss:.3f})" if first.loss is not None and last.loss is not None else ""
    far = "they get that far beside a student that learns nothing"
    if last.haf >= 1:
        text = f"<b>All of the fall</b> of the geometry loss{fell} is the heads': {far}."
    elif last.haf <= 0:
        text = f"<b>None of the fall</b> of the geometry loss{fell} is the heads': it takes the student's own change."
    else:
        text = f"<b>About {percent(last.haf)} of the fall</b> of the geometry loss{fell} is the heads': {far}."
    before, now = finite(first.cka), finite(last.cka)
    fallen = [t for t in now if t in before and now[t] - before[t] < -(last.null95 or 0.0)]
    if fallen:
        text += (
            f" Without heads in between, its agreement fell with {len(fallen)} of {len(now)} teachers at the same time."
        )
    return text


def _no_heads_sentence(geometry: GeometryConfig) -> str:
    """Why a run outside `deku` mode has no such share."""
    how = "has no projection heads" if geometry.mode == "kernel" else "has projection heads, but they are frozen"
    return (
        f"This run ({words(geometry.mode)} mode) {how}: nothing but the student can lower its geometry loss. In "
        "<i>deku</i> mode, which follows the Deku model card, trained heads can do the student's work unseen."
    )
