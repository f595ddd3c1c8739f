"""Run folders: create, start, view, stop, resume, delete. Whoever shows a run reads it here.

A run is a folder with config.yaml, events.jsonl, stdout.log and what the worker saves. The worker is started by name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.files import write_atomically
from distill.config.overrides import split
from distill.config.paths import SOURCES, home
from distill.config.run_config import BudgetConfig, ConfigError, RunConfig
from distill.models.hub_errors import acting_for
from distill.models.references import absolute
from distill.runs.events import FINAL, EventWriter, Status
from distill.runs.inputs import check_inputs
from distill.runs.process import Process, live_process, remember
from distill.runs.views import RunView, forget, view

# How long OpenMP's threads spin for one another. Unbounded, as by default, a browser on one of two cores makes training
# more than five times as slow; with this twice, and on a quiet machine it costs one part in twenty.
_SPIN = "10000"
OWNER_SECRET = "DISTILL_OWNER_SECRET"  # with which the owner of a public page proves to be it: no worker's business
STOP_AFTER = "DISTILL_STOP_AFTER"  # a worker's variable: seconds of work after which it saves and stops
JOB = "job.json"  # in the folder of a run that is done elsewhere and mirrored here: which Job it is
NEEDED_MB = 200  # free disk a run asks for when it is started or resumed: checkpoints, adapter, signals
_DRAWS = 20  # ids
_CHANGED = ("config.yaml", "STOP", "process.json")  # what resume changes, beside the events
Begin = Callable[[Path, bool], Any]  # (the run's folder, whether it waits for its turn)


def create(config: RunConfig, runs_dir: str | os.PathLike[str] | None = None, run_id: str | None = None) -> Path:
    """A new run folder, queued. Raises ConfigError where the folder can't be written or the disk is nearly full.

    `run_id`: the id it gets, 12 hexadecimal digits, where that was drawn before.
    """
    parent = Path(runs_dir) if runs_dir is not None else home().runs
    folder = None  # only what was made here is removed again
    try:
        parent.mkdir(parents=True, exist_ok=True)
        check_disk(parent)
        folder = _new_folder(parent, run_id)
        (folder / "config.yaml").write_text(configs.to_yaml(absolute(config)), encoding="utf-8")
        _say(folder, Status(state="queued"))
    except (OSError, UserError) as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UserError):
            raise
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"Runs can't be written to {parent} ({reason}): choose another folder with --runs, or set DISTILL_HOME to "
            "one that can be written."
        ) from error
    return folder


def _new_folder(parent: Path, run_id: str | None) -> Path:
    """A folder with an id of its own: another is drawn where a run has that already. Raises OSError."""
    if run_id:
        if is_run(parent / run_id):
            raise FileExistsError("a run of that id is there already")
        (parent / run_id).mkdir(exist_ok=True)  # it may be what a killed process left
        return parent / run_id
    for _ in range(_DRAWS):
        folder = parent / secrets.token_hex(6)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{_DRAWS} ids in a row are taken")


def check_disk(parent: Path) -> None:
    """Raises ConfigError where the disk has no room for what a run saves."""
    free = shutil.disk_usage(parent).free // 2**20
    if free < NEEDED_MB:
        raise ConfigError(
            f"The disk of {parent} has {free:,} MB free, and a run needs {NEEDED_MB:,} MB: delete old runs there, "
            "or choose another folder with --runs."
        )


def is_run(folder: Path) -> bool:
    """Whether a run is kept in this folder."""
    return (folder / "config.yaml").is_file()


def alive(folder: str | os.PathLike[str]) -> bool:
    """Whether a worker is at this run: its process exists, is the same one, and is no zombie."""
    return live_process(Path(folder)) is not None


def start(folder: str | os.PathLike[str], in_turn: bool = False, begin: Begin | None = None) -> Any:
    """The run's worker, started in a session of its own, so that no terminal or page takes it along when it goes.

    Its output goes to stdout.log, as a pipe nobody drains would stop it. `in_turn`: it waits until no other run of its
    folder of runs trains. `begin`: what is done in place of `spawn`, and then given. Raises UserError unless the run is
    queued.
    """
    folder = Path(folder).resolve()
    with _starting(folder):
        _refuse_alive(folder, "is already being trained")
        seen = view(folder)
        if seen.state != "queued":
            raise UserError(f"Run {folder.name} is {seen.state} already: resume continues a run, run makes a new one.")
        return (begin or spawn)(folder, in_turn)


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Held while a worker is started, so that two callers can't both find nobody there."""
    with _writable(folder), filelock.FileLock(folder / "start.lock", timeout=30):
        yield


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Run {folder.name} can't be written to ({reason}): check {folder}.") from error


