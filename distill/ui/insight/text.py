"""The sentences of the Insight tab: pure functions from a run's probes to HTML in which every name is escaped.

Numbers are as measured, beside what chance alone would give. Nothing here claims that agreement with teachers makes the
student right more often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.config.messages import listed
from distill.config.requirements import fills_in, heard
from distill.objectives.geometry import GeometryConfig
from distill.runs.events import Probe, Warning
from distill.runs.format import decimals
from distill.runs.views import RunView
from distill.ui.html import NO_RUN, words

_USUAL = GeometryConfig().layer
_FEW = 3  # teachers named one by one before the rest are named more briefly

_ADVICE = {
    "narrowed": "At its narrowest it was less than half as broad: a lower weight of geometry narrows it less.",
    "heads_absorb": "Judge by the agreement above, which is measured without heads, or use <i>kernel</i> mode.",
}


def nothing_here(run: RunView | None) -> str:
    """Why this run has nothing to show here, as one sentence or two; "" where it has or will have something."""
    if run is None:
        return NO_RUN + " What its teachers make of the problems, and whether the student comes to agree, appears here."
    if run.config is None:
        return "This run's config.yaml can't be read, so it is not known whether it uses any teacher."
    if heard(run.config):
        return ""
    if run.config.teachers:
        return (
            "This run has teachers, but no method that listens to any of them: the student learns from the worked "
            "solutions alone, so there is no agreement to show."
        )
    return (
        "This run has no teacher: the student learns from the worked solutions alone, so there is no "
        "agreement to show. The preset <b>tiny</b> is the same with six teachers."
    )


def when(run: RunView | None) -> str:
    """When the first numbers appear, for pictures that have none yet."""
    if run is None or run.config is None:
        return "It appears here when a run trains."
    if run.final:
        return "This run ended before its student was measured."
    probe = run.config.probe
    return f"It appears here when training begins: measured at step 0, then every {probe.every} steps."


def summary(run: RunView) -> str:
    """The first lines of the tab: how many teachers, what is learnt from them, and the outcome so far."""
    count = len(heard(run.config))
    who = "One teacher shapes" if count == 1 else f"{count} teachers shape"
    solutions = ["it learns to write their solutions of problems that had none"] if fills_in(run.config) else []
    takes = listed([*solutions, *(one.takes for one in run.config.objectives if one.takes)])
    return (
        f"{who} <b>{words(run.config.student.name)}</b> here: {takes}. The pictures show what they ask of it, and "
        f"whether it comes to agree. {in_short(run.series(Probe))}"
    ).rstrip()


def in_short(probes: Sequence[Probe]) -> str:
    """With how many teachers agreement rose and fell, and its mean, in a sentence; "" before there are two probes."""
    if len(probes) < 2:
        return ""
    first, last, line = finite(probes[0].cka), finite(probes[-1].cka), probes[-1].null95 or 0.0
    both = [t for t in last if t in first]
    if not both:
        return ""
    rose = sum(last[t] - first[t] > line for t in both)
    fell = sum(last[t] - first[t] < -line for t in both)
    of = f" of {len(both)}" if len(both) > 1 else ""
    moves = [f"{word} with {count}{of}" for word, count in (("rose", rose), ("fell", fell)) if count]
    was, now = (sum(values[t] for t in both) / len(both) for values in (first, last))
    numbers = f"mean CKA {decimals(was)} → {decimals(now)}, n = {probes[-1].n}"
    if not moves:
        return f"So far its agreement has hardly changed ({numbers})."
    return f"So far its agreement {listed(moves)} {'teachers' if of else 'teacher'} ({numbers})."


# --- agreement ------------------------------------------------------------------------------------------------------


def agreement(probes: Sequence[Probe]) -> list[str]:
    """Which teachers the student agrees with, before and now: sentences on those gained, lost, steady, and at chance.

    A change counts as one where it is larger than what chance alone reaches (`null95`).
    """
    if not probes:
        return []
    first, last = finite(probes[0].cka), finite(probes[-1].cka)
    now = {teacher: value for teacher, value in last.items() if teacher in first}
    if not now:
        return []
    chance = probes[-1].null95
    about = f"n = {probes[-1].n}" + ("" if chance is None else f"; chance level {decimals(chance)}")
    if len(probes) == 1:
        return [_at_first(now, about)]
    line = chance or 0.0
    change = {teacher: value - first[teacher] for teacher, value in now.items()}
    order = sorted(change, key=change.get)
    lost_in_chance = [t for t in order if now[t] < line]
    risen = [t for t in reversed(order) if change[t] > line and t not in lost_in_chance]
    fallen = [t for t in order if change[t] < -line and t not in lost_in_chance]
    steady = [t for t in order if t not in (*risen, *fallen, *lost_in_chance)]
    moves = {t: f"{bold(t)} ({decimals(first[t])} → {decimals(now[t])})" for t in order}
    groups = [
        (risen, "now agrees more with {} on which problems are similar than before"),
        (fallen, "now agrees less with {} on which problems are similar than before"),
        (steady, "agrees with {} about as much as before"),
        (lost_in_chance, "agrees with {} no more than by chance"),
    ]
    return _sentences([(group, text) for group, text in groups if group], first, now, moves, about)


def _sentences(groups: list, first: dict, now: dict, moves: dict, about: str) -> list[str]:
    """One sentence for each group; the first explains the numbers."""
    said = []
    for place, (group, text) in enumerate(groups):
        head, rest = group[0], group[1:]
        numbers = f"{decimals(first[head])} → {decimals(now[head])}"
        numbers = f"(CKA {numbers}, {about})" if place == 0 else f"({numbers})"
        sentence = f"{'The student' if place == 0 else 'It'} {text.format(bold(head))} {numbers}"
        if rest:
            shown = [moves[t] for t in rest[:_FEW]] + ([f"{len(rest) - _FEW} more"] if len(rest) > _FEW else [])
            sentence += f"; likewise {listed(shown)}"
        said.append(sentence + ".")
    return said


def _at_first(now: dict[str, float], about: str) -> str:
    top, low = max(now, key=now.get), min(now, key=now.get)
    if top == low:
        return f"Before training the student agrees with {bold(top)} to a degree of CKA {decimals(now[top])} ({about})."
    return (
        f"Before training the student agrees most with {bold(top)} (CKA {decimals(now[top])}) and least with "
        f"{bold(low)} ({decimals(now[low])}; {about})."
    )


# --- layers ---------------------------------------------------------------------------------------------------------


def trained_layer(fraction: float, layers: int) -> int:
    """The student's layer that geometry trains: as `models.pooling.layer_at`, which needs torch and stays out here."""
    return max(1, round(fraction * layers))


