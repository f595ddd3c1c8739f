"""One run trains at a time: those started from the page wait for their turn, first come, first served.

A waiting worker holds almost nothing; it takes its turn itself, so a restart of the page loses no one's place. The
system's lock says whose turn it is: a kill -9 frees it. A run from the command line doesn't wait, but others wait for
it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from distill.config.errors import Stopped
from distill.runs.process import live_process

_ASKED = "turn.json"
_held: list[filelock.FileLock] = []  # a lock lasts as long as something refers to it


def take(
    folder: Path, wait: bool, should_stop: Callable[[], bool], look_every: float = 0.3
) -> filelock.FileLock | None:
    """Return when it is this run's turn. Without `wait` at once, with or without the turn. Raises Stopped.

    The turn lasts until this process ends, or until what is returned is given back.
    """
    lock = filelock.FileLock(folder.parent / "turn.lock", thread_local=False)  # another thread may give it back
    if not wait:
        return lock if _try(lock) else None
    asked = folder / _ASKED
    asked.write_text(json.dumps({"asked": time.time()}), encoding="utf-8")
    try:
        while waiting(folder.parent)[:1] != [folder.name] or not _try(lock):
            if should_stop():
                raise Stopped
            time.sleep(look_every)
        return lock
    finally:
        asked.unlink(missing_ok=True)


def give_back(turn: filelock.FileLock) -> None:
    """Let the next run have its turn, for a process that lives on."""
    _held.remove(turn)
    turn.release()


def waiting(runs_dir: Path) -> list[str]:
    """The ids of the runs that wait, the next one first."""
    asked = []
    for path in runs_dir.glob(f"*/{_ASKED}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            when = float(json.loads(path.read_text(encoding="utf-8"))["asked"])
            if live_process(path.parent) is not None:
                asked.append((when, path.parent.name))
    return [name for _, name in sorted(asked)]


def _try(lock: filelock.FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError):
        return False
    _held.append(lock)
    return True