def spawn(folder: Path, in_turn: bool, token: str | None = None, hours: float | None = None) -> subprocess.Popen[bytes]:
    """The run's worker, or its follower, started; for `start` and `resume`, which see to it that there is one only.

    `token`: what it asks the Hub with in place of this machine's own. Its environment alone has it. `hours`: how long
    it may work until it saves and stops.
    """
    module = "distill.hub.job_follower" if (folder / JOB).exists() else "distill.training.worker"
    limited = {} if hours is None else {STOP_AFTER: f"{hours * 3600:.0f}"}
    spin = {} if "GOMP_SPINCOUNT" in os.environ else {"GOMP_SPINCOUNT": _SPIN}
    turn = ["--in-turn"] if in_turn else []
    return launch(module, folder, *turn, environment={**spin, **acting_for(token), **limited})


def launch(
    module: str, folder: Path, *arguments: str, environment: Mapping[str, str] = types.MappingProxyType({})
) -> subprocess.Popen[bytes]:
    """`python -m module folder ...` in a session of its own, its output in the folder's stdout.log, known to be there.

    It gets this process's environment but for the owner's secret, and `environment` on top.
    """
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    around = {name: value for name, value in os.environ.items() if name != OWNER_SECRET}
    with open(folder / "stdout.log", "ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", module, str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**around, "PYTHONPATH": path, **environment},
        )
    try:
        # Known before the worker says so itself, so that a second start is refused and an early death is seen.
        remember(folder, worker.pid)
    except OSError:
        worker.kill()
        raise
    return worker


def stop(folder: str | os.PathLike[str], grace: float | None = 60.0, wait: bool = False) -> None:
    """Ask the run's worker to save and leave; after `grace` seconds send SIGTERM (None: never).

    Returns at once unless `wait`. Raises UserError where no worker is at the run.
    """
    folder = Path(folder).resolve()
    process = live_process(folder)
    elsewhere = process is None and (folder / JOB).exists() and not _has_ended(view(folder))
    if process is None and not elsewhere:
        raise UserError(f"Run {folder.name} is not running: it is {view(folder).state}.")
    with _writable(folder):
        (folder / "STOP").touch()
    if elsewhere:  # it goes on though nobody follows it here
        follow(folder)
        process = live_process(folder)
        if process is None:
            return
    if process.pid == os.getpid():  # a page that trains in slices hears of it, and must not end itself
        grace = None
    waiter = threading.Thread(target=_see_off, args=(folder, process, grace), daemon=True, name=f"stop {folder.name}")
    waiter.start()
    if wait:
        waiter.join()


def resume(
    folder: str | os.PathLike[str],
    overrides: list[str] | tuple[str, ...] = (),
    in_turn: bool = False,
    begin: Begin | None = None,
) -> Any:
    """Start a stopped, crashed or failed run again where it was saved, with `overrides` of its budget.

    `begin`: see `start`. Raises UserError where the run is done or running or its file of problems has changed, and
    ConfigError for an override that is wrong or not of the budget, or where the disk is nearly full; then the run is as
    it was.
    """
    folder = Path(folder).resolve()
    _let_leave(folder)
    if (folder / JOB).exists():
        return follow(folder)
    with _starting(folder):
        _refuse_alive(folder, "can't be resumed: it is being trained")
        seen = view(folder)
        if seen.state == "done":
            raise UserError(f"Run {folder.name} is done, so there is nothing to resume: start a new one with run.")
        if seen.config:
            check_inputs(folder, seen.config.data)
        if overrides:
            _check_goal(edited(folder, overrides).budget, seen)
        check_disk(folder.parent)
        with _unless_it_fails(folder):
            if overrides:
                write_atomically(folder / "config.yaml", configs.to_yaml(edited(folder, overrides)))
            (folder / "STOP").unlink(missing_ok=True)
            (folder / "process.json").unlink(missing_ok=True)  # or it would look crashed until its worker has started
            _say(folder, Status(state="queued", reason="resumed"))
            return (begin or spawn)(folder, in_turn)


