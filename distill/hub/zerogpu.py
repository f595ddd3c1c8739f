"""ZeroGPU: runs are carried out in slices of GPU time, each of the quota of the visitor who asks, and answers too.

ZeroGPU lends a process that is forked from the page a GPU for a minute or two. A slice does there what a worker does in
a process of its own, with the worker's own code and files, so a run that goes on in slices is stopped, resumed, watched
and broken off as any other. Between slices: the turn, downloads, and what is said of a run that gets no GPU. Only this
module imports `spaces`, and only on ZeroGPU; elsewhere its functions are there and nobody needs them.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import run_config as configs
from distill.config.errors import Stopped, UserError
from distill.config.limits import limit
from distill.config.paths import home
from distill.config.secrets import Redacting
from distill.hub.fetch import fetch, fetch_models
from distill.models import references
from distill.models.hardware import enter_slice, is_zerogpu
from distill.runs import queue
from distill.runs.events import WAITING, Error, EventWriter, Stage, Status
from distill.runs.process import claim, live_process, release, remember
from distill.runs.views import view
from distill.training.worker import reason_for, work

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef

if is_zerogpu():
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a forked process must not wait for the page's threads
    import spaces  # before anything touches CUDA

    _gpu = spaces.GPU
else:

    def _gpu(duration: Any) -> Callable[[Any], Any]:
        return lambda task: task


SLICE, SHORTEST = 120.0, 30.0  # seconds of GPU time asked for at once; where that is too much, half of it, down to this
ANSWERING = 60  # seconds, for one question to the student or to a teacher
LEFT = "the page it was trained from was closed; resume continues from here"
ASKED = "stopped on request; resume continues from here"
LATE = "saved and stopped after the longest time that a visitor's run may take here; resume continues from here"

_BEAT = 1.0  # seconds between two signs of life of a run
_SLICE_BEAT = 0.2  # the same of a slice: a generator can be closed only while it gives one
_IDLE = 2  # slices in a row that may end with nothing to show
_FILE = "slices.json"  # in a run's folder: how long its last slice took to save


# --- one slice -------------------------------------------------------------------------------------------------------


class Deadline:
    """Whether a slice has to end: it was asked to, or its time is up but for what saving takes.

    It looks ahead by what lay between two questions, such as a training step.
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder = folder
        self.left = False  # whether whoever asked for the slice has gone
        self.reached: float | None = None  # when the time was up
        self._ends = time.monotonic() + seconds - min(seconds / 2, 0.1 * seconds + 1.5 * _saving(folder))
        self._asked: float | None = None
        self._between = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._asked is not None:
            self._between = max(now - self._asked, 0.9 * self._between)
        self._asked = now
        if self.reached is None and now + self._between > self._ends:
            self.reached = now
        return self.reached is not None or self.left or (self.folder / "STOP").exists()

    def last_word(self) -> Status:
        """What is said of the run when all is saved."""
        if (self.folder / "STOP").exists():
            return Status(state="stopped", reason=ASKED)
        return Status(state="stopped", reason=LEFT) if self.left else Status(state="queued", reason=WAITING)


def in_slice(folder: Path, seconds: float) -> Iterator[None]:
    """Go on with a run, claimed already, for `seconds` at most; yields every moment. Closed, it saves and ends."""
    stop = Deadline(folder, seconds)
    remember(folder, os.getpid())
    thread = threading.Thread(target=copy_context().run, args=(_work, folder, stop), name=f"slice of {folder}")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_SLICE_BEAT)
            yield
    finally:
        stop.left = True
        thread.join()


@contextmanager
def log_of(folder: Path) -> Iterator[Any]:
    """What a run's stdout.log is added to through."""
    with (folder / "stdout.log").open("a", encoding="utf-8", buffering=1) as file:
        yield Redacting(file)


def _work(folder: Path, stop: Deadline) -> None:
    with log_of(folder) as log, redirect_stdout(log), redirect_stderr(log):
        work(folder, stop, stop.last_word)
    if stop.reached is not None:
        saving = time.monotonic() - stop.reached
        (folder / _FILE).write_text(json.dumps({"saving": round(saving, 2)}), encoding="utf-8")
    from accelerate.utils import release_memory

    release_memory()  # the process may be lent a GPU again


