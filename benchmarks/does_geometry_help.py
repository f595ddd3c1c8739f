"""Does geometry help? `python benchmarks/does_geometry_help.py` (about six minutes).

The tiny run, 100 steps, in three arms with three paired seeds each (same problems, same steps): the task alone
(geometry measured, with weight 0), `kernel` with the prior gate, and `deku`. For each arm: accuracy on held-out
problems and in new wordings, and head-free CKA with the teachers, as mean, smallest and largest over seeds; the
null is the first arm.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import report

SEEDS = (0, 1, 2)
STEPS = "budget.steps=100"
ARMS = {
    "task_alone": ["tiny", STEPS, "objectives.geometry.weight=0"],
    "kernel_prior": ["tiny", STEPS],
    "deku": ["tiny-deku", STEPS],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        runs = {arm: [_run(home, *options, f"seed={seed}") for seed in SEEDS] for arm, options in ARMS.items()}
    figures = {arm: _figures(reports) for arm, reports in runs.items()}
    base = figures["kernel_prior"]["held_out"][0] - figures["task_alone"]["held_out"][0]
    n = runs["task_alone"][0]["after"]["n"]
    report(
        "does_geometry_help",
        ratio=round(1 + base / figures["task_alone"]["held_out"][0], 4),
        arms=figures,
        seeds=list(SEEDS),
        n=n,
        reading="[mean, smallest, largest] over seeds; cka: mean over teachers; deku is read with its own pooling",
    )


def _run(home: str, preset: str, *overrides: str) -> dict:
    command = [sys.executable, "-m", "distill", "run", preset, "--json", "--set", *overrides]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "DISTILL_HOME": home}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _figures(reports: list[dict]) -> dict:
    def spread(values: list[float]) -> list[float]:
        return [round(value, 4) for value in (statistics.mean(values), min(values), max(values))]

    return {
        "held_out": spread([r["after"]["accuracy"] for r in reports]),
        "new_phrasing": spread([r["new_phrasing"]["after"]["accuracy"] for r in reports]),
        "cka_before": spread([statistics.mean(c["before"] for c in r["cka"].values()) for r in reports]),
        "cka_after": spread([statistics.mean(c["after"] for c in r["cka"].values()) for r in reports]),
        "participation_ratio": spread([r["participation_ratio"]["after"] for r in reports]),
        "haf": spread([r["haf"] for r in reports]) if reports[0]["haf"] is not None else None,
    }


if __name__ == "__main__":
    main()