@contextlib.contextmanager
def _unless_it_fails(folder: Path) -> Iterator[None]:
    """Where what is done within fails, the run is as it was again: its config, its STOP and its state."""
    kept = {name: (folder / name).read_bytes() for name in _CHANGED if (folder / name).exists()}
    size = (folder / "events.jsonl").stat().st_size if (folder / "events.jsonl").exists() else 0
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # truncating needs no room on a disk that is full
            os.truncate(folder / "events.jsonl", size)
        for name in _CHANGED:
            with contextlib.suppress(OSError):
                if name not in kept:
                    (folder / name).unlink(missing_ok=True)
                elif not (folder / name).exists() or (folder / name).read_bytes() != kept[name]:
                    (folder / name).write_bytes(kept[name])
        forget(folder)  # what was read of it meanwhile
        raise


def follow(folder: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
    """The follower of a run that is a Job elsewhere, started again where it left off.

    Raises UserError where the run is no Job, is followed already or is over.
    """
    folder = Path(folder).resolve()
    if not (folder / JOB).exists():
        raise UserError(f"Run {folder.name} is no Job of Hugging Face, so there is nothing to follow.")
    with _starting(folder):
        _refuse_alive(folder, "is being followed already")
        seen = view(folder)
        if _has_ended(seen):
            raise UserError(
                f"Run {folder.name} was a Job and is {seen.state}, so it can't be resumed: python -m distill submit "
                f"{folder.name} makes a new one of it."
            )
        (folder / "process.json").unlink(missing_ok=True)  # or it would look crashed until its follower has started
        return spawn(folder, in_turn=False)


def edited(folder: str | os.PathLike[str], overrides: Sequence[str]) -> RunConfig:
    """The run's config with overrides of its budget. Raises ConfigError for one that is wrong or not of the budget."""
    for override in overrides:
        keys, _ = split(override)
        if keys[0] != "budget" or len(keys) < 2:
            raise ConfigError(
                f"{'.'.join(keys)} can't be changed in a run that has begun: resume can change budget only."
            )
    return configs.load(str(Path(folder) / "config.yaml"), list(overrides))


def _check_goal(budget: BudgetConfig, seen: RunView) -> None:
    """Raise ConfigError where a run has done more already than `budget` asks for."""
    before = seen.config.budget.epochs if seen.config else None
    if budget.epochs is None and budget.steps < seen.step:
        raise ConfigError(f"budget.steps is {budget.steps}, but the run is at step {seen.step} already: give more.")
    if budget.epochs is not None and before and budget.epochs * seen.steps < before * seen.step:
        raise ConfigError(
            f"budget.epochs is {budget.epochs}, but the run is at step {seen.step}, in a later one: give more."
        )


def _has_ended(seen: RunView) -> bool:
    """Whether the run has said its last word: not so where its process broke off."""
    last = seen.last(Status)
    return last is not None and last.state in FINAL


def delete(folder: str | os.PathLike[str]) -> None:
    """Remove a run that isn't running. Raises UserError."""
    folder = Path(folder).resolve()
    if not is_run(folder):
        raise UserError(f"{folder} is no run folder, so it is left alone.")
    _let_leave(folder)
    _refuse_alive(folder, "can't be deleted: it is being trained")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"Run {folder.name} can't be deleted: {(error.strerror or str(error)).lower()}.") from error
    forget(folder)


def _let_leave(folder: Path) -> None:
    """Wait a moment for a worker that has said its last word: its process takes about a second to end."""
    ends = time.monotonic() + 10
    while live_process(folder) and view(folder).final and time.monotonic() < ends:
        time.sleep(0.1)


def _refuse_alive(folder: Path, why: str) -> None:
    process = live_process(folder)
    if process:
        raise UserError(f"Run {folder.name} {why} by process {process.pid}.")


def _see_off(folder: Path, process: Process, grace: float | None) -> None:
    """Wait until the worker has left; where it hasn't after `grace` seconds, SIGTERM, and after as many again SIGKILL.

    A worker that hears neither (in a download, say) would keep all others waiting; killed, its run can be resumed.
    """
    ends, ways = time.monotonic() + (grace or 0.0), [process.terminate, process.kill] if grace is not None else []
    while (now := live_process(folder)) and now.pid == process.pid:
        if ways and time.monotonic() > ends:
            ways.pop(0)()
            ends = time.monotonic() + grace
        time.sleep(0.1)


def _say(folder: Path, status: Status) -> None:
    with EventWriter(folder / "events.jsonl") as events:
        events.write(status)
