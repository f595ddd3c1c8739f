"""The table of all runs and the details of the open one. Pure: views in, HTML out.

Names and reasons come from others and are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill.config.limits import limit
from distill.config.messages import listed
from distill.objectives import called
from distill.runs.events import FINAL, Evaluation, Event, Status
from distill.runs.format import duration, moment, moment_iso, percent, score
from distill.runs.retention import kept_until
from distill.runs.uploads import upload_name
from distill.runs.views import RunView
from distill.ui import actions
from distill.ui.auth import Visitor
from distill.ui.html import NO_RUN, state_words, table, words

SHOWN = 100  # rows: older runs are only counted


@dataclass(frozen=True)
class Row:
    """A run as the table shows it: two equal rows look the same. `accuracy`: (n, before, after), shares of 1."""

    id: str
    name: str
    state: str
    accuracy: tuple[int, float | None, float | None] | None
    seconds: float | None
    created: float


def row_of(run: RunView) -> Row:
    """What the table shows of a run."""
    return Row(run.id, run.name, run.state, accuracy(run), worked(run), run.created)


def accuracy(run: RunView) -> tuple[int, float | None, float | None] | None:
    """(n, before, after) on the held-out problems, as far as they were asked; None before the first."""
    found = {e.phase: e for e in run.series(Evaluation) if e.split == "held_out"}
    before, after = found.get("before"), found.get("after")
    if before is None:
        return None
    return before.n, before.accuracy, after.accuracy if after else None


def worked(run: RunView) -> float | None:
    """Seconds that an ended run was at work, over all its resumes; None while it goes on, or if it never began."""
    if not run.final or not any(status.state == "preparing" for status in run.series(Status)):
        return None
    total, begun = 0.0, None
    for status in run.series(Status):
        if status.state == "preparing" and begun is None:
            begun = status.t
        elif status.state in FINAL or status.state == "queued":
            total += status.t - begun if begun is not None else 0.0
            begun = None
    if begun is not None:  # it broke off: its last event is all that is known
        total += run.last(Event).t - begun
    return total


# --- the table ------------------------------------------------------------------------------------------------------


def runs_table(rows: Sequence[Row], total: int, shown: str) -> str:
    """The rows as a table with a box to tick in each. `total`: how many runs there are; `shown`: id of the open one."""
    if not rows:
        return (
            f'<p class="runs-none">{NO_RUN} Every run stays here, to be looked at again, compared and downloaded.</p>'
        )
    titles = ("Run", "Preset", "State", "Right before → after", "Time", "Started")
    head = ['<span class="unseen">Compare</span>', *titles]
    made = table(head, [_row(one, one.id == shown) for one in rows], label="All runs", scroll="runs-scroll")
    return f'<p class="runs-caption">{count(len(rows), total)} Tick two or more to compare them.</p>{made}'


def count(shown: int, total: int) -> str:
    """How many runs there are, and how many of them are shown."""
    if total > shown:
        return f"The newest {shown} of {total:,} runs."
    return "One run." if total == 1 else f"{total} runs, the newest first."


def _row(one: Row, is_shown: bool) -> str:
    run, name, state = words(one.id), words(one.name), words(one.state)
    short = words(one.id[:6])
    current = ' aria-current="true"' if is_shown else ""
    return (
        f'<tr data-run="{run}"{current}><td><input type="checkbox" aria-label="compare run {short}, {name}">'
        f'<th scope="row"><a href="?run={run}">{short}</a>'
        f'<td class="name">{name}<td class="state {state}">{state}<td class="score">{_scores(one.accuracy)}'
        f'<td class="time">{"–" if one.seconds is None else duration(one.seconds)}'
        f'<td class="when">{when(one.created)}'
    )


def _scores(found: tuple[int, float | None, float | None] | None) -> str:
    if found is None:
        return "–"
    n, before, after = found
    return f"{percent(before, 1)} → <b>{percent(after, 1)}</b> <small>of {n}</small>"


def when(seconds: float) -> str:
    """A time; assets/runs.js shows it in the visitor's own time zone."""
    return f'<time datetime="{moment_iso(seconds)}">{moment(seconds)}</time>'


# --- the open run --------------------------------------------------------------------------------------------------


