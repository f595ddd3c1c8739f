"""A study as the page shows it: a grid that fills, pictures, verdicts. Pure: a study in, HTML out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from distill.runs.format import percent
from distill.studies import figures, results
from distill.studies.conduct import StudyFolder
from distill.studies.plan import Cell, Study
from distill.studies.worker import working
from distill.ui.charts.axes import compact
from distill.ui.charts.figure import Frame, figure
from distill.ui.html import table, table_row, words

NONE = (
    '<p class="quiet">A study trains several arms (presets, or runs with a setting changed) with several seeds, and '
    "says which is better, and how sure that is. None has been begun here.</p>"
)
_WIDE = 'style="min-width:36rem"'


def listing(studies: list[StudyFolder], shown: str) -> str:
    """All studies, a line each."""
    if not studies:
        return NONE
    rows = []
    for one in studies:
        states = list(one.states.values())
        current = ' aria-current="true"' if one.id == shown else ""
        rows.append(
            f'<tr{current}><th scope="row"><button type="button" data-event="opened" data-study="{one.id}">'
            f"{words(one.plan.study.title or one.plan.study.name)}</button>"
            f"<td>{_state(one, states)}<td>{states.count('done')} of {len(states)} runs"
        )
    return table(["Study", "State", "Done"], rows, label="All studies", scroll="runs-scroll")


def _state(study: StudyFolder, states: list[str]) -> str:
    if all(state == "done" for state in states):
        return "done"
    return "running" if working(study) else "stopped, can be continued"


def view(study: StudyFolder | None) -> str:
    """One study: what it asks, its grid, and what it has found so far."""
    if study is None:
        return ""
    asked, states = study.plan.study, study.states
    found = known(study)
    shares = {(c["arm"], json.dumps(c["value"]), c["seed"]): c.get(asked.splits[0]) for c in found.get("cells", [])}
    about = f'<p class="quiet">{words(asked.description)}</p>' if asked.description else ""
    notes = "".join(f"<p>{words(note)}</p>" for note in found.get("notes", study.plan.notes))
    parts = [f"<h2>{words(asked.title or asked.name)}</h2>{about}{notes}", _grid(study, asked, states, shares)]
    if found.get("differences"):
        parts.append(_verdicts(study, found))
        parts += _pictures(found, asked)
    return "".join(parts)


def known(study: StudyFolder) -> dict[str, Any]:
    """study.json as it is now; {} before the first run has ended."""
    try:
        return json.loads((study.path / results.RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _grid(study: StudyFolder, asked: Study, states: Mapping[str, str], shares: Mapping[tuple, float | None]) -> str:
    """A row for each arm and value, a cell for each seed; a cell leads to its run."""
    head = [*([words(asked.ladder.setting)] if asked.ladder else []), *(f"seed {seed}" for seed in asked.seeds)]
    cells = {(cell.arm, json.dumps(cell.value), cell.seed): cell for cell in study.plan.cells}
    rows = []
    for value in asked.values:
        for arm in asked.arms:
            of_seeds = [cells[arm, json.dumps(value), seed] for seed in asked.seeds]
            named = [words(value)] if asked.ladder else []
            drawn = [_cell(study, one, states[one.key], shares.get(_key(one))) for one in of_seeds]
            rows.append(table_row(words(arm), *named, *drawn))
    caption = f"Right answers to {words(results.SPLITS[asked.splits[0]])} after training; each cell is a run."
    return f'<div class="study-grid">{table(["Arm", *head], rows, caption=caption, scroll="runs-scroll")}</div>'


def _key(cell: Cell) -> tuple:
    return cell.arm, json.dumps(cell.value), cell.seed


def _cell(study: StudyFolder, cell: Cell, state: str, share: float | None) -> str:
    text = percent(share, 1) if share is not None else words(state)
    if state == "waiting":
        return f'<span class="study-cell waiting">{text}</span>'
    return f'<a class="study-cell {words(state)}" href="?run={study.runs[cell.key]}">{text}</a>'


def _verdicts(study: StudyFolder, found: dict[str, Any]) -> str:
    items = "".join(f"<li>{words(one)}</li>" for one in found["verdicts"])
    last = words(results.last_line(found, study.path)) if found["take"] is None else _take(found["take"])
    return f'<h3>What it says</h3><ul class="study-verdicts">{items}</ul><p><b>{last}</b></p>'


def _take(take: Mapping[str, Any]) -> str:
    why = "" if take["why"] == "better" else f" ({take['why']})"
    return f"Take {words(take['arm'])}{words(why)}."


def _pictures(found: dict[str, Any], asked: Study) -> list[str]:
    judged = [one for one in found["differences"] if "verdict" in one]
    drawn = [_picture("study-differences", "Differences between arms", figures.forest(found), _difference_rows(judged))]
    for split in asked.splits:
        if over := figures.ladder(found, split):
            means = [one for one in found["means"] if one["split"] == split]
            title = f"{results.SPLITS[split].capitalize()}, over {found['ladder']}"
            drawn.append(_picture(f"study-{split}", title, over, _mean_rows(means)))
    return drawn


def _picture(name: str, title: str, svg: str, numbers: str) -> str:
    height = int(svg.split('height="', 1)[1].split('"', 1)[0])
    frame = Frame(svg.replace("<svg ", f"<svg {_WIDE} ", 1), title, height, 0, 0, 0, 0, reads=False)
    return figure(name, title, "bars", [frame], numbers=numbers)


def _difference_rows(judged: list[dict[str, Any]]) -> str:
    head = ["arm", "with", "value", "difference", "low", "high", "seeds", "problems", "verdict"]
    rows = [
        table_row(
            words(one["arm"]),
            words(one["with"]),
            words(one["value"] if one["value"] is not None else ""),
            *(_number(number) for number in (one["estimate"], *one["ci95"], one["seeds"], one["n"])),
            words(one["verdict"]),
        )
        for one in judged
    ]
    return table(head, rows)


def _mean_rows(means: list[dict[str, Any]]) -> str:
    head = ["arm", "value", "accuracy", "low", "high", "seeds", "problems"]
    rows = [
        table_row(
            words(one["arm"]),
            words(one["value"]),
            *(_number(number) for number in (one["estimate"], *one["ci95"], one["seeds"], one["n"])),
        )
        for one in means
    ]
    return table(head, rows)


def _number(value: float) -> str:
    return f'<span data-v="{compact(value)}">{value:.4g}</span>'
