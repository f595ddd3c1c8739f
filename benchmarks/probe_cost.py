"""What the diagnostics cost: `python benchmarks/probe_cost.py`.

The share of a tiny run's training time that goes into the probe (goal: < 0.05), and beside it the time that the answers
take that the student gives during training.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import prepared, report
from distill.training.callbacks import Reporter


def main() -> None:
    pipeline, train, probe = prepared("tiny")
    began = time.perf_counter()
    pipeline.train(train, probe)
    seconds = time.perf_counter() - began
    reporter = next(c for c in pipeline.trainer.callback_handler.callbacks if isinstance(c, Reporter))
    report(
        "probe_cost",
        ratio=round(reporter.probe_seconds / seconds, 4),
        goal=0.05,
        probe_seconds=round(reporter.probe_seconds, 2),
        answer_seconds=round(reporter.answer_seconds, 2),
        training_seconds=round(seconds, 2),
        steps=pipeline.config.budget.steps,
    )


if __name__ == "__main__":
    main()
