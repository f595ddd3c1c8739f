"""What each command does. Each gives the exit status: 0 done, 1 failed, 2 asked wrongly, 130 stopped.

It imports torch only in `evaluate`, when it runs. It knows nothing of how a run is trained.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from distill.config import paths, run_config
from distill.config.errors import UserError
from distill.config.messages import instead, nearest
from distill.hub import jobs
from distill.models import references
from distill.models.hardware import Machine
from distill.runs import estimate as estimates
from distill.runs import format, index, store
from distill.runs.events import to_json
from distill.runs.preflight import check_room, refuse_foreseen
from distill.runs.process import live_process

GRACE = 60.0  # seconds a worker has to save after Ctrl-C before it gets SIGTERM


def run(args: argparse.Namespace) -> int:
    """Train what a preset or file asks for, in the foreground."""
    asked = run_config.load(args.source, args.overrides)
    references.check_models(asked)
    refuse_foreseen(asked)
    if args.create:
        print(store.create(asked, args.runs))
        return 0
    check_room(asked, Machine.here(args.runs))
    with _interrupts() as interrupts:
        folder = store.create(asked, args.runs)
        print(f"run {folder.name}: {asked.name}, in {folder}", file=sys.stderr)
        worker = store.start(folder)
        return _follow(worker, folder, format.Progress(sys.stderr), interrupts, args.json)


def resume(args: argparse.Namespace) -> int:
    """Go on with a stopped, crashed or failed run, in the foreground."""
    folder = index.find(args.run, args.runs)
    seen = store.view(folder)
    if seen.config:
        references.check_models(seen.config)
    progress = format.Progress(sys.stderr)
    progress.skip(seen)
    with _interrupts() as interrupts:
        worker = store.resume(folder, args.overrides)
        print(f"run {folder.name}: going on after step {seen.step}, in {folder}", file=sys.stderr)
        return _follow(worker, folder, progress, interrupts, args.json)


def stop(args: argparse.Namespace) -> int:
    """Ask a run to save and leave, and wait until it has."""
    folder = index.find(args.run, args.runs)
    store.stop(folder, grace=GRACE, wait=True)
    seen = store.view(folder)
    print(f"Run {seen.id} is {seen.state} at step {seen.step} of {seen.steps}.")
    return 0


def list_runs(args: argparse.Namespace) -> int:
    """All runs, the newest first."""
    found = index.list_runs(args.runs)
    print(format.runs_table(found) if found else "There are no runs yet: python -m distill run tiny makes one.")
    return 0


def show(args: argparse.Namespace) -> int:
    """A preset's settings, or what a run did."""
    presets = paths.preset_names()
    if args.what in presets:
        return _show_preset(args)
    try:
        seen = store.view(index.find(args.what, args.runs))
    except run_config.ConfigError as error:
        if nearest(args.what, presets):
            raise run_config.ConfigError(
                f"There is no run or preset {args.what!r}: {instead(args.what, presets)}"
            ) from error
        raise
    if args.json:
        about = {name: getattr(seen, name) for name in ("id", "name", "state", "reason", "step", "steps", "report")}
        print(to_json(about | {"folder": str(seen.folder)}))
        return 0
    print(f"run {seen.id}: {seen.name}, {seen.state} at step {seen.step} of {seen.steps}, in {seen.folder}")
    if seen.reason:
        print(seen.reason)
    if seen.report:
        print(format.summary(seen.report))
        print(format.families(seen.report))
    if seen.resumable:
        print(f"python -m distill {'follow' if seen.elsewhere else 'resume'} {seen.id} goes on with it.")
    return 0


def _show_preset(args: argparse.Namespace) -> int:
    """A preset's settings, then what it costs on this machine and whether this machine can."""
    asked = run_config.load(args.what)
    found = estimates.estimate(asked, Machine.here(args.runs))
    job = jobs.smallest(asked) if found.obstacle else None
    if args.json:
        needs = {"seconds": found.seconds, "memory_gb": found.memory_gb, "gpu_gb": found.gpu_gb}
        said = {"preset": args.what, "config": asked.model_dump(mode="json"), **needs, "disk_mb": found.disk_mb}
        said |= {"here": bool(found.seconds) and not found.obstacle, "obstacle": found.obstacle, "notes": found.notes}
        print(to_json(said | {"flavor": job[0].name if job else None}))
        return 0
    print(run_config.to_yaml(asked), end="")
    print(*(f"# {line}" for line in estimates.lines(found)), sep="\n")
    if job:
        print(f"# python -m distill submit {args.what} --flavor {job[0].name} does it on a machine of Hugging Face")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Judge a run's student again, on as many held-out problems as asked for, its own or others."""
    from distill.evaluation.reevaluate import evaluate_run

    result = evaluate_run(index.find(args.run, args.runs), args.problems, args.json, args.adapter, args.overrides)
    print(to_json(result) if args.json else format.summary(result))
    return 0


def push(args: argparse.Namespace) -> int:
    """Keep a finished run in a repository of the Hub."""
    from distill.hub.push import push as push_run

    print(push_run(index.find(args.run, args.runs), args.to, private=not args.public))
    return 0


class _Interrupts:
    """How often Ctrl-C or SIGTERM came. It only counts: locks and files are no business of a signal handler."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


@contextlib.contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    counter = _Interrupts()
    before = {number: signal.signal(number, counter) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield counter
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(
    worker: subprocess.Popen[bytes], folder: Path, progress: format.Progress, interrupts: _Interrupts, as_json: bool
) -> int:
    """Show the run until its worker has left, pass interrupts on, and say how it ended."""
    heeded = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=0.2)
        progress.update(store.view(folder))
        if worker.returncode is not None:
            break
        if interrupts.count > heeded:
            heeded += 1
            progress.say(_interrupt(worker, folder, heeded))
    progress.clear()
    return _ending(store.view(folder), worker.returncode, bool(interrupts.count), as_json)


def _interrupt(worker: subprocess.Popen[bytes], folder: Path, times: int) -> str:
    """Ask once, insist the second time, end it the third; what was done, for the user."""
    process = live_process(folder)
    if process is None:
        return "The worker is leaving."
    if times == 1:
        with contextlib.suppress(UserError):  # it may leave this very moment
            store.stop(folder, grace=GRACE)
        return "Stopping: the run is being saved (Ctrl-C again to hurry it)."
    if times == 2:
        process.terminate()
        return "Hurrying (Ctrl-C again ends it at once; what the last checkpoint holds is kept)."
    worker.kill()
    return "Ended."


def _ending(seen: store.RunView, returncode: int, interrupted: bool, as_json: bool) -> int:
    log = seen.folder / "stdout.log"
    if seen.state == "done":
        if as_json:
            print(to_json(seen.report or {}))
        else:
            print(format.summary(seen.report or {}))
            print(f"The student's adapter and the report are in {seen.folder}.")
        return 0
    if seen.state == "stopped" or (interrupted and seen.state == "crashed"):
        where = f"at step {seen.step} of {seen.steps}"
        print(f"Run {seen.id} is stopped {where}: python -m distill resume {seen.id} goes on with it.", file=sys.stderr)
        return 130
    reason = (seen.reason or "it gave no reason").rstrip(".")
    print(f"Run {seen.id} {seen.state}: {reason}. Its full output is in {log}.", file=sys.stderr)
    return 2 if returncode == 2 else 1
