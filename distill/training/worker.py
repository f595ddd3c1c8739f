"""The worker: `python -m distill.training.worker FOLDER [--in-turn]` carries out a run and says so in events.jsonl.

It owns the process: the claim on the folder, signals, threads, states and exit statuses (0 done, 1 failed, 2 wrong
config, 130 stopped). What a run does is pipeline.py's; who watches is nobody's business here. It never imports gradio.

    accelerate launch [--use_fsdp] -m distill.training.worker FOLDER        or torchrun

carries it out on all GPUs: the run is the same run, step by step. The main process claims the folder and writes there;
the others write only why they failed, if they were the first to. A run that has ended before its goal goes on.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from distill.config import run_config as configs
from distill.config.errors import ConfigError, ShouldStop, Stopped, UserError
from distill.config.files import sweep
from distill.config.secrets import guard_output
from distill.models import distributed, references
from distill.models.hardware import Machine
from distill.runs import queue
from distill.runs.events import Error, Event, EventWriter, Status
from distill.runs.format import duration
from distill.runs.preflight import check_room
from distill.runs.process import claim
from distill.runs.store import STOP_AFTER
from distill.runs.views import view

DONE, FAILED, WRONG_CONFIG, STOPPED = 0, 1, 2, 130
_GRACE = 600.0  # seconds to save in, for a worker that has worked as long as it may
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(arguments: list[str] | None = None) -> int:
    """Work on the run in the folder named first, now or in its turn; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[1:] not in ([], ["--in-turn"]):
        print("usage: python -m distill.training.worker FOLDER [--in-turn]", file=sys.stderr)
        return WRONG_CONFIG
    folder, in_turn = Path(arguments[0]).resolve(), len(arguments) > 1
    stop = StopFlag(folder / "STOP", _seconds_allowed())
    try:
        distributed.join()
        distributed.by_main(lambda: _claim(folder))
    except distributed.Elsewhere:
        return FAILED
    except UserError as error:
        print(error, file=sys.stderr)
        return WRONG_CONFIG if isinstance(error, ConfigError) else FAILED
    try:
        with (EventWriter if distributed.is_main() else Mute)(folder / "events.jsonl") as writer:
            status = _work(folder, writer, stop, in_turn, stop.last_word)
        if status in (DONE, STOPPED):
            distributed.leave()
        return status
    except UserError as error:  # events can't be written: stdout.log is all that is left to say it in
        print(error, file=sys.stderr)
        return FAILED


class Mute(EventWriter):
    """What a process that isn't the main one says goes unheard: the main one says the same."""

    def write(self, event: Event) -> None:
        pass


