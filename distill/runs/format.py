"""Runs as text: the command line's progress line and tables, and numbers and times as it and the page show them."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from distill.runs.events import Evaluation, Event, Metric, Stage, Warning
from distill.runs.views import RunView

_BAR = 20  # characters


class Progress:
    """Shows a run on a stream: one line drawn again and again on a terminal, plain lines (each tenth) anywhere else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._seen = 0  # events shown already
        self._shown: tuple[str, int] | None = None  # the stage and tenth last printed
        self._drawn = 0  # characters of the line that stands there now

    def skip(self, view: RunView) -> None:
        """Take what is recorded already as shown, as before a resume."""
        self._seen = len(view.events)

    def update(self, view: RunView) -> None:
        current = None
        for event in view.events[self._seen :]:
            if isinstance(event, (Stage, Metric)):
                current = event
                self._plain(event)
            elif note := _note(event):
                self.say(note)
        self._seen = len(view.events)
        if current is not None and self._terminal:
            self._draw(_line(current))

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        if self._drawn:
            print("\r" + " " * self._drawn + "\r", end="", file=self._stream, flush=True)
            self._drawn = 0

    def _plain(self, event: Stage | Metric) -> None:
        name = event.name if isinstance(event, Stage) else "training"
        key = (name, int(10 * _fraction(event)))
        if not self._terminal and key != self._shown:
            self._shown = key
            self.say(_line(event))

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]
        print("\r" + line.ljust(self._drawn), end="", file=self._stream, flush=True)
        self._drawn = len(line)


def _fraction(event: Stage | Metric) -> float:
    done, total = (event.done, event.total) if isinstance(event, Stage) else (event.step, event.steps)
    return min(1.0, max(0.0, done / total)) if total else 0.0


def stage_text(event: Stage) -> str:
    """What a run is doing, with how many texts or answers of how many are done: "... is answering problems (3/40)"."""
    counts = event.total > 1 and event.name.startswith(("signals", "evaluate"))
    return f"{event.text} ({event.done:,.0f}/{event.total:,.0f})" if counts else event.text


def _line(event: Stage | Metric) -> str:
    if isinstance(event, Stage):
        text = stage_text(event)
    else:
        loss = "" if event.loss is None else f", loss {event.loss:.3f}"
        text = f"training, step {event.step} of {event.steps}{loss}"
    filled = round(_BAR * _fraction(event))
    left = "" if event.seconds_left is None else f" {duration(event.seconds_left)} left"
    return f"[{'=' * filled:{_BAR}}]{left}  {text}"


def _note(event: Event) -> str | None:
    """The line an event is worth besides progress, or None. What went wrong in the end is for the ending to say."""
    if isinstance(event, Evaluation):
        when = f"step {event.step}" if event.phase == "during" else event.phase
        return f"{when}: {event.split.replace('_', ' ')} problems {rate(vars(event))}"
    return f"warning: {event.text}" if isinstance(event, Warning) else None


