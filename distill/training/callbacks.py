"""What a run says while it trains: a metric event a step, a probe and answers every so often, and whether to stop.

The trainer doesn't know of events; this is where they are written. A step's numbers are written before the next begins.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from transformers import TrainerCallback

from distill.models.distributed import any_of
from distill.models.hardware import give_back_memory, memory_mb
from distill.runs import events
from distill.training.probe import Probe
from distill.training.trackers import numbers
from distill.training.trainer import DistillTrainer


class EpochKeeper(TrainerCallback):
    """Has `save(folder)` keep the adapter in `folder`/1, `folder`/2, ..., at the end of each epoch of `steps` steps.

    Written aside and renamed, and before the step's checkpoint: whatever a run goes on from, the epochs before it are
    kept whole.
    """

    def __init__(self, folder: Path, steps: int, save: Callable[[Path], None]):
        self.folder = folder
        self.steps = steps
        self.save = save

    def on_step_end(self, args, state, control, **kwargs):
        epoch, rest = divmod(state.global_step, self.steps)
        if rest or not state.is_world_process_zero:
            return
        unfinished, final = self.folder / "unfinished", self.folder / str(epoch)
        shutil.rmtree(unfinished, ignore_errors=True)
        self.save(unfinished)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)


class MemoryKeeper(TrainerCallback):
    """Gives memory that was freed back to the system, wherever a GiB more is held than after it last did so.

    glibc keeps what is freed for the next step. Texts are never as long as the last ones, so its heap goes to pieces,
    and grows: to twice as much in 360 steps of a student of 135M parameters. Smaller models never come so far.
    """

    def __init__(self, most: float = 1024.0):
        self.most = most  # MiB
        self._held = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        give_back_memory()
        self._held = memory_mb()

    def on_step_end(self, args, state, control, **kwargs):
        if memory_mb() - self._held > self.most and give_back_memory():
            self._held = memory_mb()


class Reporter(TrainerCallback):
    """Writes events to `writer`; asks `should_stop()` at each step; at some, has `on_answers(step)` ask the student.

    What it gives is written too. `tracked`: the numbers go to the trainer's log too, for whoever listens there.

    `probe_seconds` and `answer_seconds` are what the probe and the answers have taken so far.
    """

    def __init__(
        self,
        writer: events.EventWriter,
        should_stop: Callable[[], bool],
        probe: Probe | None,
        every: int,
        on_answers: Callable[[int], Iterable[events.Event]],
        warned: Iterable[str] = (),
        tracked: bool = False,
    ):
        self.writer = writer
        self.should_stop = should_stop
        self.probe = probe
        self.every = every
        self.on_answers = on_answers
        self.tracked = tracked
        self.trainer: DistillTrainer | None = None
        self.probe_seconds = self.answer_seconds = 0.0
        self._step_began = 0.0
        self._pace: float | None = None  # seconds a step, smoothed
        self._warned = set(warned)  # codes, those of earlier sittings too: each is said once

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self._look(0)
        self._step_began = time.monotonic()  # a look isn't part of a step's pace

    def on_step_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        now = time.monotonic()
        seconds = max(now - self._step_began, 1e-6)
        self._pace = seconds if self._pace is None else 0.8 * self._pace + 0.2 * seconds
        weights = {kind: o.weight for kind, o in trainer.model.objectives.items()}
        self._say(
            events.Metric(
                step=state.global_step,
                steps=state.max_steps,
                loss=sum(weights.get(name, 0.0) * value for name, value in trainer.step_terms.items()),
                terms=trainer.step_terms,
                metrics=trainer.step_metrics,
                learning_rate=trainer.lr_scheduler.get_last_lr()[0],
                tokens=trainer.step_tokens,
                tokens_per_second=trainer.step_tokens / seconds,
                memory_mb=memory_mb(),
                grad_norm=trainer.grad_norm,
                seconds_left=self._pace * (state.max_steps - state.global_step),
            )
        )
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)
        if any_of(self.should_stop()):  # all processes leave after the same step
            if state.global_step < state.max_steps:  # what is kept now is looked at as the end of a run is
                self._measure(state.global_step, layers=True)
            control.should_training_stop = control.should_save = True
        if state.global_step == state.max_steps:
            control.should_save = True
        self._step_began = time.monotonic()
        return control

    def _say(self, event: events.Event) -> None:
        self.writer.write(event)
        said = numbers(event) if self.tracked else {}
        if said:
            self.trainer.log(said)
            self.trainer.state.log_history.clear()  # every checkpoint would keep all of it once more

    def _look(self, step: int) -> None:
        last = step == self.trainer.state.max_steps
        self._measure(step, layers=step == 0 or last)
        if (step // self.every) % 2 == 0 or last:  # answers cost as much as the probe: every other time will do
            began = time.monotonic()
            for event in self.on_answers(step):
                self._say(event)
            self.answer_seconds += time.monotonic() - began

    def _measure(self, step: int, layers: bool) -> None:
        """A probe event, and what it gives reason to warn of; `layers` as `Probe.measure` has it."""
        if self.probe is None:
            return
        began = time.monotonic()
        reading = self.probe.measure(self.trainer.model, layers)  # every process looks at the same, and one writes
        self._say(events.Probe(step=step, **asdict(reading)))
        for code, text in self.probe.warnings():
            if code not in self._warned:
                self._warned.add(code)
                self.writer.write(events.Warning(code=code, text=text))
        self.probe_seconds += time.monotonic() - began
