"""What a study costs, said before it starts: runs, seconds and disk."""

from __future__ import annotations

import os
from dataclasses import dataclass

from distill.config.messages import listed
from distill.models.hardware import Machine
from distill.runs import format
from distill.runs.estimate import Estimate, estimate
from distill.runs.estimate import text as seconds_text
from distill.studies.conduct import StudyFolder
from distill.studies.plan import Cell, Plan


@dataclass(frozen=True)
class Cost:
    """`seconds`: (low, high), `saved` what asking teachers once for all seeds saves; None where a size is unknown."""

    cells: int
    seconds: tuple[float, float] | None
    saved: float
    disk_mb: float
    obstacles: list[str]


def cost_of(plan: Plan, runs_dir: str | os.PathLike[str] | None, begun: StudyFolder | None = None) -> Cost:
    """Of the cells that are still to be carried out. Teachers are asked once a text: only by the first seed's runs."""
    machine = Machine.here(runs_dir)
    states = begun.states if begun else {}
    left = [cell for cell in plan.cells if states.get(cell.key) != "done"]
    known: dict[str, Estimate] = {}
    low = high = saved = disk = 0.0
    obstacles: list[str] = []
    asked: set[str] = set()
    for cell in left:
        if (same := _but_seed(cell)) not in known:
            known[same] = estimate(cell.config, machine)
        found = known[same]
        if found.obstacle:
            obstacles.append(f"the arm {cell.arm!r}: {found.obstacle}")
        if found.seconds is None:
            return Cost(len(left), None, 0.0, 0.0, list(dict.fromkeys(obstacles)))
        total = sum(found.stages.values())
        again = found.stages.get("signals", 0.0) if same in asked else 0.0
        asked.add(same)
        share = 1 - again / total if total else 1.0
        low, high = low + share * found.seconds[0], high + share * found.seconds[1]
        saved += again
        disk += found.disk_mb or 0.0
    return Cost(len(left), (low, high), saved, disk, list(dict.fromkeys(obstacles)))


def _but_seed(cell: Cell) -> str:
    return cell.config.model_copy(update={"seed": 0, "name": ""}).model_dump_json()


def lines(plan: Plan, cost: Cost) -> list[str]:
    """The cost in words, a sentence each."""
    study = plan.study
    counts = [f"{len(study.arms)} arms", f"{len(study.seeds)} seed" + "s" * (len(study.seeds) != 1)]
    counts += [f"{len(study.values)} values of {study.ladder.setting}"] if study.ladder else []
    left = "" if cost.cells == len(plan.cells) else f", {cost.cells:,} of them still to do"
    said = [f"{study.name}: {listed(counts)}, {len(plan.cells):,} runs{left}."]
    if cost.seconds:
        shared = f"; {format.duration(cost.saved)} more if every run asked the teachers anew" if cost.saved > 1 else ""
        said.append(f"Time: {seconds_text(cost.seconds)}{shared}. Disk: up to {cost.disk_mb / 1024:.1f} GB.")
    else:
        said.append("Time and disk aren't known until the models are fetched.")
    return said + plan.notes + [f"Not possible here: {text}." for text in cost.obstacles]