def details(run: RunView | None) -> str:
    """The open run: what it is, what came of it, and its link."""
    if run is None:
        return '<h2>No run is open</h2><p class="quiet">The run that you open in the table is described here.</p>'
    about = f'<p class="quiet">{words(run.config.description)}</p>' if run.config and run.config.description else ""
    parts = "".join(f"<dt>{what}</dt><dd>{text}</dd>" for what, text in _facts(run) if text)
    link = f"?run={words(run.id)}"
    return (
        f"<h2>Run {words(run.id[:6])}, {words(run.name)}</h2>{about}<dl>{parts}</dl>"
        f'<p class="runs-link">Share it: <a href="{link}">{link}</a> '
        f'<button type="button" data-copy="{link}">Copy link</button> <span role="status"></span></p>'
    )


def _facts(run: RunView) -> list[tuple[str, str]]:
    """(what, text as HTML) of a run; an empty text is left out."""
    config, report = run.config, run.report or {}
    seconds = worked(run)
    state = state_words(run) + (f", {duration(seconds)} of work" if seconds is not None else "")
    facts = [
        ("State", words(state)),
        ("Started", when(run.created)),
        ("Why", words(actions.published(run.reason or "")) * run.final),
    ]
    facts.append(("Steps", f"{run.step:,} of {run.steps:,}"))
    if config:
        names = [teacher.name for teacher in config.teachers]
        facts += [
            ("Student", words(config.student.name)),
            ("Teachers", words(listed(names)) or "none"),
            ("Trained on", words(listed([f"{called(o.kind)} × {o.weight:g}" for o in config.objectives]))),
        ]
    for split, title in (("held_out", "Right"), ("new_phrasing", "In new wordings")):
        facts.append((title, _change(run, split)))
    if most := report.get("ceiling"):
        best = f"{words(most['best'])} {score(most['teachers'][most['best']])} of {most['n']}"
        facts.append(("Best teacher", best))
    flips = report.get("flips") or {}
    if flips:
        facts.append(("Changed", f"{flips.get('fixed', 0)} fixed, {flips.get('broken', 0)} broken"))
    return facts


def _change(run: RunView, split: str) -> str:
    """Accuracy before and after with 95% intervals; "" before it was measured."""
    found = {e.phase: e for e in run.series(Evaluation) if e.split == split}
    if "before" not in found:
        return ""
    before = found["before"]
    after = f" → {score(vars(found['after']))}" if "after" in found else " before training"
    return f"{score(vars(before))}{after} of {before.n}"


def ownership(run: RunView | None, visitor: Visitor) -> str:
    """Whose run it is, and what this visitor may do with it."""
    if run is None:
        return ""
    mine, whose = visitor.owns(run.folder), visitor.whose(run.folder)
    going = "" if run.final else " It is still going: stop it before you delete it."
    may = f"you may stop, resume and delete it.{going}" if mine else "you may watch, compare and download it."
    until = None if visitor.local else kept_until(run)
    gone = "" if until is None else f" It will be deleted on {when(until)}, or earlier if the server is full."
    return f'<p class="runs-owner"><b>{whose}</b>: {may}{gone}</p>'


def kept() -> str:
    """How long a public server keeps runs, before the table of them."""
    return (
        f"<p class='quiet'>A run is kept here for {limit('KEPT_DAYS'):g} days after it ended, and all together while "
        f"they are smaller than {limit('KEPT_GB'):g} GB, the newest longest: download what you want to keep.</p>"
    )


def config_text(run: RunView | None) -> str:
    """config.yaml, folded."""
    if run is None:
        return ""
    try:
        text = actions.published((run.folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        text = "config.yaml can't be read."
    return (
        '<details class="runs-config"><summary>config.yaml: every setting of this run</summary>'
        f'<pre tabindex="0" role="region" aria-label="config.yaml">{words(text)}</pre></details>'
    )


def question(run: RunView) -> str:
    """The question before a run is deleted."""
    named = f"{words(run.id[:6])} ({words(run.name)}, {words(run.state)})"
    file = run.config is not None and run.config.data.path is not None and upload_name(run.config.data.path)
    more = "Its adapter, its report and the file that was uploaded for it" if file else "Its adapter and its report"
    return f"<p><b>Delete run {named}?</b> {more} are deleted too. This cannot be undone.</p>"
