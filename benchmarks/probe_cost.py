"""What the diagnostics cost: `python benchmarks/probe_cost.py`.

The share of a tiny run's training time that goes into the probe and the sample answers (goal: < 0.05).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import prepared, report


def main() -> None:
    pipeline, train, probe = prepared("tiny")
    began = time.perf_counter()
    pipeline.train(train, probe)
    seconds = time.perf_counter() - began
    probes = next(c for c in pipeline.trainer.callback_handler.callbacks if hasattr(c, "probe_seconds")).probe_seconds
    report(
        "probe_cost",
        ratio=round(probes / seconds, 4),
        goal=0.05,
        probe_seconds=round(probes, 2),
        training_seconds=round(seconds, 2),
        steps=pipeline.config.budget.steps,
    )


if __name__ == "__main__":
    main()