def _saving(folder: Path) -> float:
    """Seconds that the last slice took to save."""
    try:
        return float(json.loads((folder / _FILE).read_text(encoding="utf-8"))["saving"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def kept(folder: Path) -> list[Any]:
    """What is different once a slice has kept something: answers, checkpoints, what teachers said."""
    answers = [(path.name, path.stat().st_size) for path in sorted(folder.glob("answers*.json*"))]
    steps = sorted(path.name for path in folder.glob("checkpoints/checkpoint-*"))
    return [answers, steps, *(sum(1 for _ in (home().cache / bank).rglob("*.*")) for bank in ("signals", "responses"))]


# --- runs ------------------------------------------------------------------------------------------------------------


def take_charge(folder: Path, in_turn: bool = True) -> None:
    """What `store.start` and `store.resume` do on ZeroGPU in place of starting a worker: this process has the run."""
    claim(folder)


def carry_out(folder: Path, seconds: float | None = None, token: str | None = None) -> Iterator[None]:
    """Carry out a run that this process has taken charge of, slice after slice; yields every second until it ends.

    Call it within the event of the visitor whose quota is used: the slices run in its context. Close it when they are
    gone: the slice saves and ends soon after, and the run can be resumed. Whatever goes wrong is said in the run.
    Nothing is done for a run that another process has. `token`: what its models are fetched with; slices, which find
    them here, get none.
    """
    process = live_process(folder)
    if process is None or process.pid != os.getpid():
        return (beat for beat in ())  # can be closed, as the other
    slices = _Slices(Path(folder).resolve(), SLICE if seconds is None else seconds, token)
    # In a thread, as a generator is closed in the page's event loop, which must not wait for a slice to be saved.
    thread = threading.Thread(target=copy_context().run, args=(slices.carry_out,), daemon=True, name=f"run {folder}")
    thread.start()

    def beats() -> Iterator[None]:
        try:
            while thread.is_alive():
                yield
                thread.join(_BEAT)
        finally:
            slices.left = True

    following = beats()
    next(following, None)  # begun, so that closing it is heard
    return following


class _Slices:
    """A run on its way through its slices."""

    def __init__(self, folder: Path, seconds: float, token: str | None):
        self.folder = folder
        self._token = token
        self.seconds = seconds
        self.left = False  # whether whoever asked for them has gone
        self._ends = math.inf  # on the clock of time.monotonic

    def carry_out(self) -> None:
        """To the run's end, which is said in the run whatever it is."""
        try:
            with EventWriter(self.folder / "events.jsonl") as writer:
                last = self._end(writer)
                if last is not None:
                    writer.write(last)
        finally:
            release(self.folder)

    def _end(self, writer: EventWriter) -> Status | None:
        """The run's last word, None where a slice has said it."""
        turn = None
        try:
            turn = queue.take(self.folder, True, self._should_stop)
            self._ends = time.monotonic() + limit("RUN_HOURS") * 3600
            self._prepare(writer)
            return self._go_on(writer)
        except Stopped:
            return Status(state="stopped", reason=LEFT if self.left else LATE if self._is_late() else ASKED)
        except Exception as error:
            last = refusal(error)
            if last is None:
                with log_of(self.folder) as log:
                    traceback.print_exc(file=log)
                last = Status(state="failed", reason=reason_for(error, self.folder))
                writer.write(Error(text=last.reason))
            return last
        finally:
            if turn is not None:
                queue.give_back(turn)

    def _should_stop(self) -> bool:
        return self.left or self._is_late() or (self.folder / "STOP").exists()

    def _is_late(self) -> bool:
        return time.monotonic() > self._ends

    def _prepare(self, writer: EventWriter) -> None:
        """All that needs no GPU, as its seconds count: models and data are fetched, libraries imported."""
        writer.write(Status(state="preparing"))

        def progress(text: str) -> Callable[[int, int], None]:
            return lambda done, total: writer.write(Stage(name="load", text=text, done=done, total=total))

        config = configs.load(self.folder / "config.yaml")
        references.check_models(config)
        fetch(config, progress, self._should_stop, self._token)
        import distill.training.artifacts
        import distill.training.pipeline  # noqa: F401

    def _go_on(self, writer: EventWriter) -> Status | None:
        writer.write(Status(state="queued", reason=WAITING))
        idle = 0
        while idle < _IDLE:
            if self._should_stop():
                raise Stopped
            before = kept(self.folder)
            self._slice()
            if view(self.folder).state != "queued":
                return None
            idle = idle + 1 if kept(self.folder) == before else 0
        reason = (
            f"{idle} slices of {self.seconds:.0f} s on a GPU went by in a row and nothing could be saved: a new run "
            "with a lower evaluation.batch_size, budget.batch_size or length of answers has more to save."
        )
        return Status(state="failed", reason=reason)

    def _slice(self) -> None:
        """One slice, or a shorter one where the visitor may have no more."""
        while True:
            try:
                with closing(_train(str(self.folder), self.seconds)) as beats:
                    for _ in beats:
                        if self.left:
                            break  # closed, it saves
                return
            except Exception as error:
                if not _asks_too_much(error) or self.seconds <= SHORTEST:
                    raise
                self.seconds = max(SHORTEST, self.seconds / 2)
            finally:
                remember(self.folder, os.getpid())


@_gpu(duration=lambda folder, seconds: math.ceil(seconds))
def _train(folder: str, seconds: float) -> Iterator[None]:
    enter_slice()
    yield from in_slice(Path(folder), seconds)


def refusal(error: Exception) -> Status | None:
    """What is said of a run that ZeroGPU lends no GPU any more; None for what is none of its errors."""
    title, said = _said(error)
    if not title.startswith("ZeroGPU"):
        return None
    if title == "ZeroGPU worker error":
        reason = (
            f"the GPU was taken away in the middle of a slice ({said}): resume continues from what was saved before"
        )
        return Status(state="crashed", reason=reason)
    if _asks_too_much(error):
        return Status(state="stopped", reason=f"the GPU quota is used up ({said}); resume continues from here")
    return Status(state="stopped", reason=f"no GPU is available now ({said}); resume continues from here")


def _asks_too_much(error: Exception) -> bool:
    """Whether it is of the visitor's quota: then less may be granted."""
    title, said = _said(error)
    return title in ("ZeroGPU quota exceeded", "ZeroGPU illegal duration") and not said.startswith("No GPU")


def _said(error: Exception) -> tuple[str, str]:
    """(title, message) of an error of `spaces`: gradio's, which is not imported here."""
    title, said = getattr(error, "title", None), str(getattr(error, "message", error))
    return str(title or ""), " ".join(said.split()).rstrip(".")


# --- answers ---------------------------------------------------------------------------------------------------------


def both(run_folder: Path, question: str, max_new_tokens: int | None = None) -> Iterator[Any]:
    """As side_by_side.both, on a GPU that is lent for it."""
    _ready(configs.load(run_folder / "config.yaml").student)
    yield from _told(_answers("both", run_folder, question, max_new_tokens))


def answer_as_teacher(ref: ModelRef, question: str, max_new_tokens: int) -> Iterator[Any]:
    """As side_by_side.answer_as_teacher, on a GPU that is lent for it."""
    _ready(ref)
    yield from _told(_answers("answer_as_teacher", ref, question, max_new_tokens))


@_gpu(duration=ANSWERING)
def _answers(ask: str, *arguments: Any) -> Iterator[Any]:
    """What the function `ask` of side_by_side yields.

    What is wrong is the last of it: of what is raised, `spaces` tells the class alone.
    """
    enter_slice()
    from distill.evaluation import side_by_side

    try:
        with closing(getattr(side_by_side, ask)(*arguments)) as steps:
            yield from steps
    except UserError as error:
        yield error


def _ready(ref: ModelRef) -> None:
    """Fetch a model, and import what it is loaded with, while no GPU waits."""
    fetch_models([ref], lambda text: lambda done, total: None)
    import distill.evaluation.side_by_side  # noqa: F401


def _told(steps: Iterator[Any]) -> Iterator[Any]:
    with closing(steps):
        for step in steps:
            if isinstance(step, UserError):
                raise step
            yield step
