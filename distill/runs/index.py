"""Which runs there are in a folder of runs: list them, find one by what somebody calls it."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from distill.config.paths import home
from distill.config.run_config import ConfigError
from distill.runs.store import is_run
from distill.runs.views import RunView, view


def list_runs(runs_dir: str | os.PathLike[str] | None = None) -> list[RunView]:
    """Every run of a folder of runs, the newest first."""
    parent = Path(runs_dir) if runs_dir is not None else home().runs
    try:
        folders = [folder for folder in parent.iterdir() if is_run(folder)]
    except OSError:
        return []
    found = []
    for folder in folders:
        with contextlib.suppress(ConfigError):  # deleted meanwhile
            found.append(view(folder))
    return sorted(found, key=lambda run: run.created, reverse=True)


def find(ref: str | os.PathLike[str], runs_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the run that an id, the start of one, or a path means. Raises ConfigError."""
    text = str(ref)
    parent = Path(runs_dir) if runs_dir is not None else home().runs
    if text and is_run(Path(text)):
        return Path(text).resolve()
    ids = [run.id for run in list_runs(parent)]
    found = [text] if text in ids else [name for name in ids if text and name.startswith(text.lower())]
    if len(found) == 1:
        return (parent / found[0]).resolve()
    if found:
        raise ConfigError(f"{text!r} is the start of {len(found)} runs ({', '.join(found)}): give more of it.")
    there = f"the newest is {ids[0]}, and list shows all" if ids else "there is none yet"
    raise ConfigError(f"There is no run {text!r} in {parent}: {there}.")


def find_id(run_id: str, runs_dir: str | os.PathLike[str] | None = None) -> Path:
    """As `find`, but for ids alone: what a page may be asked for by strangers is no path. Raises ConfigError."""
    if not isinstance(run_id, str) or not re.fullmatch(r"[0-9a-f]{1,12}", run_id):
        raise ConfigError(f"There is no run {str(run_id)[:40]!r} here.")
    whole = (Path(runs_dir) if runs_dir is not None else home().runs) / run_id
    return whole.resolve() if is_run(whole) else find(run_id, runs_dir)  # whole: no look at all the others
