"""What a run looks like now: its state, its events, its report, from the files in its folder.

One parsed copy per run is kept and shared by every caller (tabs, commands); only bytes that are new are read. This
module only reads, and knows nothing of who asks.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.assets import read_yaml
from distill.config import ConfigError, RunConfig, parse
from distill.events import FINAL, AnyEvent, Error, Event, Metric, Probe, Status, latest_by_step, read
from distill.processes import live_process, was_started

_KEPT = 256  # runs whose parsed events stay in memory


@dataclass(frozen=True)
class RunView:
    """A run at one moment. `mark` changes whenever anything else here may have; `created` is a Unix time in seconds."""

    id: str
    folder: Path
    name: str
    config: RunConfig | None
    state: str
    reason: str | None
    step: int
    steps: int
    created: float
    events: tuple[Event, ...]
    report: dict[str, Any] | None
    mark: tuple[int, str, int]

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def resumable(self) -> bool:
        return self.state in ("stopped", "crashed", "failed")

    def last(self, kind: type[AnyEvent]) -> AnyEvent | None:
        """The newest event of a kind, or None."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def series(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of a kind by step, repeats after a resume left out."""
        return latest_by_step(self.events, kind)


@dataclass
class _Parsed:
    """What is known of a run's files so far."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    offset: int = 0
    inode: int = 0
    events: tuple[Event, ...] = ()
    files: dict[str, tuple[int, Any]] = field(default_factory=dict)  # name -> (modified at, content)


_parsed: dict[Path, _Parsed] = {}
_parsed_lock = threading.Lock()


def view(folder: str | os.PathLike[str]) -> RunView:
    """The run at `folder` as it is now. Raises ConfigError where there is no run."""
    folder = Path(folder).resolve()
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"There is no run at {folder}.")
    parsed = _parsed_for(folder)
    with parsed.lock:
        # Asked before the events are read: a worker that ends in between has written its last word by then.
        living = live_process(folder) is not None
        _read_on(folder, parsed)
        config = _file(parsed, folder / "config.yaml", _read_config)
        report = _file(parsed, folder / "report.json", _read_report)
        modified = parsed.files.get("report.json", (0, None))[0]
        events = parsed.events
    state, reason = _state(folder, events, living)
    step, steps = _progress(events, config)
    return RunView(
        id=folder.name,
        folder=folder,
        name=config.name if config else "?",
        config=config,
        state=state,
        reason=reason,
        step=step,
        steps=steps,
        created=events[0].t if events else folder.stat().st_mtime,
        events=events,
        report=report,
        mark=(parsed.offset, state, modified),
    )


def forget(folder: Path) -> None:
    """Drop what is remembered of a run that is gone."""
    with _parsed_lock:
        _parsed.pop(folder, None)


def _parsed_for(folder: Path) -> _Parsed:
    with _parsed_lock:
        parsed = _parsed.pop(folder, None) or _Parsed()
        _parsed[folder] = parsed  # put last, so that the first is the one not asked for longest
        while len(_parsed) > _KEPT:
            del _parsed[next(iter(_parsed))]
        return parsed


def _read_on(folder: Path, parsed: _Parsed) -> None:
    path = folder / "events.jsonl"
    try:
        stat = path.stat()
    except FileNotFoundError:
        return
    if stat.st_size < parsed.offset or stat.st_ino != parsed.inode:  # another file than the one read so far
        parsed.offset, parsed.inode, parsed.events = 0, stat.st_ino, ()
    if stat.st_size > parsed.offset:
        new, parsed.offset = read(path, parsed.offset)
        parsed.events += tuple(new)


def _file(parsed: _Parsed, path: Path, reader: Any) -> Any:
    """A file's content through `reader`, read again only when the file has changed; None where there is none."""
    try:
        modified = path.stat().st_mtime_ns
    except FileNotFoundError:
        parsed.files.pop(path.name, None)
        return None
    known = parsed.files.get(path.name)
    if known is None or known[0] != modified:
        known = parsed.files[path.name] = (modified, reader(path))
    return known[1]


def _read_config(path: Path) -> RunConfig | None:
    try:
        return parse(read_yaml(path))
    except ConfigError:
        return None


def _read_report(path: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _state(folder: Path, events: tuple[Event, ...], living: bool) -> tuple[str, str | None]:
    last = next((event for event in reversed(events) if isinstance(event, Status)), None)
    state, reason = (last.state, last.reason) if last else ("queued", None)
    if state in FINAL:
        return state, reason
    if living:
        return ("stopping" if (folder / "STOP").exists() else state), reason
    if state == "queued" and not was_started(folder):
        return state, reason
    return "crashed", _why_crashed(folder, events)


def _why_crashed(folder: Path, events: tuple[Event, ...]) -> str:
    """The error it wrote down, else how its output ended."""
    if events and isinstance(events[-1], Error):
        return events[-1].text
    reason = "The worker is gone without a word, as after a kill or for want of memory"
    said = _last_line(folder / "stdout.log")
    return f"{reason}; the last line of stdout.log is: {said}" if said else f"{reason}."


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _progress(events: tuple[Event, ...], config: RunConfig | None) -> tuple[int, int]:
    """The last step done, and of how many."""
    steps = config.budget.steps if config else 0
    for event in reversed(events):
        if isinstance(event, Metric):
            return event.step, config.budget.steps if config else event.steps
        if isinstance(event, Probe):
            return event.step, steps
        if isinstance(event, Status) and event.resumed_from is not None:
            return event.resumed_from, steps
    return 0, steps
