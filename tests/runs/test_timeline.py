"""The timeline says at every moment what a look through all events would say, and a snapshot never changes."""

import random
import sys
import threading
from math import isnan, nan

import numpy as np
import pytest

from distill.runs.events import Error, Evaluation, Event, Metric, Probe, Sample, Stage, Status, Warning, latest_by_step
from distill.runs.timeline import Timeline

BY_STEP = (Metric, Probe, Sample, Evaluation)
WITHOUT = (Status, Stage, Warning, Error)


def metric(step, loss=1.0, **more):
    return Metric(step=step, steps=100, loss=loss, **more)


def some_events(chance, length):
    """A stream as runs write it, and worse: steps repeated or out of order, resumes from anywhere, gaps in numbers."""
    step, found = 0, []
    for _ in range(length):
        step = max(0, step + chance.choice((0, 1, 1, 1, 1, 1, 2, -3)))
        kind = chance.choice((Metric, Metric, Metric, Probe, Sample, Evaluation, *WITHOUT))
        number = chance.choice((None, nan, chance.random(), chance.random()))
        if kind is Metric:
            terms = {
                name: chance.choice((number, 2)) for name in chance.sample(["task", "geometry"], chance.randint(0, 2))
            }
            found.append(
                metric(step, number, terms=terms, metrics={"gate/a": number} if step > 3 else {}, grad_norm=None)
            )
        elif kind is Probe:
            found.append(Probe(step=step, n=2, cka={}, null95=number, participation_ratio=None))
        elif kind is Sample:
            found.append(Sample(step=step, problem=chance.choice("abc"), text=str(number), right=True))
        elif kind is Evaluation:
            split, phase = chance.choice("xy"), chance.choice(("before", "after"))
            found.append(Evaluation(phase=phase, split=split, step=step, n=1, correct=1, accuracy=number, ci95=None))
        elif kind is Status:
            step = step if chance.random() < 0.4 else chance.randint(0, step)
            found.append(Status(state="training", resumed_from=chance.choice((None, step))))
        elif kind is Stage:
            found.append(Stage(name="s", text="t", done=step, total=9))
        else:
            found.append(kind(text="x", code="c") if kind is Warning else kind(text="x"))
    return found


def same_numbers(found, expected):
    return np.array_equal(found, expected, equal_nan=True)


def reached(events):
    says = (
        e for e in reversed(events) if isinstance(e, (Metric, Probe)) or getattr(e, "resumed_from", None) is not None
    )
    return next(says, None)


def check(snapshot, events):
    """That the snapshot says what a look through `events` says."""
    assert snapshot.events == events and snapshot.reached is reached(events)
    for kind in (*BY_STEP, *WITHOUT, Event):
        assert snapshot.last(kind) is next((e for e in reversed(events) if isinstance(e, kind)), None)
    for kind in BY_STEP:
        assert list(map(id, snapshot.series(kind))) == list(map(id, latest_by_step(events, kind)))
    for kind in WITHOUT:
        assert snapshot.series(kind) == [e for e in events if isinstance(e, kind)]
    seen = {}  # what has been a number
    for event in events:
        seen |= {name: None for name, value in numbers(event).items() if not isnan(value)}
    assert snapshot.names == list(seen)
    kept = latest_by_step(events, Metric)
    for name in seen:
        steps, values = snapshot.columns(name)
        assert list(steps) == [e.step for e in kept]
        assert same_numbers(list(values), [numbers(e).get(name, nan) for e in kept])


def numbers(event):
    if not isinstance(event, Metric):
        return {}
    plain = ("loss", "learning_rate", "tokens_per_second", "memory_mb", "grad_norm")
    found = {name: getattr(event, name) for name in plain}
    found |= {f"term:{name}": value for name, value in event.terms.items()}
    found |= {f"metric:{name}": value for name, value in event.metrics.items()}
    return {name: nan if value is None else value for name, value in found.items()}


@pytest.mark.parametrize("seed", range(20))
def test_every_snapshot_says_what_all_events_say_then_and_later(seed):
    chance = random.Random(seed)
    for _ in range(100):
        events = some_events(chance, chance.randint(0, 40))
        timeline, taken, done = Timeline(), [], 0
        while done < len(events):
            more = chance.randint(1, 12)
            timeline.extend(events[done : done + more])
            done = min(done + more, len(events))
            if chance.random() < 0.6:
                taken.append((timeline.snapshot(), events[:done]))
                if chance.random() < 0.5:  # a reader that asks at once; the others ask when all is over
                    check(*taken[-1])
        for snapshot, then in [*taken, (timeline.snapshot(), events)]:
            check(snapshot, then)


def test_a_snapshot_stays_the_same_object_until_there_is_something_new():
    timeline = Timeline([metric(1)])
    first = timeline.snapshot()
    timeline.extend([])
    assert timeline.snapshot() is first and first.events is first.events
    timeline.extend([metric(2)])
    assert timeline.snapshot() is not first and len(first.events) == 1


def test_columns_are_taken_by_numpy_and_can_not_be_changed():
    timeline = Timeline(metric(step, step / 2) for step in range(1, 1001))
    snapshot = timeline.snapshot()
    steps, losses = map(np.asarray, snapshot.columns("loss"))
    timeline.extend([metric(1001), Status(state="training", resumed_from=10), metric(11, 7.0)])
    assert (steps.dtype, losses.dtype) == (np.float64, np.float64)
    assert np.array_equal(steps, np.arange(1, 1001)) and np.array_equal(losses, steps / 2)
    with pytest.raises(ValueError):
        losses[0] = 1
    assert list(timeline.snapshot().columns("loss")[1]) == [*(step / 2 for step in range(1, 11)), 7.0]


def test_a_column_nobody_recorded_is_empty():
    for timeline in (Timeline(), Timeline([metric(1, None)])):
        assert [len(part) for part in timeline.snapshot().columns("loss")] == [0, 0]
        assert timeline.snapshot().names == []


def test_what_is_no_number_is_a_gap():
    timeline = Timeline([metric(1, 10**400), metric(2, "x"), metric(3, 3), metric(4, True)])
    assert same_numbers(list(timeline.snapshot().columns("loss")[1]), [nan, nan, 3.0, 1.0])


def test_readers_on_other_threads_see_whole_snapshots():
    timeline, published, over, failures = Timeline(), [], threading.Event(), []
    published.append(timeline.snapshot())

    def read():
        try:
            while not over.is_set():
                snapshot = published[-1]
                steps, values = snapshot.columns("term:a")
                kept = snapshot.series(Metric)
                assert list(steps) == [e.step for e in kept] and list(values) == [e.terms["a"] for e in kept]
                assert kept == [] or snapshot.last(Metric) == snapshot.events[-1]
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for reader in readers:
            reader.start()
        chance, step = random.Random(1), 0
        for number in range(1500):
            if chance.random() < 0.1:
                step = chance.randint(0, step)
                timeline.extend([Status(state="training", resumed_from=step)])
            step += 1
            timeline.extend([metric(step, terms={"a": float(number)})])
            published.append(timeline.snapshot())
    finally:
        over.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(switch)
    assert failures == []
