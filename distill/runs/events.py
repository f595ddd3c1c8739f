"""What a run says while it goes on: typed events, one JSON object a line, appended to events.jsonl.

A kill may leave the last line half written; a resume records steps again. Readers and the writer both live with that.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from distill.config.errors import UserError
from distill.config.secrets import redacted

STATES = ("queued", "preparing", "training", "evaluating", "done", "stopping", "stopped", "failed", "crashed")
FINAL = frozenset({"done", "stopped", "failed", "crashed"})
WAITING = "waiting for a GPU"  # the reason of a run that is queued between two slices of ZeroGPU


@dataclass(frozen=True, kw_only=True)
class Event:
    """`t` is the Unix time in seconds; `step` where there is one is the number of optimiser steps done."""

    kind: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ("step",)  # what tells two events of a kind apart, but for a repeat after a resume
    t: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Status(Event):
    kind: ClassVar[str] = "status"
    state: str
    reason: str | None = None
    resumed_from: int | None = None  # step

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.state!r} is no state of a run; they are {', '.join(STATES)}")


@dataclass(frozen=True, kw_only=True)
class Stage(Event):
    kind: ClassVar[str] = "stage"
    name: str
    text: str
    done: float
    total: float
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metric(Event):
    kind: ClassVar[str] = "metric"
    step: int
    steps: int
    loss: float | None
    terms: dict[str, float | None] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    tokens: int = 0  # of this step
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    memory_mb: float | None = None
    seconds_left: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Probe(Event):
    """`cka`: {teacher: value}, on `n` texts, chance below `null95`; `gate`: {mean: {teacher}, by_family, entropy}.

    `layers`: {teacher: [student layer][teacher layer]}, the CKA of each with each on the same texts, layer 0 being the
    embeddings; only of the first look, the last one, and the one that a run was stopped after.
    """

    kind: ClassVar[str] = "probe"
    step: int
    n: int
    cka: dict[str, float | None]
    null95: float | None
    participation_ratio: float | None
    gate: dict[str, Any] | None = None
    haf: float | None = None
    loss: float | None = None  # the geometry loss on these texts, in deku mode
    layers: dict[str, list[list[float | None]]] | None = None


@dataclass(frozen=True, kw_only=True)
class Sample(Event):
    kind: ClassVar[str] = "sample"
    key: ClassVar[tuple[str, ...]] = ("step", "problem")
    step: int
    problem: str
    text: str
    right: bool
    question: str = ""  # "" in older runs, which asked the showcase
    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Event):
    """`phase` is before, during or after; `by_family`: {family: {n, correct, ...}}."""

    kind: ClassVar[str] = "evaluation"
    key: ClassVar[tuple[str, ...]] = ("step", "phase", "split")
    phase: str
    split: str
    step: int
    n: int
    correct: int
    accuracy: float | None
    ci95: list[float] | None
    by_family: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Warning(Event):
    kind: ClassVar[str] = "warning"
    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Error(Event):
    kind: ClassVar[str] = "error"
    text: str


KINDS: dict[str, type[Event]] = {
    event.kind: event for event in (Status, Stage, Metric, Probe, Sample, Evaluation, Warning, Error)
}
AnyEvent = TypeVar("AnyEvent", bound=Event)

_BATCH = 256  # lines decoded at once: other threads wait meanwhile
_NAMES = {event: tuple(item.name for item in fields(event)) for event in KINDS.values()}
BY_STEP = frozenset(event for event, names in _NAMES.items() if "step" in names)
# What readers count, sort or look into must be what it says it is, or a line is broken.
_WANTED = {"int": int, "int | None": (int, type(None)), "dict[str, float | None]": dict}
_CHECKED = {
    event: tuple((item.name, _WANTED[item.type]) for item in fields(event) if item.type in _WANTED)
    for event in KINDS.values()
}


def to_json(value: Any) -> str:
    """JSON on one line that every parser takes: NaN and infinities are null, scalars of numpy and torch numbers."""
    return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if not isinstance(value, (str, int, float, bool, type(None))) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


class EventWriter:
    """Appends events to a file, each with one unbuffered write, so that a kill loses none that was written.

    Several processes may append to one file. A last line that a kill or a full disk left half written is closed
    first, and so costs that line only. Secrets are taken out. Raises UserError where the file can't be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
            self._torn = _is_torn(self.path)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, event: Event) -> None:
        self.append(to_json({"t": event.t, "kind": event.kind, **asdict(event)}))

    def append(self, text: str) -> None:
        """An event as another writer wrote it, on one line without its end."""
        line = redacted(text).encode() + b"\n"
        with self._lock:
            data = b"\n" + line if self._torn else line
            try:
                self._torn = True
                while data:
                    data = data[self._stream.write(data) :]
                self._torn = False
            except OSError as error:
                raise self._failure(error) from error

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failure(self, error: OSError) -> UserError:
        remedy = "free some disk, then resume the run" if error.errno == errno.ENOSPC else "check who may write there"
        return UserError(f"{self.path} can't be written ({(error.strerror or str(error)).lower()}): {remedy}.")


def _is_torn(path: Path) -> bool:
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"


def read(path: str | os.PathLike[str], offset: int = 0) -> tuple[list[Event], int]:
    """The events after `offset` (bytes) and the offset to go on from. No file yet means no events.

    A half-written last line is left for the next call; a broken line or an unknown kind in the middle is skipped.
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.splitlines()
    found = [event for start in range(0, len(lines), _BATCH) for event in _parse_all(lines[start : start + _BATCH])]
    return found, offset + len(whole)


def parse(line: bytes | str) -> Event | None:
    """The event on a line, or None where there is none. Fields this version doesn't know are dropped."""
    try:
        return _event(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _parse_all(lines: list[bytes]) -> list[Event]:
    """The events on some lines. Together they are decoded faster, and their names are kept in memory once."""
    try:
        contents = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        contents = ()
    # One broken line spoils them all, so then each is looked at alone.
    found = map(_event, contents) if len(contents) == len(lines) else map(parse, lines)
    return [event for event in found if event]


def _event(content: Any) -> Event | None:
    try:
        event = KINDS[content["kind"]]
        known = {name: content[name] for name in _NAMES[event] if name in content}
        for name, wanted in _CHECKED[event]:
            if name in known and not isinstance(known[name], wanted):
                return None
        return event(**known)
    except (ValueError, KeyError, TypeError):
        return None


def key_of(event: Event) -> tuple[Any, ...]:
    """What tells it from others of its kind, but for its repeat after a resume."""
    return tuple(getattr(event, name) for name in event.key)


def latest_by_step(events: Iterable[Event], kind: type[AnyEvent]) -> list[AnyEvent]:
    """The events of a kind in the order of their steps; of one recorded twice, as after a resume, the later.

    What was recorded past the step a resume went on from is left out: those steps are trained again.
    """
    latest: dict[tuple[Any, ...], Any] = {}
    for event in events:
        if isinstance(event, kind):
            latest[key_of(event)] = event
        elif isinstance(event, Status) and event.resumed_from is not None:
            latest = {key: kept for key, kept in latest.items() if kept.step <= event.resumed_from}
    return sorted(latest.values(), key=lambda event: event.step)
