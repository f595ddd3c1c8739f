"""What the Insight tab says: pure functions from a run's probes to sentences, as HTML in which every name is inert.

Numbers are as measured, and what chance would do stands beside them. Nothing here claims that agreement with teachers
makes the student right more often. It knows nothing of pictures or of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.data.families import FAMILIES
from distill.events import Probe, Warning
from distill.methods import GeometryConfig
from distill.runs import RunView
from distill.ui.numbers import decimals, percent
from distill.ui.text import NO_RUN, words
from distill.wording import listed

_FEW = 3  # teachers named one by one before the rest are named more briefly

_GATES = {
    "uniform": "This run's gate is <i>uniform</i>: every teacher weighs the same, on purpose.",
    "prior": "This run's gate is a <i>prior</i>: a teacher weighs more for a text whose solution it finds likely. It "
    "doesn't change as the student learns, so the lines move only with the problems that a step happens to hold.",
    "learned": "This run's gate is <i>learned</i> from the geometry loss itself, as on the Deku model card. Such a "
    "gate tends towards the teacher that is easiest to imitate, which need not be the best one.",
    "meta": "This run's gate is <i>meta</i>-learned: a teacher gains weight where following it helps the student with "
    "worked solutions it isn't trained on.",
}

_ADVICE = {
    "narrowed": "At its narrowest it was less than half as broad: a lower weight of geometry narrows it less.",
    "heads_absorb": "Judge by the agreement above, which is measured without heads, or use <i>kernel</i> mode.",
}


def nothing_here(run: RunView | None) -> str:
    """Why this run has nothing to show here, as one sentence or two; "" where it has or will have something."""
    if run is None:
        return NO_RUN + " What its teachers make of the problems, and whether the student comes to agree, appears here."
    if run.config is None:
        return "This run's config.yaml can't be read, so nobody knows whether it asks any teacher."
    if run.config.geometry:
        return ""
    if run.config.teachers:
        return (
            "This run has teachers, but no <i>geometry</i> objective: nothing compares which problems they and the "
            "student find alike, so there is no gate and no agreement to show."
        )
    return (
        "This run has no teacher: the student learns from the worked solutions alone, so there is no gate and no "
        "agreement to show. The preset <b>tiny</b> is the same with six teachers."
    )


def when(run: RunView | None) -> str:
    """When the first numbers come, for pictures that have none yet."""
    if run is None or run.config is None:
        return "It appears here when a run trains."
    if run.final:
        return "This run ended before its student was looked at."
    probe = run.config.probe
    return f"It appears here when training begins: a look at step 0, then every {probe.every} steps."


def summary(run: RunView) -> str:
    """The first lines of the tab: what this is about, who teaches, and what came of it so far."""
    names = [teacher.name for teacher in run.config.teachers]
    who = "One teacher shapes" if len(names) == 1 else f"{len(names)} teachers shape"
    return (
        f"{who} <b>{words(run.config.student.name)}</b> here. They never speak to it: of each problem it learns which "
        "others they find <i>alike</i>. The pictures show whom it is told to listen to, and whether it comes to agree. "
        + in_short(run.series(Probe))
    ).rstrip()


def in_short(probes: Sequence[Probe]) -> str:
    """With how many teachers agreement rose and fell, and its mean, in a sentence; "" before there are two looks."""
    if len(probes) < 2:
        return ""
    first, last, line = _numbers(probes[0].cka), _numbers(probes[-1].cka), probes[-1].null95 or 0.0
    both = [t for t in last if t in first]
    if not both:
        return ""
    rose = sum(last[t] - first[t] > line for t in both)
    fell = sum(last[t] - first[t] < -line for t in both)
    moves = [f"{word} with {count} of {len(both)}" for word, count in (("rose", rose), ("fell", fell)) if count]
    was, now = (sum(values[t] for t in both) / len(both) for values in (first, last))
    numbers = f"mean CKA {decimals(was)} → {decimals(now)}, n = {probes[-1].n}"
    if not moves:
        return f"So far its agreement has hardly changed ({numbers})."
    return f"So far its agreement {listed(moves)} teachers ({numbers})."


# --- gate -----------------------------------------------------------------------------------------------------------


def gate(geometry: GeometryConfig, probe: Probe | None) -> str:
    """Who is listened to, by the latest look."""
    kind = _GATES[geometry.gate.kind]
    mean = _numbers(probe.gate["mean"]) if probe and probe.gate else {}
    if len(mean) < 2 or geometry.gate.kind == "uniform":
        return kind
    top, low = max(mean, key=mean.get), min(mean, key=mean.get)
    entropy = probe.gate.get("entropy")
    spread = ""
    if isinstance(entropy, (int, float)):
        spread = f" For one text it listens to the equivalent of {math.exp(entropy):.1f} of {len(mean)} teachers."
    return (
        f"On {probe.n} texts that it isn't trained on, the student listens most to {_b(top)} ({percent(mean[top])}) "
        f"and least to {_b(low)} ({percent(mean[low])}).{spread} {kind}"
    )


def families(probe: Probe | None) -> str:
    """Which family has the clearest favourite, by the latest look."""
    table = {family: weights for family, weights in by_family(probe).items() if weights}
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
        else f"{_b(teacher)} is the favourite of every family"
    )
    return (
        f"The clearest favourite: for <i>{words(family_title(family))}</i> it listens to {_b(teacher)} "
        f"({percent(weight)}). {many}."
    )


def by_family(probe: Probe | None) -> dict[str, dict[str, float]]:
    """{family: {teacher: weight}} of a look; {} where there is none."""
    found = probe.gate.get("by_family") if probe and probe.gate else None
    return {family: _numbers(weights) for family, weights in found.items()} if isinstance(found, dict) else {}


def family_title(name: str) -> str:
    """A family's name for people; of a family of the user's own data, the name."""
    return FAMILIES[name].title.partition(":")[0] if name in FAMILIES else name


# --- agreement ------------------------------------------------------------------------------------------------------


def agreement(probes: Sequence[Probe]) -> list[str]:
    """Whom the student agrees with, before and now, as sentences: those who gained, lost, stayed, and are at chance.

    A change counts as one where it is larger than what chance alone reaches (`null95`).
    """
    if not probes:
        return []
    first, last = _numbers(probes[0].cka), _numbers(probes[-1].cka)
    now = {teacher: value for teacher, value in last.items() if teacher in first}
    if not now:
        return []
    chance = probes[-1].null95
    about = f"n = {probes[-1].n}" + ("" if chance is None else f"; chance stays below {decimals(chance)}")
    if len(probes) == 1:
        return [_at_first(now, about)]
    line = chance or 0.0
    change = {teacher: value - first[teacher] for teacher, value in now.items()}
    order = sorted(change, key=change.get)
    lost_in_chance = [t for t in order if now[t] < line]
    risen = [t for t in reversed(order) if change[t] > line and t not in lost_in_chance]
    fallen = [t for t in order if change[t] < -line and t not in lost_in_chance]
    steady = [t for t in order if t not in (*risen, *fallen, *lost_in_chance)]
    moves = {t: f"{_b(t)} ({decimals(first[t])} → {decimals(now[t])})" for t in order}
    groups = [
        (risen, "now agrees more with {} on which problems are alike than before"),
        (fallen, "now agrees less with {} on which problems are alike than before"),
        (steady, "agrees with {} about as much as before"),
        (lost_in_chance, "agrees with {} no more than chance would"),
    ]
    return _sentences([(group, text) for group, text in groups if group], first, now, moves, about)


def _sentences(groups: list, first: dict, now: dict, moves: dict, about: str) -> list[str]:
    """One sentence a group; the first says what the numbers are."""
    said = []
    for place, (group, text) in enumerate(groups):
        head, rest = group[0], group[1:]
        numbers = f"{decimals(first[head])} → {decimals(now[head])}"
        numbers = f"(CKA {numbers}, {about})" if place == 0 else f"({numbers})"
        sentence = f"{'The student' if place == 0 else 'It'} {text.format(_b(head))} {numbers}"
        if rest:
            shown = [moves[t] for t in rest[:_FEW]] + ([f"{len(rest) - _FEW} more"] if len(rest) > _FEW else [])
            sentence += f"; likewise {listed(shown)}"
        said.append(sentence + ".")
    return said


def _at_first(now: dict[str, float], about: str) -> str:
    top, low = max(now, key=now.get), min(now, key=now.get)
    if top == low:
        return f"Before training the student agrees with {_b(top)} to a degree of CKA {decimals(now[top])} ({about})."
    return (
        f"Before training the student agrees most with {_b(top)} (CKA {decimals(now[top])}) and least with {_b(low)} "
        f"({decimals(now[low])}; {about})."
    )


# --- layers ---------------------------------------------------------------------------------------------------------


def trained_layer(fraction: float, layers: int) -> int:
    """The student's layer that geometry trains: as `losses.cka.layer_at`, which needs torch and so stays out here."""
    return max(1, round(fraction * layers))


