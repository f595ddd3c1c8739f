"""Carries out a study: its cells one after another, each an ordinary run that anybody can watch, stop and resume.

A study is a folder of runs/studies: study.yaml (what was asked), cells.json (every cell, its config and the id of its
run, drawn once) and what results.py writes. What is done is read from the runs, so a study that was stopped or killed
goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import yaml

from distill.config.errors import ConfigError, ShouldStop, Stopped, UserError
from distill.config.files import write_atomically
from distill.config.paths import home, read_yaml
from distill.config.run_config import parse
from distill.runs import store
from distill.runs.process import remember
from distill.runs.views import RunView, view
from distill.studies.plan import Cell, Plan, Study

FOLDER = "studies"  # of a folder of runs
_PLAN, _CELLS = "study.yaml", "cells.json"
STOP = "STOP"  # the file that asks whoever carries out the study to stop
_LOOK_EVERY = 0.3  # seconds
Tell = Callable[[int, Cell, RunView], None]  # (cells done, the one that goes on, how far it is)


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk. `runs`: {a cell's key: the id of its run}."""

    path: Path
    plan: Plan
    runs: dict[str, str]

    @property
    def id(self) -> str:
        return self.path.name

    def run_of(self, cell: Cell) -> Path:
        """Where the cell's run is, or will be."""
        return self.path.parent.parent / self.runs[cell.key]

    def state(self, cell: Cell) -> str:
        """The state of the cell's run; "waiting" where it has not begun."""
        folder = self.run_of(cell)
        return view(folder).state if store.is_run(folder) else "waiting"

    @property
    def states(self) -> dict[str, str]:
        return {cell.key: self.state(cell) for cell in self.plan.cells}

    @property
    def done(self) -> bool:
        return all(state == "done" for state in self.states.values())


def begin(asked: Plan, runs_dir: str | os.PathLike[str] | None = None) -> StudyFolder:
    """The folder of an unfinished study of this name, where it asks for the same; else a new one.

    Raises ConfigError where an unfinished one of this name asks for something else.
    """
    for earlier in list_studies(runs_dir):
        if earlier.plan.study.name != asked.study.name or earlier.done:
            continue
        if earlier.plan.digest == asked.digest:
            return earlier
        raise ConfigError(
            f"The study {asked.study.name!r} has changed since it was begun as {earlier.id}: continue that with python "
            f"-m distill study {earlier.id}, or give the changed one another name."
        )
    parent = _parent(runs_dir)
    folder = parent / secrets.token_hex(6)
    try:
        folder.mkdir(parents=True)
        runs = {cell.key: secrets.token_hex(6) for cell in asked.cells}
        write_atomically(
            folder / _CELLS, json.dumps([_to_json(cell, runs[cell.key]) for cell in asked.cells], ensure_ascii=False)
        )
        content = asked.study.model_dump(mode="json", exclude_none=True)
        write_atomically(folder / _PLAN, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"Studies can't be written to {parent} ({reason}): choose another with --runs.") from error
    return StudyFolder(folder, asked, runs)


def _parent(runs_dir: str | os.PathLike[str] | None) -> Path:
    return ((Path(runs_dir) if runs_dir is not None else home().runs) / FOLDER).resolve()


def list_studies(runs_dir: str | os.PathLike[str] | None = None) -> list[StudyFolder]:
    """Every study of a folder of runs, the newest first."""
    found = sorted(_parent(runs_dir).glob(f"*/{_PLAN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    studies = []
    for path in found:
        with contextlib.suppress(UserError, OSError, ValueError):  # deleted meanwhile, or of another version
            studies.append(open_study(path.parent))
    return studies


def find_study(ref: str, runs_dir: str | os.PathLike[str] | None = None) -> StudyFolder | None:
    """The study that an id or the start of one means; None where there is none. Raises ConfigError."""
    if not re.fullmatch(r"[0-9a-f]{1,12}", ref):
        return None
    found = [path.parent for path in _parent(runs_dir).glob(f"{ref}*/{_PLAN}")]
    if len(found) > 1:
        raise ConfigError(f"{ref!r} is the start of {len(found)} studies: give more of it.")
    return open_study(found[0]) if found else None


def _to_json(cell: Cell, run: str) -> dict[str, Any]:
    said = {"arm": cell.arm, "value": cell.value, "seed": cell.seed, "run": run}
    return said | {"config": cell.config.model_dump(mode="json")}


def open_study(folder: Path) -> StudyFolder:
    """The study in a folder as it was begun, whatever the presets have become since."""
    said = json.loads((folder / _CELLS).read_text(encoding="utf-8"))
    cells = tuple(Cell(one["arm"], one["value"], one["seed"], parse(one["config"])) for one in said)
    study = Study.model_validate(read_yaml(folder / _PLAN))
    return StudyFolder(
        folder, Plan(study, cells), {cell.key: one["run"] for cell, one in zip(cells, said, strict=True)}
    )


def conduct(study: StudyFolder, should_stop: ShouldStop, tell: Tell = lambda done, cell, seen: None) -> None:
    """Carry out every cell that isn't done. One that fails, or that somebody stops, is left; the others go on.

    Each waits for its turn among the runs of the machine. Stops too where STOP is in the study's folder. Raises Stopped
    once the cell that goes on is saved, and UserError where another process conducts the study or, after all the
    others, where a cell could not be started.
    """
    refused: list[UserError] = []

    def asked_to_stop() -> bool:
        return should_stop() or (study.path / STOP).exists()

    with _alone(study.path):
        for done, cell in enumerate(study.plan.cells):
            folder = study.run_of(cell)
            if study.state(cell) == "done":
                continue
            if asked_to_stop():  # between two runs: none is begun only to be stopped
                raise Stopped
            try:
                _start(folder, cell)
                _follow(folder, asked_to_stop, lambda seen, done=done, cell=cell: tell(done, cell, seen))
            except UserError as error:
                refused.append(error)
    if refused:
        raise refused[0]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = filelock.FileLock(folder / "study.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"The study {folder.name} is being carried out by another process already.") from error
    with lock:
        remember(folder, os.getpid())
        yield


def _start(folder: Path, cell: Cell) -> None:
    if not store.is_run(folder):
        store.create(cell.config, folder.parent, folder.name)
    seen = view(folder)
    if store.alive(folder):
        return  # of a sitting that was killed: the run went on
    if seen.state == "queued":
        store.start(folder, in_turn=True)
    else:
        store.resume(folder, in_turn=True)


def _follow(folder: Path, should_stop: ShouldStop, tell: Callable[[RunView], None]) -> None:
    """Until the run is over. Raises Stopped when asked to, once the run is saved."""
    while True:
        if should_stop():
            with contextlib.suppress(UserError):  # it ended this moment
                store.stop(folder, wait=True)
            raise Stopped
        seen = view(folder)
        tell(seen)
        if seen.final or seen.state == "crashed":
            return
        time.sleep(_LOOK_EVERY)
