"""The commands for runs as Jobs of Hugging Face: `submit` starts one, `follow` watches it. They print; jobs.py does."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from distill.config import run_config
from distill.config.errors import UserError
from distill.config.run_config import RunConfig
from distill.hub import jobs
from distill.runs import format, index, store
from distill.runs.estimate import estimate, text
from distill.runs.events import to_json

_TICK = 0.3  # seconds


def submit(args: argparse.Namespace) -> int:
    """Start a Job that does the run of a preset, a file or an earlier run; it is followed in the background."""
    asked = _asked(args)
    if not args.flavor:
        raise run_config.ConfigError(_which(asked, args))
    folder = jobs.submit(asked, args.flavor, args.timeout, args.runs)
    store.start(folder)
    made = jobs.ticket(folder)
    print(f"run {folder.name}: {asked.name}, a Job on {made.flavor} for at most {format.duration(made.seconds)}")
    print(f"Its page at Hugging Face is {made.url}; what it makes is kept in {made.repository}, which is private.")
    print(
        f"The page and `list` show it like any run; python -m distill follow {folder.name} watches it, "
        f"stop {folder.name} ends it."
    )
    return 0


def follow(args: argparse.Namespace) -> int:
    """Watch a Job until it is over. Ctrl-C leaves it alone."""
    folder = index.find(args.run, args.runs)
    if jobs.ticket(folder) is None:
        raise UserError(f"Run {folder.name} is no Job of Hugging Face: python -m distill show {folder.name} shows it.")
    with contextlib.suppress(UserError):  # followed already, or over
        store.follow(folder)
    progress = format.Progress(sys.stderr)
    while not (seen := store.view(folder)).final:
        progress.update(seen)
        time.sleep(_TICK)
    progress.update(seen)
    progress.clear()
    return terminal_word(seen, args.json)


def terminal_word(seen: store.RunView, as_json: bool) -> int:
    """Print how it ended; the exit status."""
    if seen.state == "done":
        print(to_json(seen.report or {}) if as_json else format.summary(seen.report or {}))
        return 0
    reason = (seen.reason or "it gave no reason").rstrip(".")
    goes_on = f" python -m distill follow {seen.id} follows it again." if seen.state == "crashed" else ""
    print(f"Run {seen.id} {seen.state}: {reason}.{goes_on}", file=sys.stderr)
    return 130 if seen.state == "stopped" else 1


def _asked(args: argparse.Namespace) -> RunConfig:
    """What a preset, a file or a run asks for."""
    try:
        return run_config.load(args.source, args.overrides)
    except run_config.ConfigError as unknown:
        try:
            folder = index.find(args.source, args.runs)
        except run_config.ConfigError:
            raise unknown from None
        return run_config.load(folder / "config.yaml", args.overrides)


def _which(asked: RunConfig, args: argparse.Namespace) -> str:
    """What to say where no flavour is given: Jobs cost money, so none is chosen for anybody."""
    found = jobs.smallest(asked)
    names = ", ".join(one.name for one in jobs.FLAVORS)
    if found is None:
        reason = estimate(asked, jobs.FLAVORS[-1].machine, ()).obstacle or "its size isn't known until it is fetched"
        return f"Say on which machine: --flavor and one of {names}; none is known to do (even the largest: {reason})."
    flavor, cost = found
    on = f"{flavor.gpu} with {flavor.machine.gpu_gb:.0f} GB" if flavor.gpu else f"{flavor.machine.cores} cores"
    return (
        f"Say on which machine: --flavor {flavor.name} is the cheapest that can ({on}, {text(cost.seconds)}); "
        f"others are {names}."
    )
