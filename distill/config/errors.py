"""The two errors a user may see, and how long work reports progress and is stopped.

UserError, ConfigError: one plain sentence that says what is wrong, where, and what to do about it; the command line and
the page show it as it is. Everything else that escapes is a bug, and deserves its traceback.

Long functions take `on_progress(done, total)` and `should_stop()`, both optional. When `should_stop()` answers yes they
raise `Stopped` at the next safe point, having kept what is finished.
"""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


class UserError(Exception):
    """Something the user can put right; `str(error)` is the one sentence to show. The command exits with 1."""

    exit_code = 1


class ConfigError(UserError):
    """The configuration itself is wrong (an unknown key, an impossible combination). The command exits with 2."""

    exit_code = 2


class Stopped(Exception):
    """Raised where long work ends because somebody asked it to."""


def raise_if_stopped(should_stop: ShouldStop | None) -> None:
    """Raise `Stopped` if there is somebody to ask and the answer is yes."""
    if should_stop is not None and should_stop():
        raise Stopped
