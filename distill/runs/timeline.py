"""A run's events kept ready to be asked: by kind, by step, and a run's metrics as columns of numbers.

Each new event is put in its place once, so that asking costs the same however long the run is, and whoever asks gets a
snapshot that no later event changes. This module knows nothing of files, of run folders or of who asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from math import isnan, nan
from operator import attrgetter
from typing import Any

from distill.runs.events import AnyEvent, Event, Metric, Probe, Status

Columns = dict[str, "array[float]"]
_STEP = attrgetter("step")
_PLAIN = ("loss", "learning_rate", "tokens_per_second", "memory_mb", "grad_norm")  # a metric's own numbers


class Events(Sequence[Event]):
    """The first `length` items of a list that is appended to and never changed otherwise; nothing is copied."""

    __slots__ = ("_items", "_length")

    def __init__(self, items: list[Event], length: int) -> None:
        self._items, self._length = items, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            # A backward slice that reaches the first item stops at -1, which a list would take for its last.
            return tuple(self._items[start : None if stop < 0 else stop : step])
        if not -self._length <= index < self._length:
            raise IndexError(f"there are {self._length} events, and {index} is not one of them")
        return self._items[index + self._length if index < 0 else index]

    def __iter__(self) -> Iterator[Event]:
        return islice(iter(self._items), self._length)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Events, tuple, list)):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))


class Snapshot:
    """A timeline at one moment. Any number of threads may read it, whatever becomes of the timeline.

    `events` is everything recorded, in order; `reached` is the event that last said how far training is: a Metric, a
    Probe, or the Status of a resume; None before there is one.
    """

    def __init__(
        self,
        events: Events,
        reached: Event | None,
        last: dict[type[Event], Event],
        series: dict[type[Event], tuple[list[Any], int]],
        columns: Columns,
    ) -> None:
        self.events, self.reached = events, reached
        self._last, self._series, self._columns = last, series, columns
        self._cut: dict[str, memoryview] = {}

    def last(self, kind: type[AnyEvent]) -> AnyEvent | None:
        """The newest event of a kind, or None."""
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


_EMPTY = memoryview(array("d")).toreadonly()


class _Recorded:
    """The events of a kind that has no steps: all of them."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.shared = 0  # so many items are a snapshot's too: none of them may be changed in place

    def add(self, event: Any) -> None:
        self.items.append(event)

    def cut(self, step: int) -> None:
        """Leave out what was recorded past a step; here, nothing has one."""


class _BySteps(_Recorded):
    """The events of a kind by step, each in its place as it comes: what `events.latest_by_step` gives."""

    def __init__(self, kind: type[Event]) -> None:
        super().__init__()
        self._key = attrgetter(*kind.key)

    def add(self, event: Any) -> None:
        items = self.items
        if not items or items[-1].step < event.step:
            self._insert(len(items), event)
            return
        end = place = bisect_right(items, event.step, key=_STEP)
        while place and items[place - 1].step == event.step:
            place -= 1
            if self._key(items[place]) == self._key(event):
                self._own(place)
                self._replace(place, event)
                return
        self._own(end)
        self._insert(end, event)

    def cut(self, step: int) -> None:
        end = bisect_right(self.items, step, key=_STEP)
        if end < len(self.items):
            self._own(end)
            self._drop(end)

    def _own(self, place: int) -> None:
        """Make what is at and after `place` free to be changed."""
        if place < self.shared:
            self._copy()
            self.shared = 0

    def _copy(self) -> None:
        self.items = self.items.copy()

    def _insert(self, place: int, event: Any) -> None:
        self.items.insert(place, event)

    def _replace(self, place: int, event: Any) -> None:
        self.items[place] = event

    def _drop(self, place: int) -> None:
        del self.items[place:]


class _Metrics(_BySteps):
    """Metrics by step, and beside them a column for every number they hold; row i of each is items[i]."""

    def __init__(self, kind: type[Event]) -> None:
        super().__init__(kind)
        self.columns: Columns = {"steps": array("d")}

    def _copy(self) -> None:
        super()._copy()
        self.columns = {name: column[:] for name, column in self.columns.items()}

    def _insert(self, place: int, event: Metric) -> None:
        values = self._values(event)
        for name, column in self.columns.items():
            column.insert(place, values.get(name, nan))
        super()._insert(place, event)

    def _replace(self, place: int, event: Metric) -> None:
        values = self._values(event)
        for name, column in self.columns.items():
            column[place] = values.get(name, nan)
        super()._replace(place, event)

    def _drop(self, place: int) -> None:
        super()._drop(place)
        for column in self.columns.values():
            del column[place:]

    def _values(self, event: Metric) -> dict[str, float]:
        """The numbers of a metric by column; a column that wasn't there yet is made, of NaN so far."""
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
            if name not in self.columns and not isnan(value):
                self.columns[name] = array("d", [nan]) * len(self.items)
        return values


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
        self._metrics = _Metrics(Metric)
        self._series: dict[type[Event], _Recorded] = {Metric: self._metrics}
        self._snapshot: Snapshot | None = None
        self.extend(events)

    def extend(self, events: Iterable[Event]) -> None:
        """Append `events`, in the order in which they were recorded.

        O(1) for each that is recorded in the order of its steps. One that comes out of order, or a resume from before
        what the last snapshot holds, costs one copy of its kind's series.
        """
        for event in events:
            kind = type(event)
            self._events.append(event)
            self._last[kind] = self._last[Event] = event
            (self._series.get(kind) or self._add(kind)).add(event)
            if kind is Metric or kind is Probe:
                self._reached = event
            elif isinstance(event, Status) and event.resumed_from is not None:
                self._reached = event
                for series in self._series.values():
                    series.cut(event.resumed_from)
            self._snapshot = None

    def snapshot(self) -> Snapshot:
        """What is known now; the same object until there is something new. O(kinds + columns)."""
        if self._snapshot is None:
            for series in self._series.values():
                series.shared = len(series.items)
            self._snapshot = Snapshot(
                Events(self._events, len(self._events)),
                self._reached,
                self._last.copy(),
                {kind: (series.items, len(series.items)) for kind, series in self._series.items()},
                self._metrics.columns.copy(),
            )
        return self._snapshot

    def _add(self, kind: type[Event]) -> _Recorded:
        has_steps = any(item.name == "step" for item in fields(kind))
        series = self._series[kind] = _BySteps(kind) if has_steps else _Recorded()
        return series