class StopFlag:
    """Whether somebody asked to stop: by the file STOP, by SIGINT or by SIGTERM; or it has worked as long as it may.

    `seconds`: how long that is from `begin()` on, None for as long as it takes.
    """

    def __init__(self, path: Path, seconds: float | None = None):
        self.path = path
        self.seconds = seconds
        self.signalled = False
        self._ends: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.signalled = True

    def begin(self) -> None:
        """Its turn has come: from now on its time counts. What hears of no end, as a download may, is ended later."""
        if self.seconds is None:
            return
        self._ends = time.monotonic() + self.seconds
        last = threading.Timer(
            self.seconds + _GRACE, os.kill, (os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        )
        last.daemon = True
        last.start()

    @property
    def is_late(self) -> bool:
        return self._ends is not None and time.monotonic() > self._ends

    def __call__(self) -> bool:
        return self.signalled or self.is_late or self.path.exists()

    def last_word(self) -> Status:
        """What is said when all is saved."""
        if not self.is_late or self.signalled or self.path.exists():
            return _stopped()
        reason = (
            f"saved and stopped after {duration(self.seconds)}, the longest that a visitor's run may take at a time "
            "here; resume continues from here, after those that wait"
        )
        return Status(state="stopped", reason=reason)


def _seconds_allowed() -> float | None:
    """How long this worker may work (s), None for as long as it takes."""
    said = os.environ.get(STOP_AFTER)
    return float(said) if said else None


def _stopped() -> Status:
    return Status(state="stopped", reason="stopped on request; resume continues from here")


def work(folder: Path, stop: ShouldStop, last_word: Callable[[], Status] = _stopped) -> int:
    """Work at once, in this process, on a run that is claimed already; the exit status.

    `last_word()`: what is said in the end of a run that `stop()` has ended with everything saved.
    """
    with EventWriter(folder / "events.jsonl") as writer:
        return _work(folder, writer, stop, False, last_word)


def _work(
    folder: Path, writer: EventWriter, stop: ShouldStop, in_turn: bool, last_word: Callable[[], Status] = _stopped
) -> int:
    kept: list = []  # the pipeline, once there is one, for what can be saved of a failure
    try:
        return _carry_out(folder, writer, stop, kept, in_turn, last_word)
    except distributed.Elsewhere:
        return FAILED
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        if distributed.first_to_fail():
            reason = reason_for(error, folder)
            with EventWriter(folder / "events.jsonl") if isinstance(writer, Mute) else nullcontext(writer) as heard:
                heard.write(Error(text=reason))
                if kept:
                    from distill.training.artifacts import report_failure

                    report_failure(kept[0])
                heard.write(Status(state="failed", reason=reason))
        return WRONG_CONFIG if isinstance(error, ConfigError) else FAILED


def _carry_out(
    folder: Path,
    writer: EventWriter,
    stop: ShouldStop,
    kept: list,
    in_turn: bool,
    last_word: Callable[[], Status] = _stopped,
) -> int:
    try:
        distributed.by_main(lambda: queue.take(folder, in_turn, stop))
    except Stopped:
        writer.write(Status(state="stopped", reason="stopped while it waited for its turn; resume queues it again"))
        return STOPPED
    if isinstance(stop, StopFlag):
        stop.begin()
    config = configs.load(folder / "config.yaml")
    references.check_models(config)
    student = check_room(config, _machine(folder))[0]
    _check_shared(config)
    from distill.training.artifacts import keep_model  # torch from here on, and only for a run that can start

    # Quantised weights are unpacked to float32 on a CPU, and shared ones stay as they are.
    plain = not (config.lora.quantize or distributed.is_sharded())
    pipeline = _pipeline(folder, config, student.parameters if plain else None, writer, stop)
    kept.append(pipeline)
    try:
        pipeline.run()
    except Stopped:
        if distributed.has_failed():  # the launcher ends the others where one has failed, and that has been said
            return FAILED
        if last_word().state == "stopped":
            writer.write(Status(state="stopping"))
        distributed.by_main(lambda: keep_model(pipeline, finished=False))
        writer.write(last_word())
        return STOPPED
    distributed.by_main(lambda: keep_model(pipeline, finished=True))
    writer.write(Status(state="done"))
    return DONE


def _pipeline(folder: Path, config: configs.RunConfig, parameters: int | None, writer: EventWriter, stop: ShouldStop):
    import torch
    from transformers.utils import logging as transformers_logging

    from distill.models.hardware import detect
    from distill.training.pipeline import Pipeline

    hardware = detect().suited_to(parameters)
    if distributed.size() > 1:
        hardware = replace(hardware, description=f"{distributed.size()} processes, each on: {hardware.description}")
    if hardware.device == "zerogpu":  # a GPU is lent to slices alone
        raise UserError("On a ZeroGPU Space a run gets a GPU from the page alone: start it or resume it there.")
    threads = config.budget.threads or max(1, hardware.cores // distributed.processes_here())
    torch.set_num_threads(threads)
    if hardware.device == "cpu":
        torch.use_deterministic_algorithms(True)  # the same seed gives the same bytes
        torch.utils.deterministic.fill_uninitialized_memory = False  # for finding mistakes; it costs a tenth of a step
    transformers_logging.set_verbosity_error()
    logging.captureWarnings(True)
    return Pipeline(folder, config, hardware, writer, stop)


def _claim(folder: Path) -> None:
    """Claim the folder; where a run there has ended, it was stopped for the last time: now it goes on."""
    ended = distributed.size() > 1 and view(folder).final
    claim(folder)
    sweep(folder)
    if ended:
        (folder / "STOP").unlink(missing_ok=True)


def _machine(folder: Path) -> Machine:
    """This machine; a student that is spread over its GPUs has the memory of all."""
    machine = Machine.here(folder.parent)
    if not (distributed.is_sharded() and machine.gpu_gb):
        return machine
    return replace(machine, gpu_gb=machine.gpu_gb * distributed.size())


def _check_shared(config: configs.RunConfig) -> None:
    """Raise ConfigError where the run would not be the same run on several processes."""
    if distributed.size() == 1:
        return
    if distributed.is_sharded() and config.lora.quantize:
        raise ConfigError("A quantised student can't be spread over GPUs: remove lora.quantize, or --use_fsdp.")
    batch_size, _ = distributed.shares(config.budget.batch_size, config.budget.accumulation)
    for method in config.objectives:
        wrong = method.check_processes(distributed.size(), batch_size, config)
        if wrong:
            raise ConfigError(wrong)


def reason_for(error: BaseException, folder: Path) -> str:
    """One sentence on why a run failed."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"The disk is full, or a quota is: make room on the disk of {folder} and resume."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "There was not enough memory: lower budget.batch_size (and raise budget.accumulation) and resume."
    if "No space left" in str(error) or "File too large" in str(error):  # what safetensors and torch make of it
        return f"The disk is full, or a quota is: make room on the disk of {folder} and resume."
    if distributed.size() > 1 and ("losed by peer" in str(error) or "onnection reset" in str(error)):
        return (
            "Another process of this run ended unexpectedly: resume the run, which continues from its last checkpoint."
        )
    first = str(error).strip().split("\n")[0][:300]
    return f"Something unexpected went wrong ({type(error).__name__}: {first}): stdout.log in {folder} has the details."


if __name__ == "__main__":
    guard_output()  # what a library prints or a traceback says goes to stdout.log
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
