"""What the Insight tab says of a gate and of projection heads, which only runs that train on geometry have.

Pure functions from a run's probes to sentences, as HTML in which every name is inert; numbers are as measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.data.families import FAMILIES
from distill.objectives.geometry import GeometryConfig
from distill.runs.events import Probe
from distill.ui.html import words
from distill.ui.insight.text import bold, finite
from distill.ui.numbers import percent

_GATES = {
    "uniform": "This run's gate is <i>uniform</i>: every teacher weighs the same, on purpose.",
    "prior": "This run's gate is a <i>prior</i>: a teacher weighs more for a text whose solution it finds likely. It "
    "doesn't change as the student learns, so the lines move only with the problems that a step happens to hold.",
    "learned": "This run's gate is <i>learned</i> from the geometry loss itself, as on the Deku model card. Such a "
    "gate tends towards the teacher that is easiest to imitate, which need not be the best one.",
    "meta": "This run's gate is <i>meta</i>-learned: a teacher gains weight where following it helps the student with "
    "worked solutions it isn't trained on.",
}


def gate(geometry: GeometryConfig, probe: Probe | None) -> str:
    """Who is listened to, by the latest look."""
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
        else f"{bold(teacher)} is the favourite of every family"
    )
    return (
        f"The clearest favourite: for <i>{words(family_title(family))}</i> it listens to {bold(teacher)} "
        f"({percent(weight)}). {many}."
    )


def by_family(probe: Probe | None) -> dict[str, dict[str, float]]:
    """{family: {teacher: weight}} of a look; {} where there is none."""
    found = probe.gate.get("by_family") if probe and probe.gate else None
    return {family: finite(weights) for family, weights in found.items()} if isinstance(found, dict) else {}


def family_title(name: str) -> str:
    """A family's name for people; of a family of the user's own data, the name."""
    return FAMILIES[name].title.partition(":")[0] if name in FAMILIES else name


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
    before, now = finite(first.cka), finite(last.cka)
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
