"""How much thirty watching tabs slow training: `python benchmarks/watchers.py`.

One run of the tiny preset; the tabs watch for twelve seconds, then nobody does, and so on in turns, so that both are
measured in one run on one machine. The ratio of the median seconds a step. Goal: 1.10.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import itertools

from benchmarks.common import report
from benchmarks.tabs import Tab, serve
from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import Metric

TABS, WINDOW, ROUNDS, STEPS = 30, 12.0, 6, 1200


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        home = Path(name)
        server, url = serve(home)
        small = [f"budget.steps={STEPS}", "data.held_out=24", "data.new_phrasing=0", f"probe.every={STEPS}"]
        folder = store.create(configs.load("tiny", small), home / "runs")
        worker = store.start(folder)
        try:
            while store.view(folder).step < 5:
                time.sleep(0.5)
            watching = [Tab(url, folder.name, ("train", "insight")[number % 2]) for number in range(TABS)]
            windows = [(watched, *window(watching if watched else [])) for _ in range(ROUNDS) for watched in (1, 0)]
        finally:
            worker.kill()
            server.kill()
        seconds = {watched: steps_within(folder, windows, watched) for watched in (1, 0)}
    watched, alone = (statistics.median(seconds[key]) for key in (1, 0))
    report(
        "watchers",
        ratio=round(watched / alone, 3),
        goal=1.10,
        tabs=TABS,
        seconds_between_looks=watching[0].seconds,
        step_watched_s=round(watched, 4),
        step_alone_s=round(alone, 4),
        n_steps=[len(seconds[1]), len(seconds[0])],
    )


def window(watching: list[Tab]) -> tuple[float, float]:
    """The Unix times between which these tabs, each in a thread of its own, looked at the run."""
    began = time.time()
    ends = began + WINDOW

    def watch(tab: Tab) -> None:
        while time.time() + tab.seconds < ends:
            time.sleep(tab.seconds)
            tab.tick()

    threads = [threading.Thread(target=watch, args=(tab,)) for tab in watching]
    for thread in threads:
        thread.start()
    time.sleep(WINDOW)
    for thread in threads:
        thread.join()
    return began, time.time()


def steps_within(folder: Path, windows: list[tuple[int, float, float]], watched: int) -> list[float]:
    """Seconds of every step that began and ended in a window of this kind, its first two seconds left out."""
    metrics = store.view(folder).series(Metric)
    return [
        after.t - before.t
        for kind, began, ended in windows
        if kind == watched
        for before, after in itertools.pairwise(metrics)
        if before.t > began + 2 and after.t < ended
    ]


if __name__ == "__main__":
    main()
