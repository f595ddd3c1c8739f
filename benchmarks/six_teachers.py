"""What six teachers cost: `python benchmarks/six_teachers.py`.

Seconds a training step of the task alone and with geometry from 1, 2 and 6 teachers, once the signals exist (goal: six
<= 1.15 x the task alone). And the peak memory of asking all six teachers, over asking the largest alone (goal: <= 1.2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import in_turns, prepared, report
from distill.config import run_config as configs

ROUNDS = 15
ASK = """
import json, sys
sys.path.insert(0, {root!r})
from benchmarks.common import prepared
from distill.models.hardware import peak_rss_mb
prepared("tiny", *sys.argv[1:])
print(json.dumps(peak_rss_mb()))
"""


def main() -> None:
    teachers = [teacher.name for teacher in configs.load("tiny").teachers]
    steps = {"task": _step("tiny-ce")}
    for count in (1, 2, 6):
        steps[f"teachers_{count}"] = _step("tiny", f"teachers={json.dumps(teachers[:count])}")
    seconds = in_turns(steps, ROUNDS)
    memory = {name: _memory(asked) for name, asked in (("largest", ["smollm2-tiny"]), ("six", teachers))}
    report(
        "six_teachers",
        ratio=round(seconds["teachers_6"] / seconds["task"], 3),
        goal=1.15,
        seconds_per_step={name: round(value, 4) for name, value in seconds.items()},
        signals_memory_ratio=round(memory["six"] / memory["largest"], 3),
        signals_memory_goal=1.2,
        signals_peak_mb={name: round(value) for name, value in memory.items()},
        rounds=ROUNDS,
    )


def _step(preset: str, *overrides: str):
    """One forward, backward and update of a batch."""
    pipeline, train, _ = prepared(preset, *overrides)
    distiller = pipeline.distiller.train()
    optimiser = torch.optim.AdamW([p for p in distiller.parameters() if p.requires_grad], lr=1e-3)
    batch = train.collate(range(pipeline.config.budget.batch_size))

    def step() -> None:
        distiller(**batch)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _memory(teachers: list[str]) -> float:
    """Peak MiB of a fresh process that prepares a run with these teachers and an empty bank."""
    with tempfile.TemporaryDirectory() as home:
        code = ASK.format(root=str(Path(__file__).parents[1]))
        done = subprocess.run(
            [sys.executable, "-c", code, f"teachers={json.dumps(teachers)}"],
            env={**os.environ, "DISTILL_HOME": home},
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