def layers(teacher: str, before: list | None, after: list | None, fraction: float | None) -> str:
    """Which of the teacher's layers matches the one looked at best, before and now. Maps: [student's][teacher's].

    `fraction`: the depth that geometry trains at, None where it isn't trained; then probes are at its default depth.
    """
    if not before:
        return ""
    trained = trained_layer(_USUAL if fraction is None else fraction, len(before) - 1)
    looked = "Geometry trains" if fraction is not None else "The measurements above use"
    was = _best(before[trained])
    if was is None:
        return f"{looked} the student's layer {trained}."
    text = (
        f"{looked} the student's layer {trained}. Before, it matched {bold(teacher)}'s layer {was[1]} best "
        f"(CKA {decimals(was[0])})"
    )
    now = _best(after[trained]) if after else None
    return f"{text}; now, layer {now[1]} ({decimals(now[0])})." if now else f"{text}."


def _best(row: list[float | None]) -> tuple[float, str] | None:
    found = [(value, layer) for layer, value in enumerate(row) if value is not None]
    value, layer = max(found, default=(None, 0))
    return None if value is None else (value, str(layer) if layer else "<i>in</i>")


# --- width -------------------------------------------------------------------------------------------------------


def width(probes: Sequence[Probe]) -> str:
    """How many directions the student's vectors use, before and now."""
    known = [p.participation_ratio for p in probes if p.participation_ratio is not None]
    if not known:
        return ""
    first, last = known[0], known[-1]
    if len(known) == 1:
        return f"Before training the student's vectors for {probes[0].n} texts spread over {first:.1f} directions."
    change = "narrower than" if last < 0.9 * first else "wider than" if last > 1.1 * first else "about as wide as"
    return (
        f"The student's vectors for {probes[-1].n} texts spread over {first:.1f} directions before training and over "
        f"{last:.1f} now: {change} before."
    )


def advice(run: RunView, code: str) -> str:
    """What to do about a warning of the run, in words; "" where it wasn't given."""
    given = any(warning.code == code for warning in run.series(Warning))
    text = _ADVICE[code] if run.config and run.config.geometry else f"{_ADVICE[code].partition(':')[0]}."
    return f" {text}" if given else ""


def warnings(run: RunView, *codes: str) -> list[str]:
    """The run's warnings of these codes, each once; "no_headroom" includes "no_headroom:phi3-tiny"."""
    found = [w.text for w in run.series(Warning) if w.code.partition(":")[0] in codes]
    return [words(text) for text in dict.fromkeys(found)]


def finite(values: object) -> dict[str, float]:
    """The entries of a mapping that are finite numbers: events may have been written by anything."""
    if not isinstance(values, dict):
        return {}
    return {str(k): v for k, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def bold(name: str) -> str:
    return f"<b>{words(name)}</b>"
