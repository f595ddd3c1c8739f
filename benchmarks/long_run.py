"""What watching a long run costs: `python benchmarks/long_run.py`.

A run of 100,000 recorded steps is read for the first time, looked at again, and looked at with one step more; a folder
of 200 finished runs is listed. Goals: 2.5 s, 1 ms, 1.5 ms, 60 ms. Nothing is trained.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import report
from distill.config import run_config as configs
from distill.runs import index, store
from distill.runs.events import EventWriter, Metric, Status, latest_by_step, to_json
from distill.runs.process import live_process, remember

STEPS, RUNS, LOOKS = 100_000, 200, 100
TEACHERS = 6


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = store.create(configs.load("tiny", [f"budget.steps={STEPS}"]), Path(name) / "one")
        with open(folder / "events.jsonl", "a", encoding="utf-8") as stream:
            stream.writelines(line(step) for step in range(1, STEPS + 1))
        remember(folder, os.getpid())  # this process stands for the worker
        before = psutil.Process().memory_info().rss
        first = seconds(lambda: store.view(folder), 1)
        memory = psutil.Process().memory_info().rss - before
        figures = {
            "first_view_s": round(first, 2),
            "unchanged_view_ms": milliseconds(lambda: store.view(folder)),
            "one_more_step_ms": one_more(folder),
            "live_process_ms": milliseconds(lambda: live_process(folder)),
            "columns_ms": columns(folder),
            "series_ms": milliseconds(lambda: store.view(folder).series(Metric)),
            "scan_ms": milliseconds(lambda: latest_by_step(store.view(folder).events, Metric), 5),
            "memory_mb": round(memory / 2**20),
        }
        (folder / "process.json").unlink()
        listed = a_list(Path(name) / "many")
    goals = {
        "first_view_s": 2.5,
        "unchanged_view_ms": 1,
        "one_more_step_ms": 1.5,
        "live_process_ms": 0.3,
        "list_ms": 60,
    }
    report("long_run", steps=STEPS, **figures, runs=RUNS, list_ms=listed, goals=goals, looks=LOOKS)


def line(step: int) -> str:
    """One step as a run with a task, geometry and six teachers records it."""
    part = (step * 0.618) % 1
    gate = {f"gate/teacher-{number}": part / (number + 1) for number in range(TEACHERS)}
    event = Metric(
        step=step,
        steps=STEPS,
        loss=1 / step + part,
        terms={"task": part, "geometry": 1 - part},
        metrics={"similarity": part, "gate_entropy": part, **gate},
        tokens=4163,
        learning_rate=1e-3 * part,
        tokens_per_second=16_564 + part,
        memory_mb=963 + part,
        seconds_left=float(STEPS - step),
        grad_norm=part,
    )
    return to_json({"t": event.t, "kind": event.kind, **vars(event)}) + "\n"


def one_more(folder: Path) -> float:
    """Median milliseconds of a view after one step more has been recorded."""
    times = []
    with EventWriter(folder / "events.jsonl") as writer:
        for step in range(STEPS + 1, STEPS + 1 + LOOKS):
            writer.write(Metric(step=step, steps=STEPS, loss=0.5, terms={"task": 0.5}))
            times.append(seconds(lambda: store.view(folder), 1))
    return round(statistics.median(times) * 1e3, 3)


def columns(folder: Path) -> float:
    """Milliseconds of every column of a view whose columns nobody has asked for."""
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Metric(step=STEPS + 1 + LOOKS, steps=STEPS, loss=0.5))
    timeline = store.view(folder).timeline
    return round(seconds(lambda: [timeline.columns(name) for name in timeline.names], 1) * 1e3, 3)


def a_list(parent: Path) -> float:
    """Median milliseconds of a list of finished runs that have been listed before."""
    config = configs.load("tiny")
    for _ in range(RUNS):
        folder = store.create(config, parent)
        with open(folder / "events.jsonl", "a", encoding="utf-8") as stream:
            stream.writelines(line(step) for step in range(1, config.budget.steps + 1))
        with EventWriter(folder / "events.jsonl") as writer:
            writer.write(Status(state="done"))
        (folder / "report.json").write_text('{"steps": 1}')
    index.list_runs(parent)
    return milliseconds(lambda: index.list_runs(parent), 10)


def milliseconds(action: Callable[[], object], times: int = LOOKS) -> float:
    return round(seconds(action, times) * 1e3, 3)


def seconds(action: Callable[[], object], times: int) -> float:
    """The median of `times` runs of `action`."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    main()
