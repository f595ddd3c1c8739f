"""Several runs side by side: accuracies with intervals, curves in one picture each, and the settings that differ.

Pure: views in, HTML out. Where curves cannot be compared, a sentence says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.config.run_config import RunConfig, teachers_of
from distill.objectives import KINDS
from distill.runs.events import Evaluation, Probe
from distill.runs.format import score
from distill.runs.views import RunView
from distill.ui.actions import published
from distill.ui.charts import run_curves
from distill.ui.charts.lines import Series, line_chart, swatch
from distill.ui.charts.palette import Style, teacher_style
from distill.ui.html import table, table_row, words

MOST = 6  # runs: there are six colours
_POINTS = 60  # of a curve: all are sent with every update
_SAME_PROBLEMS = ("source", "path", "dataset", "subset", "split", "columns", "held_out", "families", "seed")


def results(runs: Sequence[RunView]) -> str:
    """Accuracies and curves of two runs or more; what will be here for fewer."""
    if len(runs) < 2:
        more = "another run" if runs else "two runs or more"
        return (
            f'<h2>Compare</h2><p class="quiet">Tick {more} above: their accuracies, their curves and the settings in '
            "which they differ appear here.</p>"
        )
    drawn = runs[:MOST]
    left_out = f" Only the first {MOST} ticked are shown." if len(runs) > MOST else ""
    pictures = "".join(f"<div>{picture(drawn)}</div>" for picture in (loss, during, agreement))
    return (
        f"<h2>{len(drawn)} runs compared</h2>"
        f'<p class="quiet">Intervals that overlap leave open which run is better.{_asked(drawn)}{left_out}</p>'
        f'{_accuracies(drawn)}<div class="pictures">{pictures}</div>'
    )


def styled(runs: Sequence[RunView]) -> list[tuple[RunView, str, Style]]:
    """(run, its label, its style): one colour for each run, in the order in which they were ticked."""
    return [(run, f"{run.id[:6]} {run.name}", teacher_style(place)) for place, run in enumerate(runs)]


# --- results --------------------------------------------------------------------------------------------------------


def _accuracies(runs: Sequence[RunView]) -> str:
    head = ("Run", "State", "Right before", "Right after", "After, new wordings")
    rows = []
    for run, name, style in styled(runs):
        found = {(e.phase, e.split): vars(e) for e in run.series(Evaluation)}
        before, after = found.get(("before", "held_out")), found.get(("after", "held_out"))
        new = found.get(("after", "new_phrasing"))
        rows.append(table_row(_key(name, style), words(run.state), _score(before), _score(after), _score(new)))
    return _table("Right answers to held-out problems, with 95% intervals", head, rows)


def _score(part: Mapping[str, Any] | None) -> str:
    if part is None:
        return "–"
    share, _, interval = score(part).partition(" ")
    return f"<b>{share}</b> <small>{interval} of {part['n']:,}</small>"


def _asked(runs: Sequence[RunView]) -> str:
    """A caution where the runs were not asked the same problems."""
    asked = [{name: getattr(run.config.data, name) for name in _SAME_PROBLEMS} for run in runs if run.config]
    same = len(asked) == len(runs) and all(one == asked[0] for one in asked)
    return (
        "" if same else " These runs were not asked the same problems, so their accuracies are only roughly comparable."
    )


# --- curves ---------------------------------------------------------------------------------------------------------


def loss(runs: Sequence[RunView]) -> str:
    """The loss of each run; where objectives differ, a part that all have, preferably the loss on worked solutions."""
    trained_on = [run.config.objectives if run.config else None for run in runs]
    alike = all(one == trained_on[0] for one in trained_on)
    shared = next((kind for kind in KINDS if not alike and _comparable(runs, kind)), None)
    name, title = (f"term:{shared}", f"Loss: {KINDS[shared].name}") if shared else ("loss", "Loss")
    note = ""
    if not alike:
        note = "These runs train on different objectives. " + (
            "Their whole losses can't be compared, so this is a part that all have."
            if shared
            else "Their losses are different things: compare the shapes, not the heights."
        )
    picture = line_chart(
        [
            run_curves.column(run, name, called, style, _POINTS)
            for run, called, style in styled(runs)
            if run.timeline.columns(name)[0]
        ],
        title=title,
        x_label="step",
        y_label="loss",
        points=_POINTS,
        x_range=_steps(runs),
        empty="The losses appear here when the runs train.",
        name="compare-loss",
    )
    return picture + _note(note)


def _comparable(runs: Sequence[RunView], kind: str) -> bool:
    """Whether all runs have a method with the same settings (but for its weight) and teachers, so one loss."""
    settings = []
    for run in runs:
        found = run.config.objective(kind) if run.config else None
        if found is None or f"term:{kind}" not in run.timeline.names:
            return False
        names = [teacher.model for teacher in teachers_of(found, run.config)]
        settings.append((found.model_dump(exclude={"weight"}), names))
    return all(one == settings[0] for one in settings)


def during(runs: Sequence[RunView]) -> str:
    """The share of validation problems that each run gets right while it trains."""
    series, asked = [], set()
    for run, called, style in styled(runs):
        points = run_curves.during(run)
        asked |= {e.n for e in points}
        series.append(Series(called, [e.step for e in points], [e.accuracy for e in points], style))
    count = f", of {asked.pop()}" if len(asked) == 1 else ""
    picture = line_chart(
        [one for one in series if len(one.xs)],
        title=f"Right while training{count}",
        x_label="step",
        y_label="right",
        points=_POINTS,
        x_range=_steps(runs),
        percent=True,
        markers=True,
        empty="What the runs get right while they train appears here; none of these has been asked yet.",
        name="compare-accuracy",
    )
    few = (
        "Few problems, so each point is rough: a few per cent up or down mean nothing."
        if any(len(one.xs) for one in series)
        else ""
    )
    return picture + _note(few)


def agreement(runs: Sequence[RunView]) -> str:
    """The student's CKA, averaged over a run's teachers."""
    series, chance = [], set()
    for run, called, style in styled(runs):
        looks = [(p, [v for v in p.cka.values() if v is not None]) for p in run.series(Probe)]
        looks = [(p, values) for p, values in looks if values]
        chance |= {p.null95 for p, _ in looks if p.null95 is not None}
        series.append(Series(called, [p.step for p, _ in looks], [sum(v) / len(v) for _, v in looks], style))
    picture = line_chart(
        [one for one in series if len(one.xs)],
        title="Mean agreement",
        x_label="step",
        y_label="mean CKA",
        points=_POINTS,
        x_range=_steps(runs),
        y_range=(0.0, 1.0),
        markers=True,
        null_line=(max(chance), "chance level for one teacher") if chance else None,
        empty="The mean agreement (CKA) with a run's teachers. None of these runs was compared with any yet.",
        name="compare-agreement",
    )
    without = [called for (_, called, _), one in zip(styled(runs), series, strict=True) if not len(one.xs)]
    note = f"Without teachers to compare with: {words(', '.join(without))}." if 0 < len(without) < len(runs) else ""
    return picture + _note(note)


def _steps(runs: Sequence[RunView]) -> tuple[float, float] | None:
    longest = max(run.steps for run in runs)
    return (0, longest) if longest else None


def _note(text: str) -> str:
    return f'<p class="runs-note">{text}</p>' if text else ""


# --- settings -------------------------------------------------------------------------------------------------------


def settings(runs: Sequence[RunView]) -> str:
    """The runs' configs side by side: what differs in a table, what is equal folded away."""
    known = [(run, called, style) for run, called, style in styled(runs[:MOST]) if run.config]
    if len(known) < 2:
        return ""
    flats = [flat(run.config) for run, _, _ in known]
    keys = list(dict.fromkeys(key for one in flats for key in one))
    # Settings that only some have belong to an objective that the others lack, which the list of objectives shows.
    differing = [key for key in keys if len({one[key] for one in flats if key in one}) > 1]
    equal = [key for key in keys if key not in differing]
    rows = [_setting(key, [one.get(key) for one in flats]) for key in differing]
    head = ["Setting", *(_key(called, style) for _, called, style in known)]
    differ = _table("Settings that differ; bold where they differ from the first run", head, rows)
    none = '<p class="quiet">Every setting is the same.</p>'
    same = [table_row(words(key), words(_any(flats, key))) for key in equal]
    folded = _table("The same in every run that has them", ["Setting", "Value"], same)
    return (
        f"<h3>Settings</h3>{differ if differing else none}"
        f"<details><summary>{len(equal)} settings that are equal</summary>{folded}</details>"
    )


