"""What one look costs the page at 100,000 recorded steps: `python benchmarks/tick.py`.

Each tab of the page is looked at over HTTP, each time with one more step recorded. Goals: 40 ms and 20 kB.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import report
from benchmarks.long_run import STEPS, line
from benchmarks.tabs import Tab, serve
from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import EventWriter, Probe, Sample, Status
from distill.runs.process import remember
from distill.ui.session import TABS

LOOKS = 40


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        home = Path(name)
        folder = long_run(home)
        server, url = serve(home)
        try:
            figures = {tab: looks(url, folder, tab) for tab in TABS}
        finally:
            server.kill()
    report(
        "tick",
        steps=STEPS,
        ms=max(ms for ms, _, _ in figures.values()),
        kb=max(kb for _, kb, _ in figures.values()),
        by_tab={tab: {"ms": ms, "kb": kb, "slowest_ms": worst} for tab, (ms, kb, worst) in figures.items()},
        goals={"ms": 40, "kb": 20},
        looks=LOOKS,
    )


def long_run(home: Path) -> Path:
    """A run that trains, by its files, with 100,000 steps, probes and samples recorded."""
    folder = store.create(configs.load("tiny", [f"budget.steps={STEPS + 1000}"]), home / "runs")
    teachers = [teacher.name for teacher in configs.load("tiny").teachers]
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state="training"))
    with open(folder / "events.jsonl", "a", encoding="utf-8") as stream:
        stream.writelines(line(step) for step in range(1, STEPS + 1))
    with EventWriter(folder / "events.jsonl") as writer:
        for step in range(0, STEPS + 1, 500):
            shares = dict.fromkeys(teachers, 1 / len(teachers))
            gate = {"mean": shares, "by_family": {f"family-{k}": shares for k in range(12)}, "entropy": 1.8}
            cka = dict.fromkeys(teachers, 0.5 + step / (2 * STEPS))
            writer.write(Probe(step=step, n=128, cka=cka, null95=0.02, participation_ratio=9.0, gate=gate))
            writer.write(Sample(step=step, problem="showcase:crayons", text="3 * 24 = 72. #### 62", right=True))
    remember(folder, os.getpid())  # this process stands for the worker
    return folder


def looks(url: str, folder: Path, name: str) -> tuple[float, float, float]:
    """(median milliseconds, most kilobytes, most milliseconds) of a look at one tab, a step recorded before each."""
    tab = Tab(url, folder.name, name)
    tab.tick()
    took, sent, reached = [], [], store.view(folder).step
    with open(folder / "events.jsonl", "a", encoding="utf-8") as stream:
        for step in range(reached + 1, reached + 1 + LOOKS):
            stream.write(line(step))
            stream.flush()
            time.sleep(0.05)
            took.append(1000 * tab.tick())
            sent.append(tab.bytes / 1000)
    return round(statistics.median(took), 1), round(max(sent), 1), round(max(took), 1)


if __name__ == "__main__":
    main()