def layers(teacher: str, before: list | None, after: list | None, fraction: float) -> str:
    """Which of the teacher's layers matches the trained one best, before and now. Maps: [student's][teacher's]."""
    if not before:
        return ""
    trained = trained_layer(fraction, len(before) - 1)
    was = _best(before[trained])
    if was is None:
        return f"Geometry trains the student's layer {trained}."
    text = (
        f"Geometry trains the student's layer {trained}. Before, it matched {_b(teacher)}'s layer {was[1]} best "
        f"(CKA {decimals(was[0])})"
    )
    now = _best(after[trained]) if after else None
    return f"{text}; now, layer {now[1]} ({decimals(now[0])})." if now else f"{text}."


def _best(row: list[float | None]) -> tuple[float, str] | None:
    found = [(value, layer) for layer, value in enumerate(row) if value is not None]
    value, layer = max(found, default=(None, 0))
    return None if value is None else (value, str(layer) if layer else "<i>in</i>")


# --- width and heads ------------------------------------------------------------------------------------------------


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
    return f" {_ADVICE[code]}" if given else ""


def heads(probes: Sequence[Probe]) -> str:
    """How much of the loss's fall the projection heads take, in `deku` mode."""
    if not probes:
        return ""
    first, last = probes[0], probes[-1]
    if last.haf is None:
        return "The geometry loss has hardly fallen yet (by less than .001), so there is nothing to share out."
    fell = f" ({first.loss:.3f} → {last.loss:.3f})" if first.loss is not None and last.loss is not None else ""
    far = "that far they get beside a student that learns nothing"
    if last.haf >= 1:
        text = f"<b>All of the fall</b> of the geometry loss{fell} is the heads': {far}."
    elif last.haf <= 0:
        text = f"<b>None of the fall</b> of the geometry loss{fell} is the heads': it takes the student's own change."
    else:
        text = f"<b>About {percent(last.haf)} of the fall</b> of the geometry loss{fell} is the heads': {far}."
    before, now = _numbers(first.cka), _numbers(last.cka)
    fallen = [t for t in now if t in before and now[t] - before[t] < -(last.null95 or 0.0)]
    if fallen:
        text += f" Without heads in between, its agreement fell with {len(fallen)} of {len(now)} teachers meanwhile."
    return text


def no_heads(geometry: GeometryConfig) -> str:
    """Why a run outside `deku` mode has no such share."""
    how = "has no projection heads" if geometry.mode == "kernel" else "has projection heads, but they are frozen"
    return (
        f"This run ({words(geometry.mode)} mode) {how}: nothing but the student can lower its geometry loss. In "
        "<i>deku</i> mode, which follows the Deku model card, trained heads can do the student's work unseen."
    )


def warnings(run: RunView, *codes: str) -> list[str]:
    """The run's warnings of these codes, each once; "no_headroom" includes "no_headroom:phi3-tiny"."""
    found = [w.text for w in run.series(Warning) if w.code.partition(":")[0] in codes]
    return [words(text) for text in dict.fromkeys(found)]


def _numbers(values: object) -> dict[str, float]:
    """The entries of a mapping that are finite numbers: events may have been written by anything."""
    if not isinstance(values, dict):
        return {}
    return {str(k): v for k, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def _b(name: str) -> str:
    return f"<b>{words(name)}</b>"
