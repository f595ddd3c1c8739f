"""Which process is at a run: process.json says who, worker.lock that nobody else may be.

A process is known by its pid and the moment it was made, as pids are used again. Where the system tells it (Linux),
that moment is counted in ticks since this machine's start, which setting the clock does not change.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from distill.config.errors import UserError
from distill.config.files import write_atomically

_held: dict[Path, filelock.FileLock] = {}  # locks last as long as something refers to them


@dataclass(frozen=True)
class Process:
    """`create_time`: Unix time in seconds, as psutil gives it. `ticks`: "boot id:ticks since then", None if unknown."""

    pid: int
    create_time: float
    ticks: str | None = None

    def terminate(self) -> None:
        """SIGTERM to the process's whole group where it leads one, else to it alone."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, likewise."""
        self._send(getattr(signal, "SIGKILL", signal.SIGTERM))

    def _send(self, number: int) -> None:
        try:
            group = hasattr(os, "killpg") and os.getpgid(self.pid) == self.pid
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def claim(folder: str | os.PathLike[str]) -> None:
    """Make the run at `folder` this process's own until it ends. Raises UserError where another process has it.

    The lock is the system's: a kill -9 frees it.
    """
    folder = Path(folder).resolve()
    lock = filelock.FileLock(folder / "worker.lock", thread_local=False)  # another thread may release it
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        owner = _recorded(folder)
        by = f" by process {owner.pid}" if owner else ""
        raise UserError(f"Run {folder.name} is already being trained{by}.") from error
    except OSError as error:
        raise UserError(f"{folder} can't be written to: {(error.strerror or str(error)).lower()}.") from error
    _held[folder] = lock
    remember(folder, os.getpid())


def release(folder: str | os.PathLike[str]) -> None:
    """Undo `claim`, for a process that lives on: nobody is at the run any more."""
    folder = Path(folder).resolve()
    lock = _held.pop(folder, None)
    if lock is not None:
        (folder / "process.json").unlink(missing_ok=True)
        lock.release()


def remember(folder: Path, pid: int) -> None:
    """Write down that process `pid` is at the run. Nothing is written for a process that is gone already."""
    try:
        content = {"pid": pid, "create_time": psutil.Process(pid).create_time(), "ticks": _ticks(pid)}
    except psutil.Error:
        return
    write_atomically(folder / "process.json", json.dumps(content))


def live_process(folder: Path) -> Process | None:
    """The process at the run, or None where there was none or it is gone; a zombie is gone."""
    recorded = _recorded(folder)
    if recorded is None:
        return None
    try:
        process = psutil.Process(recorded.pid)
        now = _ticks(recorded.pid) if recorded.ticks else None
        # Elsewhere, and of older runs, there is the time alone, which moves a little where the clock is set.
        same = now == recorded.ticks if now else abs(process.create_time() - recorded.create_time) < 2
        return recorded if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _ticks(pid: int) -> str | None:
    """When a process was made, on a clock that nobody sets; None where the system doesn't say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The process's name, in brackets, may have spaces and brackets in it; field 22 is the 20th after it.
        return f"{boot}:{Path(f'/proc/{pid}/stat').read_bytes().rpartition(b')')[2].split()[19].decode()}"
    except (OSError, IndexError, ValueError):
        return None


def was_started(folder: Path) -> bool:
    """Whether any process has been at the run since it was queued."""
    return (folder / "process.json").exists()


def _recorded(folder: Path) -> Process | None:
    try:
        content = json.loads((folder / "process.json").read_text(encoding="utf-8"))
        ticks = content.get("ticks")
        return Process(int(content["pid"]), float(content["create_time"]), str(ticks) if ticks else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
