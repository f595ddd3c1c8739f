"""What a run looks like now: its state, its events, its report, from the files in its folder.

One parsed copy per run is kept and shared by every caller (tabs, commands); only bytes that are new are read. This
module only reads, and knows nothing of who asks.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.config.paths import read_yaml
from distill.config.requirements import planned_steps
from distill.config.run_config import ConfigError, RunConfig, parse
from distill.runs.events import FINAL, AnyEvent, Error, Event, Metric, Probe, Status, read
from distill.runs.process import live_process, was_started
from distill.runs.timeline import Snapshot, Timeline

_KEPT = 1000  # runs whose parsed events stay in memory: 0.3 MB for one of 150 steps, 2 kB more for each further step
WEIGHTS = "adapter_model.safetensors"  # of an adapter's folder
_TAIL = 2**16  # bytes of stdout.log that are read at most
_LINE = 4096  # characters of its last line that a reason quotes at most


@dataclass(frozen=True)
class RunView:
    """A run at one moment, for any number of threads to read.

    `mark` changes whenever anything else here may have; `created` is a Unix time in seconds.
    """

    id: str
    folder: Path
    name: str
    config: RunConfig | None
    state: str
    reason: str | None
    step: int
    steps: int
    created: float
    timeline: Snapshot
    report: dict[str, Any] | None
    mark: tuple[int, str, int]

    @property
    def events(self) -> Sequence[Event]:
        """Everything recorded, in order; the same object until there is something new."""
        return self.timeline.events

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def resumable(self) -> bool:
        """Whether it can go on. A Job that is over can't; one that is only followed no more can."""
        return self.state == "crashed" or (self.state in ("stopped", "failed") and not self.elsewhere)

    @property
    def elsewhere(self) -> bool:
        """Whether it is a Job of Hugging Face that is mirrored here."""
        return (self.folder / "job.json").exists()

    def last(self, kind: type[AnyEvent]) -> AnyEvent | None:
        """The newest event of a kind, or None."""
        return self.timeline.last(kind)

    def series(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of a kind by step, repeats after a resume left out. For long metrics: `timeline.columns`."""
        return self.timeline.series(kind)


@dataclass
class _Parsed:
    """What is known of a run's files so far."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    offset: int = 0
    inode: int = 0
    timeline: Timeline = field(default_factory=Timeline)
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
        living = _catch_up(folder, parsed)
        config = _file(parsed, folder / "config.yaml", _read_config)
        report = _file(parsed, folder / "report.json", _read_report)
        modified = parsed.files.get("report.json", (0, None))[0]
        timeline = parsed.timeline.snapshot()
    state, reason = _state(folder, timeline, living)
    step, steps = _progress(timeline, config)
    return RunView(
        id=folder.name,
        folder=folder,
        name=config.name if config else "?",
        config=config,
        state=state,
        reason=reason,
        step=step,
        steps=steps,
        created=timeline.first.t if timeline.first else folder.stat().st_mtime,
        timeline=timeline,
        report=report,
        mark=(parsed.offset, state, modified),
    )


def has_adapter(folder: Path) -> bool:
    """Whether the run at `folder` has a model that can be loaded."""
    return (folder / "adapter" / WEIGHTS).is_file()


def kept_epochs(folder: Path) -> list[Path]:
    """The folders of the adapters that the run at `folder` kept at the ends of its epochs, the first epoch's first."""
    found = [path for path in folder.glob("epochs/*") if path.name.isdigit() and (path / WEIGHTS).is_file()]
    return sorted(found, key=lambda path: int(path.name))


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


def _catch_up(folder: Path, parsed: _Parsed) -> bool:
    """Read what is new; whether a worker is at the run. After a run's last word there is none, and none is looked for.

    It is looked for before the events are read: a worker that ends in between has written its last word by then.
    """
    over = _is_over(parsed)
    living = not over and live_process(folder) is not None
    _read_on(folder, parsed)
    return _catch_up(folder, parsed) if over and not _is_over(parsed) else living  # resumed since the last view


def _is_over(parsed: _Parsed) -> bool:
    last = parsed.timeline.snapshot().last(Status)
    return last is not None and last.state in FINAL


def _read_on(folder: Path, parsed: _Parsed) -> None:
    path = folder / "events.jsonl"
    try:
        stat = path.stat()
    except FileNotFoundError:
        return
    if stat.st_size < parsed.offset or stat.st_ino != parsed.inode:  # another file than the one read so far
        parsed.offset, parsed.inode, parsed.timeline = 0, stat.st_ino, Timeline()
    if stat.st_size > parsed.offset:
        new, parsed.offset = read(path, parsed.offset)
        parsed.timeline.extend(new)


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


def _state(folder: Path, timeline: Snapshot, living: bool) -> tuple[str, str | None]:
    last = timeline.last(Status)
    state, reason = (last.state, last.reason) if last else ("queued", None)
    if state in FINAL:
        return state, reason
    if living:
        return ("stopping" if (folder / "STOP").exists() else state), reason
    if state == "queued" and not was_started(folder):
        return state, reason
    return "crashed", _why_crashed(folder, timeline)


def _why_crashed(folder: Path, timeline: Snapshot) -> str:
    """The error it wrote down, else how its output ended."""
    last = timeline.last(Event)
    if isinstance(last, Error):
        return last.text
    reason = "The worker ended without a message, as if it was killed or ran out of memory"
    said = next((line.strip() for line in reversed(tail(folder)) if line.strip()), "")
    return f"{reason}; the last line of stdout.log is: {said[-_LINE:]}" if said else f"{reason}."


def tail(folder: str | os.PathLike[str], lines: int = 200) -> list[str]:
    """The last `lines` lines of a run's stdout.log, oldest first, of its last 64 kB; [] where nothing was said."""
    try:
        with (Path(folder) / "stdout.log").open("rb") as stream:
            begins = max(0, stream.seek(0, os.SEEK_END) - _TAIL)
            stream.seek(begins)
            said = stream.read(_TAIL).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    if begins and len(said) > 1:
        del said[0]  # it began before the part that was read
    return said[-lines:] if lines > 0 else []


def _progress(timeline: Snapshot, config: RunConfig | None) -> tuple[int, int]:
    """The last step done, and of how many."""
    steps, metric = planned_steps(config) if config else 0, timeline.last(Metric)
    if metric and config and config.budget.epochs:  # how many texts there are is known once it trains
        steps = metric.steps
    reached = timeline.reached
    if isinstance(reached, Status):
        return reached.resumed_from, steps
    if isinstance(reached, Metric):
        return reached.step, steps if config else reached.steps
    return reached.step if isinstance(reached, Probe) else 0, steps
