"""How long each part of a run has taken, over all its sittings: seconds.json in its folder.

This module knows nothing of what the parts are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from distill.config.files import write_atomically
from distill.models import distributed


class Clock:
    """`seconds` (s) of each part of the run in `folder`, and "total"; it goes on from earlier sittings."""

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


_sat = False  # whether this process has been at a run before


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
