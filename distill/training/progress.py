"""What a run says while it goes on (its state, its stage and how long that will take, warnings), and what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from distill.config.files import write_atomically
from distill.models import distributed
from distill.runs.events import Event, EventWriter, Stage, Status, Warning

_sat = False  # whether this process has been at a run before


class RunReporter:
    """Speaks through `writer`. Of what was `said` in earlier sittings the warnings are not said again."""

    def __init__(self, writer: EventWriter, said: Iterable[Event]):
        self.writer = writer
        self._warned = {(e.code, e.text) for e in said if isinstance(e, Warning)}

    def say(self, state: str) -> None:
        """The run's state from here on, one of `events.Status`."""
        self.writer.write(Status(state=state))

    def stage(self, name: str, text: str, done: int, total: int, seconds_left: float | None = None) -> None:
        """`done` of `total` of a stage, in whatever it counts, with `seconds_left` (s) where that is known."""
        self.writer.write(Stage(name=name, text=text, done=done, total=total, seconds_left=seconds_left))

    def progress(self, name: str, text: str) -> Callable[[int, int], None]:
        """A progress callback that writes stage events with an estimate, at most two a second.

        What is there at the first call was found, not made: it says nothing of how long the rest will take.
        """
        began = last = time.monotonic()
        found: int | None = None
        self.stage(name, text, 0, 1)

        def report(done: int, total: int) -> None:
            nonlocal last, found, began
            now = time.monotonic()
            if found is None:
                found, began, last = done, now, 0.0
            if done == total or now - last > 0.5:
                last = now
                left = (now - began) / (done - found) * (total - done) if done > found else None
                self.stage(name, text, done, total, left)

        return report

    def warn(self, code: str, text: str) -> None:
        """Once a run, however often it is resumed."""
        if (code, text) not in self._warned:
            self._warned.add((code, text))
            self.writer.write(Warning(code=code, text=text))


class Clock:
    """`seconds` (s) of each part of the run in `folder`, and "total", over all its sittings: kept in seconds.json."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds = _read(folder)
        self._earlier = self.seconds.get("total", 0.0)  # what earlier sittings took
        self._began = _beginning()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what is inside as part `name`, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began
            self.seconds["total"] = self._earlier + time.time() - self._began
            if distributed.is_main():
                write_atomically(self.folder / "seconds.json", json.dumps(self.seconds))


def _beginning() -> float:
    """When this sitting began, in Unix time: with the process, unless that has been at a run before, as in slices."""
    global _sat
    first, _sat = not _sat, True
    return psutil.Process().create_time() if first else time.time()


def _read(folder: Path) -> dict[str, float]:
    try:
        return json.loads((folder / "seconds.json").read_text())
    except (OSError, ValueError):
        return {}
