"""A run's events kept ready to be asked: by kind, by step, and a run's metrics as columns of numbers.

Each new event is put at the end once, so that asking costs the same however long the run is, and whoever asks gets a
snapshot that no later event changes: lists and columns are appended to, and made anew where an earlier part changes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import takewhile
from math import isnan, nan
from typing import Any

from distill.runs.events import BY_STEP, AnyEvent, Event, Metric, Probe, Status, key_of, latest_by_step

Columns = dict[str, "array[float]"]
_PLAIN = ("loss", "learning_rate", "tokens_per_second", "memory_mb", "grad_norm")  # a metric's own numbers
_EMPTY = memoryview(array("d")).toreadonly()


class Snapshot:
    """A timeline at one moment. Any number of threads may read it, whatever becomes of the timeline.

    `first` is the first event recorded; `reached` the one that last said how far training is: a Metric, a Probe, or the
    Status of a resume. None before there is one.
    """

    def __init__(
        self,
        events: list[Event],
        reached: Event | None,
        last: dict[type[Event], Event],
        series: dict[type[Event], tuple[list[Any], int]],
        columns: Columns,
    ) -> None:
        self._events, self._length, self.reached = events, len(events), reached
        self.first = events[0] if events else None
        self._last, self._series, self._columns = last, series, columns
        self._cut: dict[str, memoryview] = {}

    @cached_property
    def events(self) -> Sequence[Event]:
        """Everything recorded, in order; copied for the first who asks."""
        return self._events[: self._length]

    def last(self, kind: type[AnyEvent]) -> AnyEvent | None:
        """The newest event of a kind (Event: of any), or None."""
        return self._last.get(kind)

    def series(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of a kind by step, as `events.latest_by_step`; of a kind without steps all, as recorded."""
        items, length = self._series.get(kind, ([], 0))
        return items[:length]

    @property
    def names(self) -> list[str]:
        """The columns there are, in the order in which they came: those in which a number has been recorded."""
        return [name for name in self._columns if name != "steps"]

    def columns(self, name: str) -> tuple[memoryview, memoryview]:
        """(steps, values) of the metrics' column `name`, each of float64 [n], read-only, as `numpy.asarray` takes it.

        `name` is loss, learning_rate, tokens_per_second, memory_mb, grad_norm, term:<name> or metric:<name>. A step
        without a number is NaN. Both are empty where the column isn't there (yet).
        """
        if name not in self._columns:
            return _EMPTY, _EMPTY
        return self._column("steps"), self._column(name)

    def _column(self, name: str) -> memoryview:
        # Copied once for all readers: an array can't grow while somebody holds a memoryview of it.
        found = self._cut.get(name)
        if found is None:
            length = self._series[Metric][1]
            found = self._cut[name] = memoryview(self._columns[name][:length]).toreadonly()
        return found


def _number(value: Any) -> float:
    """`value` as a float, NaN where it is no number: the file may have been written by anything."""
    try:
        return float(value) if isinstance(value, (int, float)) else nan
    except OverflowError:
        return nan


class Timeline:
    """Takes a run's events as they are read. For one thread at a time; the snapshots it gives are for any."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: list[Event] = []
        self._reached: Event | None = None
        self._last: dict[type[Event], Event] = {}
        self._series: dict[type[Event], list[Any]] = {}
        self._columns: Columns = {"steps": array("d")}  # row i of each is metric i
        self._snapshot: Snapshot | None = None
        self.extend(events)

    def extend(self, events: Iterable[Event]) -> None:
        """Append `events`, in the order in which they were recorded.

        O(1) for each that is recorded in the order of its steps. One that comes out of order, or a resume from before
        what is known, costs one look through all events.
        """
        anew: set[type[Event]] = set()  # kinds of which more than the end changes
        for event in events:
            kind = type(event)
            self._events.append(event)
            self._last[kind] = self._last[Event] = event
            series = self._series.setdefault(kind, [])
            if kind in BY_STEP and series and series[-1].step >= event.step and not _follows(series, event):
                anew.add(kind)
            series.append(event)
            if kind is Metric:
                self._add_row(event)
            if kind is Metric or kind is Probe:
                self._reached = event
            elif kind is Status and event.resumed_from is not None:
                self._reached = event
                past = (one for one in BY_STEP if (of := self._series.get(one)) and of[-1].step > event.resumed_from)
                anew.update(past)
            self._snapshot = None
        for kind in anew:
            self._series[kind] = latest_by_step(self._events, kind)
        if Metric in anew:
            self._columns = {name: array("d") for name in self._columns}
            for metric in self._series[Metric]:
                self._add_row(metric)

    def snapshot(self) -> Snapshot:
        """What is known now; the same object until there is something new. O(kinds + columns)."""
        if self._snapshot is None:
            self._snapshot = Snapshot(
                self._events,
                self._reached,
                self._last.copy(),
                {kind: (series, len(series)) for kind, series in self._series.items()},
                self._columns.copy(),
            )
        return self._snapshot

    def _add_row(self, event: Metric) -> None:
        """The numbers of a metric, each at the end of its column; a column that wasn't there yet is NaN so far."""
        values: dict[str, Any] = {"steps": event.step}
        for name in _PLAIN:
            values[name] = getattr(event, name)
        for name, value in event.terms.items():
            values["term:" + name] = value
        for name, value in event.metrics.items():
            values["metric:" + name] = value
        for name, value in values.items():
            if type(value) is not float:
                values[name] = value = _number(value)
            if name not in self._columns and not isnan(value):
                self._columns[name] = array("d", [nan]) * len(self._columns["steps"])
        for name, column in self._columns.items():
            column.append(values.get(name, nan))


def _follows(series: list[Any], event: Any) -> bool:
    """Whether `event` is of the last step of `series`, and repeats none of that step."""
    same = takewhile(lambda one: one.step == event.step, reversed(series))
    return series[-1].step == event.step and key_of(event) not in map(key_of, same)
