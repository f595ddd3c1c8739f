"""What training changed, in words and tables: accuracies with intervals, families, and each answer that flipped.

Pure functions from a run's report, events and recorded answers to HTML. Nothing is generated or judged here.
"""

from __future__ import annotations

from typing import Any

from distill.models.conversation import told
from distill.runs.events import Evaluation
from distill.runs.views import RunView
from distill.ui.charts.bars import paired_bars
from distill.ui.charts.run_curves import during
from distill.ui.compare.answer_markdown import concluded, found_in
from distill.ui.compare.recorded_answers import BROKEN, FIXED, Pair, flips, pairs
from distill.ui.html import words

_QUESTION = 90  # characters of a question in a table or a list
_TITLE = "<h3>On problems that it was not trained on</h3>"
_TERMS = (
    "Held-out problems are of the same kinds, with numbers that training never used; new wordings are phrasings that "
    "it never used. Fixed: wrong before, right after; broken: the other way round. 95%: an interval that holds the "
    "true accuracy 95 times in 100. p: how likely a split this uneven is if training changed nothing (exact McNemar). "
    "Gap closed: the part of the way from before to the best teacher."
)


def summary(run: RunView | None) -> str:
    """Accuracy before and after on the held-out problems and on new wordings."""
    if run is None:
        return f"{_TITLE}<p class='quiet'>The accuracy before and after appears here when a run is done.</p>"
    report = run.report
    if report is None or "after" not in report:
        return _unfinished(run)
    lines = [_line("held-out problems", report)]
    if report.get("new_phrasing"):
        lines.append(_line("new wordings", report["new_phrasing"], smaller=True))
    if report.get("ceiling"):
        lines.append(_ceiling(report["ceiling"]))
    return f"{_TITLE}{''.join(lines)}<p class='quiet terms'>{_TERMS}</p>"


def _line(name: str, part: dict[str, Any], smaller: bool = False) -> str:
    before, after, changed = part["before"], part["after"], part["flips"]
    return (
        f"<div class='accuracy{' smaller' if smaller else ''}'>"
        f"<p class='figures'><b class='was'>{before['accuracy']:.1%}</b> <span class='to'>→</span> "
        f"<b class='is'>{after['accuracy']:.1%}</b> <span>of {after['n']:,} {name}</span></p>"
        f"<p>95%: {_interval(before)} before, {_interval(after)} after. <b>{changed['fixed']:,} fixed</b>, "
        f"{changed['broken']:,} broken. {luck(part['mcnemar_p'])}.</p></div>"
    )


def _ceiling(most: dict[str, Any]) -> str:
    """What the teachers know of the same problems, and how much of the way to the best of them was gone."""
    best = most["teachers"][most["best"]]
    many = f"{len(most['teachers'])} teachers: mean {most['mean']:.1%}, their vote {most['vote']['accuracy']:.1%}, the "
    gap = most["gap_closed"]
    closed = ""
    if gap:
        low, high = (f"{100 * end:.0f}" for end in gap["ci95"])
        closed = f" Gap closed: <b>{gap['share']:.0%}</b> (95%: {low} to {high}%)."
    return (
        f"<p>{many if len(most['teachers']) > 1 else 'The '}best ({words(most['best'])}) {best['accuracy']:.1%}, of "
        f"{most['n']:,} of the held-out problems.{closed}</p>"
    )


def _interval(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{100 * low:.0f} to {100 * high:.0f}%"


def luck(p: float) -> str:
    """What McNemar's p says of how uneven the changes are."""
    if p >= 0.05:
        return f"Could be chance (p = {_p(p, 2)})"
    if p >= 0.001:
        return f"Unlikely to be chance (p = {_p(p, 3)})"
    return "Very unlikely to be chance (p < .001)"


def _p(p: float, digits: int) -> str:
    return f"{p:.{digits}f}".removeprefix("0")


def _unfinished(run: RunView) -> str:
    judged = [event for event in run.series(Evaluation) if event.split == "held_out" and event.phase == "before"]
    watched = during(run)
    parts = []
    if judged and judged[-1].accuracy is not None:
        parts.append(f"Before training it answered <b>{judged[-1].accuracy:.1%}</b> of {judged[-1].n:,} right.")
    if watched:
        last = watched[-1]
        parts.append(f"At step {last.step:,}: <b>{last.accuracy:.1%}</b> of {last.n:,} others, asked during training.")
    if not run.final:
        parts.append("The held-out problems are asked again when training is done; then the two are compared here.")
    else:
        parts.append("The run ended before they were asked again. Resume it, or evaluate what there is with")
        parts.append(f"<code>python -m distill evaluate {words(run.id)} --problems 240</code>")
    return f"{_TITLE}<div class='accuracy'><p>{' '.join(parts)}</p></div>"


def families(run: RunView | None) -> str:
    """The accuracy of each family of problems before and after, as paired bars."""
    by_family = ((run.report or {}).get("by_family") if run else None) or {}
    rows = [(label(name), part["n"], part["before"], part["after"]) for name, part in by_family.items()]
    return paired_bars(rows, title="Held-out problems by family", name="families")


def flipped(run: RunView | None) -> str:
    """The answers that changed, as a table whose questions are buttons that load them above."""
    every = pairs(run.folder) if run else ()
    shown = flips(every)
    if not shown:
        known = any(pair.after for pair in every)
        why = (
            "No answer changed from wrong to right or back."
            if known
            else ("The answers that changed appear here when the held-out problems were asked before and after.")
        )
        return f"<h3>Answers that changed</h3><p class='quiet'>{why}</p>"
    counts = " and ".join(
        f"{'all ' if now == total else f'{now:,} of '}{total:,} {change}"
        for change in (FIXED, BROKEN)
        if (total := sum(pair.change == change for pair in every))
        for now in [sum(pair.change == change for pair in shown)]
    )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("Change", "Problem", "Before", "After", "Right answer"))
    return (
        f"<h3>Answers that changed</h3><p class='quiet'>{counts}, new wordings included. Choose a problem to see it "
        "answered again above.</p>"
        "<div class='flips' tabindex='0' role='region' aria-label='Answers that changed'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, shown))}</tbody></table></div>"
    )


def _row(pair: Pair) -> str:
    kind = label(pair.family) + ("" if pair.split == "held_out" else ", new wording")
    before, after = (concluded(found_in(said[0])) for said in (pair.before, pair.after))
    colour = "right" if pair.change == FIXED else "wrong"
    return (
        f"<tr data-key='{pair.key}'><td><b class='{colour}'>{pair.change}</b></td>"
        f"<th scope='row'><button type='button' data-key='{pair.key}'>{words(short(pair.question))}</button>"
        f"<small>{words(kind)}</small></th><td>{before}</td><td>{after}</td><td>{concluded(pair.answer)}</td></tr>"
    )


def label(family: str) -> str:
    """A family's name as people write it."""
    return family.replace("_", " ")


def short(question: str, most: int = _QUESTION) -> str:
    """The beginning of a question, on one line."""
    line = " ".join(told(question).split())
    return line if len(line) <= most else line[: most - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def choice(pair: Pair) -> tuple[str, str]:
    """(what a list says of a judged problem, its value there)."""
    return f"{pair.change} · {label(pair.family)} · {short(pair.question, 70)}", str(pair.key)