def _setting(key: str, values: Sequence[str | None]) -> str:
    texts = ["–" if value is None else words(value) for value in values]
    cells = [text if value == values[0] else f"<b>{text}</b>" for text, value in zip(texts, values, strict=True)]
    return table_row(words(key), *cells)


def _any(flats: Sequence[Mapping[str, str]], key: str) -> str:
    return next(one[key] for one in flats if key in one)


def flat(config: RunConfig) -> dict[str, str]:
    """{setting: value as text}, named as --set names it: "budget.steps", "objectives.geometry.mode"."""
    dumped = config.model_dump(mode="json", exclude={"description", "teachers", "objectives"})
    dumped["teachers"] = [f"{t.name} ({t.model})" if t.name != t.model else t.name for t in config.teachers]
    dumped["objectives"] = {o.kind: o.model_dump(mode="json", exclude={"kind"}) for o in config.objectives}
    found = {"objectives": ", ".join(dumped["objectives"])}
    _flatten(dumped, "", found)
    return published(found)


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, str]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", found)
        elif isinstance(value, list):
            found[prefix + key] = ", ".join(map(str, value)) or "none"
        elif isinstance(value, bool):
            found[prefix + key] = "yes" if value else "no"
        elif value is None:
            found[prefix + key] = "all" if prefix.startswith("objectives.") and key == "teachers" else "none"
        else:
            found[prefix + key] = f"{value:g}" if isinstance(value, float) else str(value)


def _key(name: str, style: Style) -> str:
    return f'<span class="runs-key">{swatch(style)} {words(name)}</span>'


def _table(title: str, head: Sequence[str], rows: Sequence[str]) -> str:
    """A table with its title above, which scrolls by itself where it is wider than the page. All HTML but the title."""
    return f'<p class="runs-caption">{title}</p>' + table(head, rows, label=title, scroll="runs-wide")
