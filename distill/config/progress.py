"""What long work is told, and what it tells: a progress callback, and the question whether it should stop.

Long functions take `on_progress(done, total)` and `should_stop()`, both optional. When `should_stop()` answers yes they
raise `Stopped` at the next safe point, having kept what is finished. This module knows nothing of runs or events.
"""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


class Stopped(Exception):
    """Raised where long work ends because somebody asked it to."""


def check(should_stop: ShouldStop | None) -> None:
    """Raise `Stopped` if there is somebody to ask and the answer is yes."""
    if should_stop is not None and should_stop():
        raise Stopped
