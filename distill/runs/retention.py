"""What a public server keeps of visitors' runs and of what teachers said: so long, and so much of it.

Runs from the command line are their owner's to delete. A run that goes on is never touched.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from distill.config.errors import UserError
from distill.config.limits import limit
from distill.config.paths import home
from distill.runs import store
from distill.runs.index import list_runs
from distill.runs.uploads import let_go, sweep_uploads
from distill.runs.views import RunView

OWNER = "owner.json"  # in a run's folder: whose it is; a run without is the server's owner's
CACHES = ("signals", "responses")
_EVERY = 600.0  # seconds
_DAY, _GB = 86_400.0, 1e9
_LOG = logging.getLogger("distill.page")


def delete_run(folder: Path, who: Iterable[str] = ()) -> None:
    """Remove a run that isn't running, and the file that it was trained on unless others need it. Raises UserError.

    `who`: digests of whoever it belonged to.
    """
    config = store.view(folder).config
    store.delete(folder)
    let_go(config.data.path if config else None, set(who))


def kept_until(run: RunView) -> float | None:
    """The Unix time at which a run will be deleted, None for one that stays: it goes on, or no visitor started it."""
    if not run.final or not (run.folder / OWNER).exists():
        return None
    return run.events[-1].t + limit("KEPT_DAYS") * _DAY if run.events else None


def tidy() -> None:
    """Delete what is too old, then the oldest of what is too much; files that nobody needs last, as runs need some."""
    ended = sorted(((until, run) for run in list_runs() if (until := kept_until(run))), key=lambda pair: pair[0])
    sizes = {run.id: _size(run.folder) for _, run in ended}
    total = sum(sizes.values())
    for until, run in ended:
        if until < time.time() or total > limit("KEPT_GB") * _GB:
            with suppress(UserError):  # resumed meanwhile
                delete_run(run.folder)
                total -= sizes[run.id]
    _trim([file for name in CACHES for file in (home().cache / name).rglob("*") if file.is_file()])
    sweep_uploads()


def _trim(files: list[Path]) -> None:
    """Of files that can be made again, delete those that were not used for long, then the oldest of too many."""
    known = []
    for file in files:
        with suppress(OSError):
            stat = file.stat()
            known.append((max(stat.st_atime, stat.st_mtime), stat.st_size, file))
    total = sum(size for _, size, _ in known)
    for used, size, file in sorted(known):
        if time.time() - used > limit("CACHE_DAYS") * _DAY or total > limit("CACHE_GB") * _GB:
            with suppress(OSError):
                file.unlink()
                total -= size


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def keep_tidy() -> None:
    """Tidy up now and then, for as long as this process lives."""

    def watch() -> None:
        while True:
            try:
                tidy()
            except Exception:  # the next time may go better
                _LOG.exception("the server could not be tidied up")
            time.sleep(_EVERY)

    threading.Thread(target=watch, daemon=True, name="tidy").start()
