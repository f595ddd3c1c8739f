"""What a page asks of strangers' files and of reasoning-gym, found by a small process of its own.

`python -m distill.data.reader` reads [task, arguments] as JSON on stdin and prints the result. It may take so much time
and memory and no more, and dies alone: whoever asks reads no file, so that nothing in one can stop or fill a page. What
was found is kept for as long as the file stays as it is, and several who ask the same wait for one process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config import run_config
from distill.config.errors import ConfigError, UserError
from distill.config.paths import SOURCES
from distill.config.run_config import ColumnsConfig, RunConfig
from distill.data import reasoning_gym
from distill.data.limits import limited
from distill.data.records import is_parquet
from distill.data.sources import problems_for
from distill.data.tables import columns_of, read_rows

MEMORY = 256 * 2**20  # bytes beyond what the process has when it begins: MAX_DECODED twice; the largest file took 140
SECONDS = 60  # of a processor; a file of 20 MB and 99,000 rows takes 8. The clock gives twice as many.

_MODULE = "distill.data.reader"
_AT_ONCE = 2  # processes: a page's machine may have two cores
_WAITING = 16  # callers that wait for one of them, the same or another: each holds one of the page's 40 threads
_KEPT = 256  # answers
_AGAIN = 60.0  # seconds after which a process that broke off may be tried again
_READ_FOR = {"data", "probe", "budget", "teachers", "objectives"}  # the settings that decide how many rows are read
_BROKE_OFF, _NO_MEMORY, _SAID = 3, 4, 10  # exit statuses; an error of ours is its own beyond _SAID, as Python takes 1
# One thread and one heap, or the limit on memory would count room that is only reserved.
_ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_ALONE |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONIOENCODING": "utf-8"}


@dataclass(frozen=True)
class Survey:
    """What a file holds: how many `rows`, and the mean `characters` of a question and its solution, over all rows."""

    rows: int
    characters: float


def columns(path: str | Path) -> list[str]:
    """The names of a file's columns. Raises as `tables.columns_of`, and UserError where it takes too much to read."""
    return _ask("columns", [_absolute(path)], path)


def survey(path: str | Path, columns: ColumnsConfig) -> Survey:
    """What a file holds in these columns; all of it is read. Raises as `tables.read_rows`, or like `columns`."""
    return Survey(*_ask("survey", [_absolute(path), columns.model_dump()], path))


def trial(config: RunConfig) -> tuple[list[str], str]:
    """(what a run of this config would warn about in its file, why it could not use it or "")."""
    try:
        asked = json.loads(config.model_dump_json(include=_READ_FOR))
        return _ask("trial", [asked], config.data.path), ""
    except UserError as error:
        return [], str(error)


def gym_characters(family: str) -> float:
    """Characters of a problem of reasoning-gym and its solution, the mean over a sample of the data set `family`.

    Raises as `reasoning_gym.check_family`, and UserError where the data set takes too much to make.
    """
    if not reasoning_gym.is_installed():
        raise UserError(reasoning_gym.MISSING)
    return _ask("gym", [family])


# --- asking ----------------------------------------------------------------------------------------------------------

_kept: OrderedDict[tuple, tuple[Future[Any], float]] = OrderedDict()  # question -> answer, until when it counts
_guard = threading.Lock()
_slots = threading.Semaphore(_AT_ONCE)
_waiting = 0


def _ask(task: str, arguments: list[Any], path: str | Path | None = None) -> Any:
    """The answer of a process of its own, kept until the file at `path` changes.

    Raises UserError where too many wait already, for this answer or for others.
    """
    global _waiting
    question = json.dumps([task, arguments])
    key = question, None if path is None else stamp(path)
    with _guard:
        answer, until = _kept.get(key, (None, 0.0))
        if answer is not None and answer.done() and time.monotonic() <= until:
            return answer.result()
        if _waiting >= _WAITING:
            raise UserError("This server is reading other visitors' files: try again in a minute.")
        _waiting += 1
        mine = answer is None or answer.done()
        if mine:
            answer = Future()
            _kept[key] = answer, float("inf")
            _kept.move_to_end(key)
            if len(_kept) > _KEPT:
                _kept.popitem(last=False)
    try:
        if mine:
            _settle(
                key, answer, question, Path(path).name if path else f"The data set {arguments[0]!r} of reasoning-gym"
            )
        return answer.result()
    finally:
        with _guard:
            _waiting -= 1


