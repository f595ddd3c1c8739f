"""What the Trainer costs: `python benchmarks/trainer_overhead.py`.

Our training step (batching, Trainer, callbacks, events) over a bare PyTorch loop that does the same forward, backward,
clipping, update and schedule on the same batches (goal: <= 1.10). Both in one process, in turns of ten steps.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import TrainerCallback

from benchmarks.common import prepared, report

BLOCK, ROUNDS = 10, 6


class Turns(TrainerCallback):
    """After each block of the trainer's steps, one block of the bare loop's; both are timed."""

    def __init__(self, bare):
        self.bare, self.ours, self.theirs = bare, [], []
        self.began = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % BLOCK:
            return
        self.ours.append(time.perf_counter() - self.began)
        began = time.perf_counter()
        for _ in range(BLOCK):
            self.bare()
        self.theirs.append(time.perf_counter() - began)
        self.began = time.perf_counter()


def main() -> None:
    steps = BLOCK * (ROUNDS + 1)
    quiet = ("probe.every=1000000", "probe.samples=0", "probe.problems=0", "budget.save_every=1000000")
    pipeline, train, probe = prepared("tiny", f"budget.steps={steps}", *quiet)
    turns = Turns(_bare(*prepared("tiny", f"budget.steps={steps}", *quiet)[:2]))
    pipeline.callbacks.append(turns)
    pipeline.train(train, probe)
    ours, theirs = (statistics.median(values[1:]) / BLOCK for values in (turns.ours, turns.theirs))
    report(
        "trainer_overhead",
        ratio=round(ours / theirs, 3),
        goal=1.10,
        seconds_per_step={"trainer": round(ours, 4), "bare": round(theirs, 4)},
        rounds=ROUNDS,
    )


def _bare(pipeline, train):
    """One step of a loop that does the same and nothing else."""
    budget, distiller = pipeline.config.budget, pipeline.distiller.train()
    parameters = [p for p in distiller.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=budget.learning_rate, weight_decay=budget.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.steps)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        rows = torch.randperm(len(train), generator=generator)[: budget.batch_size].tolist()
        distiller(**train.collate(rows))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, budget.max_grad_norm)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()

    return step


if __name__ == "__main__":
    main()
