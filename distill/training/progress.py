"""What a run says while it goes on: the state it is in, the stage it is at and how long that will take, warnings.

This module writes events and knows nothing of what a run does, of its folder or of who listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from distill.runs.events import Event, EventWriter, Stage, Status, Warning


class Voice:
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