def duration(seconds: float) -> str:
    """7 s, 1 min 50 s or 2 h 5 min."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rate(score: dict[str, Any]) -> str:
    """An accuracy with its interval and n: "86.0% (95%: 81.0-90.1, n = 240)"."""
    accuracy, interval = score.get("accuracy"), score.get("ci95")
    if accuracy is None:
        return "-"
    within = f"95%: {100 * interval[0]:.1f}-{100 * interval[1]:.1f}, " if interval else ""
    return f"{100 * accuracy:.1f}% ({within}n = {score.get('n', '?')})"


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows as aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(report: dict[str, Any]) -> str:
    """A report as a short table."""
    rows = [[phase, rate(report[phase])] for phase in ("before", "after") if isinstance(report.get(phase), dict)]
    if called := (report.get("data") or {}).get("called"):
        rows.insert(0, ["judged on", called])
    if flips := report.get("flips"):
        p = report.get("mcnemar_p")
        chance = "" if p is None else f", p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
        rows.append(["changed", f"{flips.get('fixed')} fixed, {flips.get('broken')} broken{chance}"])
    fresh = report.get("new_phrasing") or {}
    rows += [[f"{phase}, new wordings", rate(fresh[phase])] for phase in ("before", "after") if phase in fresh]
    if most := report.get("ceiling"):
        rows += _ceiling(most)
    for teacher, cka in (report.get("cka") or {}).items():
        chance = _decimals(cka.get("null95"))
        rows.append(
            [teacher, f"CKA {_decimals(cka.get('before'))} -> {_decimals(cka.get('after'))} (chance: {chance})"]
        )
    if seconds := report.get("seconds"):
        parts = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items() if name != "total")
        rows.append(["time", f"{duration(seconds.get('total', 0))}{f' ({parts})' if parts else ''}"])
    if report.get("peak_rss_mb"):
        rows.append(["memory", f"{report['peak_rss_mb'] / 1024:.2f} GB at most"])
    rows += [["warning", text] for text in warnings(report)]
    return table(rows) if rows else "The report is empty."


def _ceiling(most: dict[str, Any]) -> list[list[str]]:
    """The teachers on the same problems, and how much of the way to the best of them was gone."""
    best = most["best"]
    rows = [[f"best teacher, {best}", rate(most["teachers"][best])]]
    if len(most["teachers"]) > 1:
        rows.append(["teachers", f"mean {percent(most['mean'], 1)}; their vote {rate(most['vote'])}"])
    if gap := most["gap_closed"]:
        low, high = (f"{100 * end:.0f}" for end in gap["ci95"])
        rows.append(["gap closed", f"{percent(gap['share'])} (95%: {low}-{high}, n = {most['n']})"])
    return rows


def families(report: dict[str, Any]) -> str:
    """A report's accuracy by family, as a table; "" where it has none."""
    rows = [
        [
            name,
            _percent(score.get("before")),
            _percent(score.get("after")),
            str(score.get("n")),
        ]
        for name, score in (report.get("by_family") or {}).items()
    ]
    return table([["family", "before", "after", "n"], *rows]) if rows else ""


def runs_table(runs: Iterable[RunView]) -> str:
    """Runs, one a line."""
    rows = [["run", "name", "state", "step", "before", "after", "made"]]
    for run in runs:
        report = run.report or {}
        scores = [_percent((report.get(phase) or {}).get("accuracy")) for phase in ("before", "after")]
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        rows.append([run.id, run.name, run.state, f"{run.step}/{run.steps}", *scores, made])
    return table(rows)


def warnings(report: dict[str, Any]) -> list[str]:
    """A report's warnings as sentences, each once."""
    texts = [item.get("text", "") if isinstance(item, dict) else str(item) for item in report.get("warnings") or []]
    return list(dict.fromkeys(texts))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}%"


def _decimals(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


# --- numbers and times on the page -----------------------------------------------------------------------------------


def decimals(value: float | None) -> str:
    """A number between -1 and 1 with two decimals and no zero before the point: ".31", "-.02", "1.00"; "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    if not float(text):
        return ".00"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def percent(share: float | None, places: int = 0) -> str:
    """A share of 1 in per cent, "–" for none."""
    return "–" if share is None or not math.isfinite(share) else f"{share:.{places}%}"


def score(part: Mapping[str, Any] | None) -> str:
    """An accuracy with its 95% interval: "95.2% (92.9 to 96.8)"; "–" where there is none."""
    accuracy, interval = (part or {}).get("accuracy"), (part or {}).get("ci95")
    if accuracy is None or not interval:
        return percent(accuracy, 1)
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{percent(accuracy, 1)} ({low} to {high})"


def moment(seconds: float) -> str:
    """A Unix time as this server's clock shows it: "22 Nov 09:46"."""
    now = time.localtime(seconds)
    return f"{now.tm_mday} {time.strftime('%b %H:%M', now)}"


def moment_iso(seconds: float) -> str:
    """The same for programs, in UTC: "2026-11-22T09:46:07Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
