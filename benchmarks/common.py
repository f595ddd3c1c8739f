"""What the benchmarks share: a prepared tiny run, steps timed in turns, and one JSON line as the result.

Ratios are taken between things measured in turns in one process, so that a busy machine slows both sides alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distill.config import run_config as configs
from distill.models.hardware import detect
from distill.models.hub_lookup import look_up
from distill.runs.events import EventWriter

RESULTS = Path(__file__).parent / "results"


def prepared(preset: str, *overrides: str, dtype: str | None = None):
    """(pipeline, training texts, probe texts) of a preset, ready to train in a folder of its own; `dtype`: what the
    student computes in (default: what suits it here)."""
    # Only here: what reads runs is measured without what trains them.
    import torch

    from distill.training.pipeline import Pipeline

    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    config = configs.load(preset, overrides)
    hardware = detect().suited_to(look_up(config.student).parameters)
    hardware = replace(hardware, dtype=dtype or hardware.dtype)
    torch.set_num_threads(hardware.cores)
    pipeline = Pipeline(folder, config, hardware, EventWriter(folder / "events.jsonl"), lambda: False)
    pipeline.load()
    train, probe = pipeline.ask_teachers()
    pipeline.build(train, probe)
    return pipeline, train, probe


def in_turns(steps: dict[str, Callable[[], None]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Median seconds of each step, all of them run once in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + warm_up):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(name: str, **figures) -> None:
    """Print the result on one line, and keep it in results/ with the command."""
    line = {"benchmark": name, "command": f"python {' '.join(sys.argv)}", **figures, "machine": detect().description}
    print(json.dumps(line))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(line) + "\n")
