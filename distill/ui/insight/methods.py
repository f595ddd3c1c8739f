"""Insight, of methods that follow teachers word by word or learn from answers: what they did, by teacher.

How far the student still is from each teacher, how its own answers went that it was corrected on, and what became of
the teachers' answers. Words and pictures; a part that a run has nothing of is "".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distill.config.method import Rollout
from distill.config.requirements import answers_itself, wants_answers
from distill.objectives import METHODS, called
from distill.runs.format import percent
from distill.runs.views import RunView
from distill.ui.charts.lines import Series, line_chart
from distill.ui.charts.palette import STUDENT
from distill.ui.charts.run_curves import column, step_range
from distill.ui.html import words
from distill.ui.insight.parts import LINE, POINTS, explained, teachers
from distill.ui.insight.text import bold

DISTANCES = {method.of_kind(): method.distance for method in METHODS if method.distance}  # a loss with each teacher
_LATELY = 10  # steps of a mean


def distances(kind: str) -> Callable[[RunView | None], str]:
    """What draws a method's loss with each of several teachers; with one, that is the loss under Train."""
    what, meaning = DISTANCES[kind]

    def draw(run: RunView | None) -> str:
        by_teacher = teachers(run, kind)
        if len(by_teacher) < 2:
            return ""
        lines = [column(run, f"metric:{kind}/{name}", name, style, POINTS) for name, style in by_teacher.items()]
        picture = line_chart(
            [line for line in lines if len(line.xs)],
            title=f"Distance from each teacher: {what}",
            x_label="step",
            y_label="loss",
            points=POINTS,
            x_range=step_range(run),
            empty="The loss with each teacher appears here with the first step.",
            name=f"{kind.replace('_', '-')}-by-teacher",
        )
        return explained(
            picture,
            [_moved({line.name: line.ys for line in lines if len(line.xs)})],
            [],
            f"A line is the loss of <dfn>{called(kind)}</dfn> with one teacher, whatever that teacher's share: "
            f"{meaning}. {LINE}",
            "If nothing were learned, the lines would run level. Heights of two teachers say little: some are harder "
            "to follow whoever follows them.",
        )

    return draw


def _moved(values: dict[str, Any]) -> str:
    """Which teacher the student came closest to, and which least, by how much of the first loss is left."""
    left = {}
    for name, ys in values.items():
        known = np.asarray(ys, dtype=float)
        known = known[np.isfinite(known)]
        if len(known) > 1 and known[0] > 0:
            left[name] = (known[0], known[-1])
    if not left:
        return ""
    order = sorted(left, key=lambda name: left[name][1] / left[name][0])

    def change(name: str) -> str:
        return f"{bold(name)} ({left[name][0]:.3g} → {left[name][1]:.3g})"

    if len(order) == 1:
        return f"The loss with {change(order[0])}."
    return f"Its loss fell most with {change(order[0])} and least with {change(order[-1])}, as shares of what it was."


def own(run: RunView | None) -> str:
    """How many steps learnt from the student's own answers, and how many of these had no end."""
    method = answers_itself(run.config) if run and run.config else None
    if method is None or not method.rollout.share:
        return ""
    rollout = method.rollout
    steps, missing = _known(run, "metric:gkd/unfinished")
    line = Series("unfinished", steps, missing, STUDENT)
    picture = line_chart(
        [line] if len(steps) else [],
        title="Its own answers: how many are unfinished",
        x_label="step",
        y_label="unfinished",
        points=POINTS,
        x_range=step_range(run),
        y_range=(0.0, 1.0),
        percent=True,
        empty="When a step first learns from the student's own answers, how many of them are unfinished appears here.",
        name="own-answers",
    )
    return explained(
        picture,
        [_own(run, rollout, missing)],
        [],
        "At some steps the student answers problems itself, and teachers correct these answers (<dfn>on-policy</dfn>, "
        f"GKD). An answer that isn't over after {rollout.max_new_tokens:,} tokens is cut off and counts as unfinished.",
        "A line that stays high means that the student never learned to stop, or that the limit on length is too low.",
    )


def _own(run: RunView, rollout: Rollout, missing: np.ndarray) -> str:
    steps, owns = _known(run, "metric:gkd/own")
    if not len(steps):
        return ""
    count = int(owns.sum())
    text = (
        f"{count:,} of {len(steps):,} steps so far learnt from the student's own answers "
        f"({percent(count / len(steps))}; {percent(rollout.share)} was asked for)."
    )
    if len(missing):
        lately = missing[-_LATELY:]
        text += f" Of these answers {percent(float(missing[0]))} were unfinished at first, "
        text += f"{percent(float(lately.mean()))} in the latest {len(lately)} such steps."
    return text


def _known(run: RunView, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a metric was recorded, and its values."""
    steps, values = (np.asarray(part, dtype=float) for part in run.timeline.columns(name))
    known = np.isfinite(values)
    return steps[known], values[known]


def answers(run: RunView | None) -> str:
    """What became of the teachers' answers that the student learns from: a row each."""
    wanted = wants_answers(run.config) if run and run.config else None
    if wanted is None:
        return ""
    title = "<h3>What became of the teachers' answers</h3>"
    found = (run.report or {}).get("responses")
    if not isinstance(found, dict) or not found:
        when = "This run has no such record." if run.final else "How many were right and kept appears here at the end."
        return f'<section class="insight-part">{title}<p class="quiet">{when}</p></section>'
    rows = "".join(_row(name, counts) for name, counts in found.items() if isinstance(counts, dict))
    head = "".join(f'<th scope="col">{one}</th>' for one in ("Teacher", "Asked", "Finished", "Right", "Kept"))
    return (
        f'<section class="insight-part">{title}<div class="insight-table" tabindex="0" role="region" '
        f'aria-label="Teachers\' answers"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<div class="insight-said"><p>{_kept(found)}</p></div><div class="insight-how"><h4>How to read this</h4><p>'
        "The student learns to write the answers that were kept. <i>Finished</i> are those with an end, <i>right</i> "
        "those with the right result. Whether they helped is under Compare.</p></div></section>"
    )


def _row(name: str, counts: dict[str, Any]) -> str:
    cells = ""
    for key in ("asked", "finished", "right", "kept"):
        value = counts.get(key)
        cells += f"<td>{value:,}</td>" if isinstance(value, int) else "<td>–</td>"
    return f'<tr><th scope="row">{words(name)}</th>{cells}</tr>'


def _kept(found: dict[str, Any]) -> str:
    asked, kept = (
        sum(value for one in found.values() if isinstance(one, dict) and isinstance(value := one.get(key), int))
        for key in ("asked", "kept")
    )
    return f"The student learnt from {kept:,} of {asked:,} answers ({percent(kept / asked)})." if asked else ""
