"""A run for as long as a GPU is lent: go on from what is saved, save before the time is up, leave.

`in_slice` does in any process what a worker does in one of its own, with the worker's own code and files; so a run
that goes on in slices is stopped, resumed, watched and broken off as any other. This module knows nothing of who lends.
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from pathlib import Path
from typing import Any

from distill.config.paths import home
from distill.config.secrets import Redacting
from distill.runs.events import WAITING, Status
from distill.runs.process import remember
from distill.training.worker import work

_SIGN = 0.2  # seconds between two signs of life: a generator can be closed only while it gives one
LEFT = "the page it was trained from was closed; resume goes on from here"
ASKED = "stopped on request; resume goes on from here"

_FILE = "slices.json"


class Deadline:
    """Whether a slice has to end: it was asked to, or its time is up but for what saving takes.

    It looks ahead by what lay between two questions, such as a training step.
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder = folder
        self.left = False  # whether whoever asked for the slice has gone
        self.reached: float | None = None  # when the time was up
        self._ends = time.monotonic() + seconds - min(seconds / 2, 0.1 * seconds + 1.5 * _saving(folder))
        self._asked: float | None = None
        self._between = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._asked is not None:
            self._between = max(now - self._asked, 0.9 * self._between)
        self._asked = now
        if self.reached is None and now + self._between > self._ends:
            self.reached = now
        return self.reached is not None or self.left or (self.folder / "STOP").exists()

    def last_word(self) -> Status:
        """What is said of the run when all is saved."""
        if (self.folder / "STOP").exists():
            return Status(state="stopped", reason=ASKED)
        return Status(state="stopped", reason=LEFT) if self.left else Status(state="queued", reason=WAITING)


def in_slice(folder: Path, seconds: float) -> Iterator[None]:
    """Go on with a run, claimed already, for `seconds` at most; yields every moment. Closed, it saves and ends."""
    stop = Deadline(folder, seconds)
    remember(folder, os.getpid())
    thread = threading.Thread(target=copy_context().run, args=(_work, folder, stop), name=f"slice of {folder}")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_SIGN)
            yield
    finally:
        stop.left = True
        thread.join()


@contextmanager
def log_of(folder: Path) -> Iterator[Any]:
    """What a run's stdout.log is added to through."""
    with (folder / "stdout.log").open("a", encoding="utf-8", buffering=1) as file:
        yield Redacting(file)


def _work(folder: Path, stop: Deadline) -> None:
    with log_of(folder) as log, redirect_stdout(log), redirect_stderr(log):
        work(folder, stop, stop.last_word)
    if stop.reached is not None:
        saving = time.monotonic() - stop.reached
        (folder / _FILE).write_text(json.dumps({"saving": round(saving, 2)}), encoding="utf-8")
    _let_go()


def _saving(folder: Path) -> float:
    """Seconds that the last slice took to save."""
    try:
        return float(json.loads((folder / _FILE).read_text(encoding="utf-8"))["saving"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def kept(folder: Path) -> list[Any]:
    """What is different once a slice has kept something: answers, checkpoints, what teachers said."""
    answers = [(path.name, path.stat().st_size) for path in sorted(folder.glob("answers*.json*"))]
    steps = sorted(path.name for path in folder.glob("checkpoints/checkpoint-*"))
    return [answers, steps, *(sum(1 for _ in (home().cache / bank).rglob("*.*")) for bank in ("signals", "responses"))]


def _let_go() -> None:
    """Leave no GPU memory taken: the process may be lent a GPU again."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