def _settle(key: tuple, answer: Future[Any], question: str, name: str) -> None:
    """Let a process answer. What is wrong with a file is kept like what is right; that a process broke off, a while."""
    failure: BaseException | None = None
    try:
        with _slots:
            answer.set_result(json.loads(in_child(_MODULE, question, 2 * SECONDS)))
    except UserError as error:
        answer.set_exception(error)
    except BaseException as error:
        failure = error
    if failure is not None:
        with _guard:
            _kept[key] = answer, time.monotonic() + _AGAIN
        answer.set_exception(_broken(failure, name))


def _broken(error: BaseException, name: str) -> UserError:
    if isinstance(error, TimeoutError):
        return UserError(f"{name} takes more than {SECONDS} seconds to read: give fewer rows or shorter texts.")
    if isinstance(error, MemoryError):
        return UserError(
            f"{name} takes more than {MEMORY / 2**20:.0f} MB of memory to read: give fewer rows or shorter texts."
        )
    said = str(error) if isinstance(error, Broken) else getattr(error, "strerror", None) or type(error).__name__
    return UserError(f"{name} can't be read here ({said}): save it again, or try again in a minute.")


def stamp(path: str | Path) -> tuple[int, int] | None:
    """Tells a file from an earlier one of the same name."""
    try:
        found = Path(os.path.expanduser(path)).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _absolute(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))


# --- a process of its own --------------------------------------------------------------------------------------------


class Broken(Exception):
    """A process ended as it should not have; why, in words."""


def in_child(module: str, given: str, seconds: float, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """The last line that `python -m module arguments` prints, told `given` on stdin.

    Raises the ConfigError or UserError that it ended with, MemoryError where its memory was not enough, TimeoutError
    after so many `seconds`, when it is killed with all that it started, Broken, or OSError where it can't be started.
    """
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": path, **_ALONE, **(env or {})},
        start_new_session=True,
    )
    try:
        out, err = child.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        child.communicate()
        raise TimeoutError from None
    said = (err.strip().splitlines() or ["it said nothing"])[-1]  # libraries may have printed more before
    for kind in (ConfigError, UserError):
        if child.returncode == _SAID + kind.exit_code:
            raise kind(said)
    if child.returncode == _NO_MEMORY:
        raise MemoryError
    if hasattr(signal, "SIGXCPU") and child.returncode == -signal.SIGXCPU:  # Windows has none
        raise TimeoutError
    if child.returncode or not out.strip():
        raise Broken(said[:300] if child.returncode == _BROKE_OFF else f"its reader ended with {child.returncode}")
    return out.strip().splitlines()[-1]


def _end(child: subprocess.Popen) -> None:
    """Kill a process and all that it started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it has just ended (so says Linux, and so macOS)
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def answer_on_stdout(work: Callable[[], Any]) -> int:
    """Print what `work` returns as JSON, or in one line on stderr why not; the exit status, as `in_child` takes it."""
    try:
        print(json.dumps(work()))
        return 0
    except UserError as error:
        print(error, file=sys.stderr)
        return _SAID + error.exit_code
    except MemoryError:
        return _NO_MEMORY
    except Exception:
        traceback.print_exc()
        return _BROKE_OFF


def _survey(path: str, columns: dict[str, Any]) -> tuple[int, float]:
    rows = read_rows(path, ColumnsConfig.model_validate(columns))
    return len(rows), sum(len(row.question) + len(row.solution) for row in rows) / len(rows)


def _trial(asked: dict[str, Any]) -> list[str]:
    notes: list[str] = []
    config = run_config.parse({"student": "student-tiny", **asked})
    problems_for(config, lambda code, text: notes.append(text))
    return notes


_TASKS: dict[str, Callable[..., Any]] = {
    "columns": lambda path: columns_of(path).names,
    "survey": _survey,
    "trial": _trial,
    "gym": lambda family: reasoning_gym.mean_characters((family,)),
}


def main() -> int:
    """Answer the question on stdin; the exit status is the error's."""
    if hasattr(os, "nice"):
        os.nice(5)  # whoever waits for the page goes first
    task, arguments = json.loads(sys.stdin.read())
    places = (argument for argument in arguments if isinstance(argument, str))
    if task == "trial" or any(is_parquet(Path(place)) for place in places):
        import pyarrow.parquet  # noqa: F401 - what it reserves is no part of the limit
    with limited(MEMORY, SECONDS):
        return answer_on_stdout(lambda: _TASKS[task](*arguments))


if __name__ == "__main__":
    sys.exit(main())
